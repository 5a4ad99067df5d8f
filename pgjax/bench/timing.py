"""Timing: in turns, so that what else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from pgjax.bench.comparison import Spread

LEAST = 0.02  # seconds of a measurement; what is faster is run several times over


def take_turns(
    programs: Mapping[str, Callable[[], Any]], *, rounds: int
) -> dict[str, np.ndarray]:
    """The seconds that each program took in each round, after one that warms it up.

    Every second round runs them in the opposite order. A program that is over in less
    than `LEAST` is run several times, one waiting for the other, and the mean counts.

    Args:
      programs: functions that return arrays; they are waited for.
      rounds: >= 1.

    Returns:
      (rounds,) seconds for each.
    """
    times = {}
    for name, run in programs.items():
        _seconds(run, 1)
        times[name] = max(1, round(LEAST / _seconds(run, 1)))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            seconds[name].append(_seconds(programs[name], times[name]))
    return {name: np.array(x) for name, x in seconds.items()}


def spread(x: np.ndarray) -> Spread:
    """Its quantiles."""
    return Spread(*np.quantile(x, (0, 0.25, 0.5, 0.75, 1)).tolist())


def _seconds(run: Callable[[], Any], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / times
