"""How many agents fit into memory at once, estimated before anything runs."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any

import jax
import numpy as np

import pgjax as pg
from pgjax.lab.build import Experiment
from pgjax.lab.errors import UsageError
from pgjax.xla import on_cpu

# Environments that a device steps side by side: a core has a cache to stay within, an
# accelerator many lanes to fill.
CPU_ENVS, ACCELERATOR_ENVS = 64, 65_536
SHARE = 0.5  # of the memory that is free, to be used
# The program holds the transitions, what is computed from them, and copies in other
# layouts; how many depends on the compiler, and this is a cautious guess.
COPIES = 5


def block_size(num_envs: int) -> int:
    """How many agents with so many environments run side by side on a device."""
    most = CPU_ENVS if on_cpu() else ACCELERATOR_ENVS
    return max(1, most // num_envs)


def agents_that_fit(experiment: Experiment, count: int, block: int) -> int:
    """As many of `count` agents as memory holds, in batches of about equal size.

    Args:
      experiment: what they do.
      count: how many there are.
      block: how many of a device run side by side; the others only keep their state.

    Raises:
      UsageError: if not even one fits.
    """
    available = SHARE * free_bytes()
    idle, running = bytes_per_agent(experiment)
    side_by_side = block * len(jax.devices())
    most = int(available // (idle + running))
    if most > side_by_side:
        most = int((available - running * side_by_side) // idle)
    if most < 1:
        raise UsageError(
            f"one agent needs about {(idle + running) / 2**30:.1f} GiB, and "
            f"{available / 2**30:.1f} GiB may be used; take fewer --num-envs"
        )
    num_batches = -(-count // most)
    return -(-count // num_batches)


def bytes_per_agent(experiment: Experiment) -> tuple[int, int]:
    """About how much an agent needs always, and how much more while it trains."""
    rollout, algorithm = experiment.rollout, experiment.algorithm
    key = jax.eval_shape(lambda: jax.random.key(0))

    def collect(key: Any) -> tuple[Any, Any]:
        state = pg.init_train_state(key, rollout, algorithm)
        params = state.learner.params
        _, batch, episodes = rollout.collect(
            key, algorithm.policy, params, state.rollout_state
        )
        return state, (batch, episodes)

    state, experience = jax.eval_shape(collect, key)
    return _bytes(state) * 2, _bytes(experience) * COPIES


def free_bytes() -> int:
    """The memory that is free on all devices together."""
    device = jax.devices()[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        return free * len(jax.devices())
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bytes(tree: Any) -> int:
    return sum(
        int(np.prod(leaf.shape)) * getattr(leaf.dtype, "itemsize", 4)
        for leaf in jax.tree.leaves(tree)
    )
