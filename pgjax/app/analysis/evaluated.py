"""What evaluations while training came to, and when agents reached a threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pgjax.app.analysis.bootstrap import Interval
from pgjax.app.analysis.survival import survival


class Evaluated(NamedTuple):
    """What evaluations while training came to, of the n agents of a sample.

    An agent reached the threshold (the mean return of an evaluation was
    `solved_return`, or more, for the first time) after more than `threshold_after`
    environment steps, and by `threshold_by`: nobody looked within. Where it never did,
    `threshold_by` is infinite, and `threshold_after` is its last evaluation.
    """

    threshold_after: np.ndarray  # (n,) 0: before the first one; NaN: no threshold
    threshold_by: np.ndarray  # (n,)
    threshold_last: np.ndarray  # (n,) steps up to which it is known whether it has
    best_return: np.ndarray  # (n,) as `Sample.greedy`, of the policy of the best one

    @property
    def has_threshold(self) -> bool:
        """Whether agents were held against a threshold."""
        return not np.isnan(self.threshold_by).all()


class Threshold(NamedTuple):
    """When the median agent reached the threshold."""

    after: float  # environment steps of the evaluation before; NaN if it never did
    by: Interval  # of the first one that reached it; infinite if it never did
    beyond: float  # how long agents were evaluated


def evaluated(rows: list[dict[str, Any]]) -> Evaluated | None:
    """What evaluations while training came to; None of a run without.

    Args:
      rows: of agents, in summary.json.
    """
    names = {"best_evaluation", "best_greedy_return"}
    if not all(names <= row.keys() for row in rows):
        return None

    def column(number: Callable[[dict[str, Any]], float | None]) -> np.ndarray:
        return np.array([number(row) for row in rows], float)  # NaN for None

    def threshold(row: dict[str, Any], end: str) -> float | None:
        if "steps_to_threshold" not in row:
            return None
        found = row["steps_to_threshold"][end]
        return np.inf if found is None else found

    after = column(lambda row: threshold(row, "after"))
    by = column(lambda row: threshold(row, "by"))
    last = np.where(np.isfinite(by), by, after)
    # One that diverged never will, however long others were trained.
    last = np.where(_diverged(rows) & ~np.isfinite(by), last_steps(rows), last)
    return Evaluated(
        after, by, last, column(lambda row: row["best_greedy_return"]["mean"])
    )


def median_threshold(found: Evaluated) -> Threshold:
    """When the median agent reached the threshold; those that never did are censored.

    The median is Kaplan and Meier's of the evaluations that reached it.

    Args:
      found: of n agents, held against a threshold.
    """
    reached = np.isfinite(found.threshold_by)
    steps = np.where(reached, found.threshold_by, np.nan)
    median = survival(steps, found.threshold_last).median
    at = found.threshold_after[found.threshold_by == median.estimate]
    after = at.min() if np.isfinite(median.estimate) else np.nan
    return Threshold(float(after), median, float(found.threshold_last.max()))


def last_steps(rows: list[dict[str, Any]]) -> np.ndarray:
    """(n,) environment steps up to which it is known whether an agent has solved.

    One that diverged never will: it counts as unsolved for as long as any was trained.
    """
    steps = np.array([float(row["env_steps"]) for row in rows])
    return np.where(_diverged(rows), steps.max(initial=0.0), steps)


def _diverged(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([row["greedy_return"]["mean"] is None for row in rows])
