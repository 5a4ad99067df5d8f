"""What a set of runs says, with 95% intervals: the statistics of the reports.

A sample is one number per agent: a return, or the steps it took to solve the task.
Agents are independent, as their seeds are, so all intervals are over agents.

References:
  Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice,
  2021; Kaplan and Meier, 1958; Brookmeyer and Crowley, 1982.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
REPETITIONS = 10_000  # of a bootstrap
BAND_REPETITIONS = 1_000  # where there is one at every point of a curve
_CELLS = 2**24  # numbers in memory at once


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    estimate: float
    low: float
    high: float


def text(interval: Interval, form: str) -> str:
    """An interval as two lines of a table's cell: 478.2, and below it [471.0, 483.9].

    Args:
      interval: any; an infinite number of steps is one that is never reached, and an
        interval that starts at -infinity is that of too few agents.
      form: how numbers are written, such as ".1f".
    """
    middle, low, high = (
        format(x, form) if np.isfinite(x) else "never" for x in interval
    )
    if interval.low == -np.inf:
        return f"{middle}\n[too few]"
    return f"{middle}\n[{low}, {high}]"


class Survival(NamedTuple):
    """S(t), the share of agents that have not solved the task by step t."""

    steps: np.ndarray  # (K,) ascending: where S falls
    unsolved: np.ndarray  # (K,) S just after each
    low: np.ndarray
    high: np.ndarray
    median: Interval  # steps by which half have solved it; infinite if never


def mean(x: np.ndarray) -> Interval:
    """The mean, with Student's t interval.

    Args:
      x: (n,) samples; with n = 1 the interval is infinite.
    """
    x = _sample(x)
    if len(x) == 1:
        return Interval(float(x[0]), -np.inf, np.inf)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(x) - 1) * stats.sem(x)
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def bootstrapped_mean(x: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean, with its percentile bootstrap interval.

    Args:
      x: (n,) finite samples.
      seed: of the bootstrap.
    """
    x = _finite(x)
    estimates = bootstrap(lambda rows: rows.mean(1), x, seed=seed)
    return Interval(float(x.mean()), *_percentiles(estimates))


