"""What a set of agents says of all agents, with 95% intervals.

A sample is one number per agent, as a return is. Agents are independent, as their seeds
are, so all intervals are over agents.

References:
  Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice,
  2021; Clopper and Pearson, 1934.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from pgjax.app.analysis import bootstrap
from pgjax.app.analysis.bootstrap import CONFIDENCE, FEWEST, Interval, unknown


def mean(x: np.ndarray) -> Interval:
    """The mean, with Student's t interval.

    Args:
      x: (n,) samples; with n = 1 the interval is infinite.
    """
    x = known(x)
    if len(x) == 1:
        return unknown(x[0])
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(x) - 1) * stats.sem(x)
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def bootstrapped_mean(x: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean, with its percentile bootstrap interval.

    Args:
      x: (n,) finite samples; with n < 6 the interval is infinite: see `FEWEST`.
      seed: of the bootstrap.
    """
    return _bootstrapped(lambda rows: rows.mean(1), x, seed)


def interquartile_mean(x: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean of the middle half (IQM), with its percentile bootstrap interval.

    Args:
      x: (n,) finite samples; with n < 6 the interval is infinite: see `FEWEST`.
      seed: of the bootstrap.
    """
    return _bootstrapped(iqm_of_rows, x, seed)


def median(x: np.ndarray) -> Interval:
    """The median, with the order statistics that enclose it: no assumption at all.

    Args:
      x: (n,) samples; infinities are samples like others. With n < 6 no pair of order
        statistics encloses the median with 95%, and the interval is infinite.
    """
    x = np.sort(known(x))
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(x), 0.5))
    # P(Binomial(n, 1/2) < rank) <= 2.5%, so the rank-th smallest is a lower end.
    low, high = (x[rank - 1], x[-rank]) if rank else (-np.inf, np.inf)
    middle = x[(len(x) - 1) // 2], x[len(x) // 2]
    centre = middle[0] if middle[0] == middle[1] else sum(middle) / 2
    return Interval(float(centre), float(low), float(high))


def share(count: int, total: int) -> Interval:
    """A share of agents, with Clopper and Pearson's exact interval.

    It covers at least 95% whatever the true share, also where all agents, or none, are
    counted: all of 8 leaves [63%, 100%], all of 64 leaves [94%, 100%].

    Args:
      count: agents that are counted.
      total: all agents, 1 or more.
    """
    tail = (1 - CONFIDENCE) / 2
    low = stats.beta.ppf(tail, count, total - count + 1) if count > 0 else 0.0
    high = stats.beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return Interval(count / total, float(low), float(high))


def iqm(x: np.ndarray) -> float:
    """The mean of the middle half of (n,) samples."""
    return float(iqm_of_rows(finite(x)[None])[0])


def performance_profile(
    x: np.ndarray, levels: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of agents above each level, with pointwise bootstrap ends.

    Args:
      x: (n,) finite samples.
      levels: (K,)
      seed: of the bootstrap.

    Returns:
      share, low, high: (K,) each.
    """
    above = (finite(x)[:, None] > levels).astype(float)
    return above.mean(0), *bootstrap.band(above, lambda rows: rows.mean(1), seed=seed)


def curve(
    values: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The IQM over agents at each point of their curves, with pointwise ends.

    Args:
      values: (n, K) finite; n agents at the same K points.
      seed: of the bootstrap.

    Returns:
      iqm, low, high: (K,) each.
    """
    values = finite(values)
    return iqm_curve(values), *bootstrap.band(values, iqm_of_rows, seed=seed)


def iqm_curve(values: np.ndarray) -> np.ndarray:
    """(K,) the IQM over agents at each point of (n, K) curves."""
    return iqm_of_rows(finite(values)[None])[0]


def known(x: np.ndarray) -> np.ndarray:
    """Samples, none of them NaN.

    Raises:
      ValueError: if there are none, or some are NaN.
    """
    x = np.asarray(x, float)
    if x.size == 0 or np.isnan(x).any():
        raise ValueError(f"needs samples, none of them NaN; got {x}")
    return x


def finite(x: np.ndarray) -> np.ndarray:
    """Samples, all of them finite.

    Raises:
      ValueError: if there are none, or some are not finite.
    """
    if not np.isfinite(x := known(x)).all():
        raise ValueError(f"needs finite samples; got {x}")
    return x


def _bootstrapped(
    statistic: Callable[[np.ndarray], np.ndarray], x: np.ndarray, seed: int
) -> Interval:
    x = finite(x)
    estimate = float(statistic(x[None])[0])
    if len(x) < FEWEST:
        return unknown(estimate)
    estimates = bootstrap.bootstrap(statistic, x, seed=seed)
    return Interval(estimate, *bootstrap.percentiles(estimates))


def iqm_of_rows(x: np.ndarray) -> np.ndarray:
    """(R, ...) the mean of the middle half of each of R samples (R, n, ...).

    As scipy's `trim_mean`, of which a call costs more than this for a few agents.
    """
    n = x.shape[1]
    cut = n // 4
    return np.partition(x, (cut, n - cut - 1), axis=1)[:, cut : n - cut].mean(1)
