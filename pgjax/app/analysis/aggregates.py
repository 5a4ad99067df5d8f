"""Scores of several environments taken together, with stratified bootstrap intervals.

The aggregates of rliable: Agarwal et al., Deep Reinforcement Learning at the Edge of
the Statistical Precipice, 2021, section 4. Agents are drawn within each environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pgjax.app.analysis import bootstrap
from pgjax.app.analysis.bootstrap import FEWEST, Interval, unknown
from pgjax.app.analysis.intervals import finite, iqm_of_rows

Statistic = Callable[[list[np.ndarray]], np.ndarray]


def iqm(strata: list[np.ndarray]) -> np.ndarray:
    """The mean of the middle half of all agents of all environments.

    Args:
      strata: (R, n_k) normalised scores for each of K environments.

    Returns:
      (R,)
    """
    return iqm_of_rows(np.concatenate(strata, axis=1))


def mean(strata: list[np.ndarray]) -> np.ndarray:
    """The mean over environments of their mean over agents; arguments as of `iqm`."""
    return np.mean([x.mean(1) for x in strata], axis=0)


def median(strata: list[np.ndarray]) -> np.ndarray:
    """The median over environments of their mean over agents; as of `iqm`."""
    return np.median([x.mean(1) for x in strata], axis=0)


def optimality_gap(strata: list[np.ndarray]) -> np.ndarray:
    """How far below 1 agents are on average, none counted above it; as of `iqm`."""
    return 1.0 - np.mean([np.minimum(x, 1.0).mean(1) for x in strata], axis=0)


def aggregate(
    statistic: Statistic, strata: Sequence[np.ndarray], *, seed: int = 0
) -> Interval:
    """A statistic with its stratified percentile bootstrap interval.

    Args:
      statistic: one of those above.
      strata: (n_k,) finite normalised scores for each of K environments; where one has
        fewer than 6 agents, the interval is infinite: see `bootstrap.FEWEST`.
      seed: of the bootstrap.
    """
    strata = [finite(x) for x in strata]
    estimate = float(statistic([x[None] for x in strata])[0])
    if min(map(len, strata)) < FEWEST:
        return unknown(estimate)
    estimates = bootstrap.stratified(statistic, strata, seed=seed)
    return Interval(estimate, *bootstrap.percentiles(estimates))


def performance_profile(
    strata: Sequence[np.ndarray], levels: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of agents above each level, averaged over environments.

    Args:
      strata: as of `aggregate`.
      levels: (L,) normalised scores.
      seed: of the bootstrap.

    Returns:
      share, low, high: (L,) each, with pointwise stratified bootstrap ends.
    """
    above = [(finite(x)[:, None] > levels).astype(float) for x in strata]

    def share(drawn: list[np.ndarray]) -> np.ndarray:
        return np.mean([x.mean(1) for x in drawn], axis=0)

    estimates = bootstrap.stratified(
        share, above, seed=seed, repetitions=bootstrap.BAND_REPETITIONS
    )
    low, high = np.quantile(estimates, (0.025, 0.975), axis=0)
    return share([x[None] for x in above])[0], low, high