def median(x: np.ndarray) -> Interval:
    """The median, with the order statistics that enclose it: no assumption at all.

    Args:
      x: (n,) samples; infinities are samples like others. With n < 6 no pair of order
        statistics encloses the median with 95%, and the interval is infinite.
    """
    x = np.sort(_sample(x))
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(x), 0.5))
    # P(Binomial(n, 1/2) < rank) <= 2.5%, so the rank-th smallest is a lower end.
    low, high = (x[rank - 1], x[-rank]) if rank else (-np.inf, np.inf)
    middle = x[(len(x) - 1) // 2], x[len(x) // 2]
    centre = middle[0] if middle[0] == middle[1] else sum(middle) / 2
    return Interval(float(centre), float(low), float(high))


def interquartile_mean(x: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean of the middle half (IQM), with its percentile bootstrap interval.

    Args:
      x: (n,) finite samples.
      seed: of the bootstrap.
    """
    x = _finite(x)
    estimates = bootstrap(_iqm, x, seed=seed)
    return Interval(iqm(x), *_percentiles(estimates))


def iqm(x: np.ndarray) -> float:
    """The mean of the middle half of (n,) samples."""
    return float(_iqm(_finite(x)[None])[0])


def probability_of_improvement(
    x: np.ndarray, y: np.ndarray, *, seed: int = 0
) -> Interval:
    """P(X > Y) + P(X = Y) / 2 for an agent of each sample, by percentile bootstrap.

    It is Mann and Whitney's U over n m: 0.5 when neither is better.

    Args:
      x: (n,) samples; infinities are samples like others.
      y: (m,) samples.
      seed: of the bootstrap.
    """
    x, y = _sample(x), _sample(y)
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)  # (n, m)
    rng = np.random.default_rng(seed)

    def resampled(count: int) -> np.ndarray:
        # How often each agent is drawn; a win counts once per pair of draws.
        i = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), count)
        j = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), count)
        return np.einsum("rm,rm->r", i @ wins, j) / wins.size

    estimates = np.concatenate([resampled(n) for n in _parts(len(x) + len(y))])
    return Interval(float(wins.mean()), *_percentiles(estimates))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    *,
    seed: int = 0,
    repetitions: int = REPETITIONS,
) -> np.ndarray:
    """The statistic of samples drawn from `x`, with replacement.

    Args:
      statistic: maps (R, n, ...) to (R, ...).
      x: (n, ...) samples; whole rows are drawn.
      seed: of the random numbers.
      repetitions: R in all.

    Returns:
      (repetitions, ...)
    """
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            statistic(x[rng.integers(len(x), size=(count, len(x)))])
            for count in _parts(x.size, repetitions)
        ]
    )


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
    above = (_finite(x)[:, None] > levels).astype(float)
    return above.mean(0), *band(above, lambda rows: rows.mean(1), seed=seed)


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
    values = _finite(values)
    return _iqm(values[None])[0], *band(values, _iqm, seed=seed)


def band(
    x: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of a pointwise 95% percentile bootstrap interval, (K,) each."""
    estimates = bootstrap(statistic, x, seed=seed, repetitions=BAND_REPETITIONS)
    low, high = np.quantile(estimates, _TAILS, axis=0)
    return low, high


def survival(steps: np.ndarray, last: np.ndarray) -> Survival:
    """Kaplan and Meier's estimate of the share that has not solved the task.

    Agents that had not solved it when they stopped are right-censored there. Intervals
    are pointwise, log-log (Greenwood's variance), and the median's is where they
    include a half.

    Args:
      steps: (n,) environment steps to solve; NaN or infinite for unsolved agents.
      last: (n,) environment steps at which each agent stopped.
    """
    data = censored(steps, last)
    function = stats.ecdf(data).sf
    falls = np.isin(function.quantiles, data._uncensored)
    with warnings.catch_warnings(action="ignore"):  # "undefined at some observations"
        ends = function.confidence_interval(CONFIDENCE, method="log-log")
    times, unsolved = function.quantiles[falls], function.probabilities[falls]
    low = np.nan_to_num(ends.low.probabilities[falls], nan=0.0)
    high = np.nan_to_num(ends.high.probabilities[falls], nan=1.0)
    # Once nobody is left, the log-log interval is undefined: it ends with the last.
    if len(unsolved) > 1 and unsolved[-1] == 0:
        low[-1], high[-1] = 0.0, high[-2]
    centre, first, final = (
        _first(times, x <= 0.5 + 1e-9)  # a product of ratios, rounded
        for x in (unsolved, low, high)
    )
    return Survival(times, unsolved, low, high, Interval(centre, first, final))


def log_rank(
    steps: np.ndarray, last: np.ndarray, other: np.ndarray, other_last: np.ndarray
) -> float:
    """The log-rank test's p-value for equal times to solve; arguments as `survival`.

    NaN where nobody solves the task while agents of both samples are still training.
    """
    with np.errstate(invalid="ignore"):
        result = stats.logrank(censored(steps, last), censored(other, other_last))
    return float(result.pvalue)


def censored(steps: np.ndarray, last: np.ndarray) -> stats.CensoredData:
    """Times to solve as scipy takes them.

    Raises:
      ValueError: if an agent solved the task after it stopped.
    """
    steps, last = (np.asarray(x, float) for x in (steps, last))
    solved = np.isfinite(steps)
    if (steps[solved] > last[solved]).any():
        raise ValueError("an agent cannot have solved the task after it stopped")
    return stats.CensoredData(uncensored=steps[solved], right=last[~solved])


_TAILS = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


def _percentiles(estimates: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(estimates, _TAILS)
    return float(low), float(high)


def _iqm(x: np.ndarray) -> np.ndarray:
    return stats.trim_mean(x, 0.25, axis=1)


def _parts(size: int, repetitions: int = REPETITIONS) -> list[int]:
    """Repetitions to draw at a time, so that memory stays bounded."""
    most = max(1, min(repetitions, _CELLS // max(size, 1)))
    whole, rest = divmod(repetitions, most)
    return [most] * whole + [rest] * (rest > 0)


def _first(times: np.ndarray, holds: np.ndarray) -> float:
    """The first time from which on it holds; infinite if there is none."""
    return float(times[np.argmax(holds)]) if holds.any() else float("inf")


def _sample(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    if x.size == 0 or np.isnan(x).any():
        raise ValueError(f"needs samples, none of them NaN; got {x}")
    return x


def _finite(x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x := _sample(x)).all():
        raise ValueError(f"needs finite samples; got {x}")
    return x
