"""Times to solve, where agents that have not solved the task are censored.

References:
  Kaplan and Meier, 1958; Brookmeyer and Crowley, A confidence interval for the median
  survival time, 1982; Dorey and Korn, Effective sample sizes for confidence intervals
  for survival probabilities, 1987.
"""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
from scipy import stats

from pgjax.app.analysis.bootstrap import CONFIDENCE, FEWEST, Interval, unknown


class Survival(NamedTuple):
    """S(t), the share of agents that have not solved the task by step t."""

    steps: np.ndarray  # (K,) ascending: where S falls
    unsolved: np.ndarray  # (K,) S just after each
    low: np.ndarray  # (K,)
    high: np.ndarray  # (K,)
    median: Interval  # steps by which half have solved it; infinite if never


def survival(steps: np.ndarray, last: np.ndarray) -> Survival:
    """Kaplan and Meier's estimate of the share that has not solved the task.

    Agents that had not solved it when they stopped are right-censored there. Intervals
    are pointwise, log-log (Greenwood's variance), and the median's is where they
    include a half. Once nobody is left, Greenwood's variance is undefined; there, the
    ends are Clopper and Pearson's of none of n agents, where n is the effective number
    of Dorey and Korn: those still at risk, over the share that was. It is all agents
    where none is censored.

    Args:
      steps: (n,) environment steps to solve; NaN or infinite for unsolved agents.
      last: (n,) environment steps at which each agent stopped.
    """
    return _survival(*(np.asarray(x, float).tobytes() for x in (steps, last)))


@functools.lru_cache(maxsize=1024)  # tables, orders and figures ask again
def _survival(steps_bytes: bytes, last_bytes: bytes) -> Survival:
    steps, last = (np.frombuffer(x) for x in (steps_bytes, last_bytes))
    data = censored(steps, last)
    function = stats.ecdf(data).sf
    falls = np.isin(function.quantiles, data._uncensored)
    with warnings.catch_warnings(action="ignore"):  # "undefined at some observations"
        ends = function.confidence_interval(CONFIDENCE, method="log-log")
    times, unsolved = function.quantiles[falls], function.probabilities[falls]
    low = np.nan_to_num(ends.low.probabilities[falls], nan=0.0)
    high = np.nan_to_num(ends.high.probabilities[falls], nan=1.0)
    if len(unsolved) and unsolved[-1] == 0:  # so all that were at risk have solved it
        at_risk = (steps >= times[-1]).sum()
        number = at_risk / (unsolved[-2] if len(unsolved) > 1 else 1.0)
        low[-1] = 0.0
        high[-1] = min(high[-2:-1].min(initial=1.0), _most_of_none(number))
    centre, first, final = (
        _first(times, x <= 0.5 + 1e-9)  # a product of ratios, rounded
        for x in (unsolved, low, high)
    )
    few = len(last) < FEWEST
    middle = unknown(centre) if few else Interval(centre, first, final)
    return Survival(times, unsolved, low, high, middle)


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


def _most_of_none(number: float) -> float:
    """Clopper and Pearson's upper end for none of a number of agents."""
    return 1.0 - ((1.0 - CONFIDENCE) / 2) ** (1.0 / number)


def _first(times: np.ndarray, holds: np.ndarray) -> float:
    """The first time from which on it holds; infinite if there is none."""
    return float(times[np.argmax(holds)]) if holds.any() else float("inf")
