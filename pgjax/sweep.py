"""Seeds x hyperparameters in one compiled program, placed on all devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgjax.agents import in_batches
from pgjax.train import train
from pgjax.types import Algorithm, Metrics, Rollout, TrainState


def sweep(
    make_algorithm: Callable[..., Algorithm],
    hyperparameters: Mapping[str, Any],
    rollout: Rollout,
    *,
    num_seeds: int,
    num_updates: int,
    seed: int = 0,
    mesh: Mesh | None = None,
    agents_at_once: int | None = None,
) -> tuple[TrainState, Metrics]:
    """Trains an agent for each combination of hyperparameters and each seed.

    All agents run in one compiled program, split over the devices. Seed s of every
    combination is `train(jax.random.key(s), ...)`: it starts alike and draws the same
    random numbers, so that combinations can be compared seed by seed.

    Args:
      make_algorithm: maps a value of each hyperparameter, as keyword arguments, to an
        algorithm; the values are tracers.
      hyperparameters: names and values, (K_i,) numbers each.
      rollout: as for `train`.
      num_seeds: agents of each combination, >= 1.
      num_updates: as for `train`.
      seed: the first seed, >= 0; the others follow it.
      mesh: where to run; by default an axis of agents over all devices. With an axis
        of environments, `make_mesh(env=2)`, agents draw other random numbers.
      agents_at_once: how many run side by side, where all do not fit into memory; the
        others follow, without another compilation.

    Returns:
      The final states, and metrics as of `train`; leaves (K_1, K_2, ..., num_seeds,
      ...), in the order of `hyperparameters`.

    Raises:
      ValueError: for an empty or nested list of values, or a number below its bound.
    """
    for name, number in (("num_seeds", num_seeds), ("agents_at_once", agents_at_once)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    axes = {name: jnp.asarray(x, float) for name, x in hyperparameters.items()}
    for name, values in axes.items():
        if values.ndim != 1 or values.size == 0:
            raise ValueError(
                f"{name} needs a flat list of values, got shape {values.shape}"
            )
    seeds = seed + np.arange(num_seeds)
    *grid, seed_grid = jnp.meshgrid(*axes.values(), seeds, indexing="ij")

    def run(seed: Any, values: dict[str, Any]) -> tuple[TrainState, Metrics]:
        algorithm = make_algorithm(**values)
        return train(jax.random.key(seed), rollout, algorithm, num_updates=num_updates)

    agents = (
        seed_grid.ravel(),
        {name: x.ravel() for name, x in zip(axes, grid, strict=True)},
    )
    results = in_batches(run, agents, mesh=mesh, agents_at_once=agents_at_once)
    return jax.tree.map(lambda x: x.reshape(*seed_grid.shape, *x.shape[1:]), results)
