"""The percentile bootstrap over agents, by NumPy alone.

Whole agents are drawn with replacement, since their seeds make them independent.

References:
  Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
REPETITIONS = 10_000
BAND_REPETITIONS = 1_000  # where there is one at every point of a curve
# Agents for an interval to be shown. A percentile of the bootstrap lies between the
# lowest and the highest agent; of five agents, even those two enclose the median of a
# distribution with probability 1 - 2/2^5 = 93.75% only, of six with 96.9%.
FEWEST = 6
FEW = 10  # agents, below which the percentile bootstrap is told to be too narrow
_CELLS = 2**24  # numbers in memory at once
_TAILS = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval.

    Infinite ends are unknown; an interval that starts at -infinity has too few agents.
    One that starts at NaN has agents enough, which are all alike.
    """

    estimate: float
    low: float
    high: float

    @property
    def too_few(self) -> bool:
        """Whether there were too few agents for an interval."""
        return self.low == -np.inf

    @property
    def no_spread(self) -> bool:
        """Whether agents were all alike, which says nothing of how others differ."""
        return bool(np.isnan(self.low))


def unknown(estimate: float) -> Interval:
    """An estimate from too few agents for an interval."""
    return Interval(float(estimate), -np.inf, np.inf)


def without_spread(estimate: float) -> Interval:
    """An estimate from agents that are all alike."""
    return Interval(float(estimate), np.nan, np.nan)


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
    counts = parts(x.size, repetitions)
    if len(counts) == 1:  # many rows of a table have as many agents
        return statistic(x[_places(seed, len(x), repetitions)])
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [statistic(x[rng.integers(len(x), size=(count, len(x)))]) for count in counts]
    )


@functools.lru_cache(maxsize=1)
def _places(seed: int, number: int, repetitions: int) -> np.ndarray:
    """(repetitions, number) which samples are drawn: the same for the same numbers."""
    drawn = np.random.default_rng(seed).integers(number, size=(repetitions, number))
    drawn.flags.writeable = False
    return drawn


def stratified(
    statistic: Callable[[list[np.ndarray]], np.ndarray],
    strata: Sequence[np.ndarray],
    *,
    seed: int = 0,
    repetitions: int = REPETITIONS,
) -> np.ndarray:
    """The statistic of samples drawn within each stratum: agents of each environment.

    Args:
      statistic: maps one (R, n_k, ...) array for each stratum to (R, ...).
      strata: (n_k, ...) samples each.
      seed: of the random numbers.
      repetitions: R in all.

    Returns:
      (repetitions, ...)
    """
    rng = np.random.default_rng(seed)
    size = sum(x.size for x in strata)
    return np.concatenate(
        [
            statistic([x[rng.integers(len(x), size=(count, len(x)))] for x in strata])
            for count in parts(size, repetitions)
        ]
    )


def mean_band(x: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The ends of a pointwise interval of the mean over agents, (K,) each.

    They lie within what the agents had, so within any bounds of the score.

    Args:
      x: (n, K) finite.
      seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    # How often each agent is drawn, rather than copies of it: less memory.
    drawn = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), BAND_REPETITIONS)
    low, high = np.quantile(drawn @ x / len(x), _TAILS, axis=0)
    return low, high


def band(
    x: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of a pointwise 95% percentile bootstrap interval, (K,) each.

    Args:
      x: (n, K) finite.
      statistic: maps (R, n, K) to (R, K).
      seed: of the bootstrap.
    """
    estimates = bootstrap(statistic, x, seed=seed, repetitions=BAND_REPETITIONS)
    low, high = np.quantile(estimates, _TAILS, axis=0)
    return low, high


def percentiles(estimates: np.ndarray) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of (R,) estimates."""
    low, high = np.quantile(estimates, _TAILS)
    return float(low), float(high)


def parts(size: int, repetitions: int = REPETITIONS) -> list[int]:
    """Repetitions to draw at a time, so that memory stays bounded."""
    most = max(1, min(repetitions, _CELLS // max(size, 1)))
    whole, rest = divmod(repetitions, most)
    return [most] * whole + [rest] * (rest > 0)
