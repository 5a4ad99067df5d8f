"""Timing: in turns, so that what else the machine does meets all alike."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from pgjax.bench.comparison import Spread

_CACHE = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
LEAST = 0.02  # seconds of a measurement; what is faster is run several times over


@contextlib.contextmanager
def own_cache() -> Iterator[None]:
    """A compilation cache that is empty at first: what is compiled, is compiled."""
    was = {name: getattr(jax.config, name) for name in _CACHE}
    reset_cache()  # JAX keeps the first one that it has used
    with tempfile.TemporaryDirectory() as directory:
        for name, value in zip(_CACHE, (directory, 0.0), strict=True):
            jax.config.update(name, value)
        try:
            yield
        finally:
            for name, value in was.items():
                jax.config.update(name, value)
            reset_cache()


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
