"""From where on fewer agents train than at first."""

from __future__ import annotations

from collections.abc import Iterable

TOLERANCE = 0.02  # of the last one's steps: an update, or an episode, more or less


def first_stop(ends: Iterable[float]) -> float:
    """Environment steps at which the first agent stopped; infinite if all did as one.

    Agents of one budget do not end at the very same step where updates are of complete
    episodes, or budgets no multiples of an update.

    Args:
      ends: at which each of the agents stopped; one or more.
    """
    ends = list(ends)
    first = min(ends)
    return float(first) if first < (1 - TOLERANCE) * max(ends) else float("inf")
