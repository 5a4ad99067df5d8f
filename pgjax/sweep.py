"""Seeds x hyperparameters in few compiled programs, placed on all devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgjax._internal.agents import in_batches
from pgjax._internal.checks import as_count, check_is
from pgjax._internal.compilation import jit_once
from pgjax._internal.sweep_axes import (
    axis_of,
    check_known_values,
    given_what_it_takes,
    in_order,
)
from pgjax._internal.user_parts import first_difference
from pgjax.algorithms.gradient_steps import inputs_used
from pgjax.train import init_train_state, train_steps
from pgjax.types import Algorithm, AxisName, Metrics, Rollout, TrainState


def sweep(
    make_algorithm: Callable[..., Algorithm],
    hyperparameters: Mapping[str, Any],
    rollout: Rollout | Callable[..., Rollout],
    *,
    num_seeds: int,
    num_updates: int,
    seed: int = 0,
    mesh: Mesh | None = None,
    agents_at_once: int | None = None,
) -> tuple[TrainState, Metrics]:
    """Trains an agent for each combination of hyperparameters and each seed.

    All agents that differ in floats and seeds only run in one compiled program, split
    over the devices. Values of any other type (integers, flags, names, functions) are
    what a program is compiled for: there is one for each of their combinations.
    Programs are kept for the next call.

    Seed s of every combination is `train(jax.random.key(s), ...)`: it starts alike and
    draws the same random numbers, so that combinations can be compared seed by seed.

    Args:
      make_algorithm: maps a value of each hyperparameter, as keyword arguments, to an
        algorithm; floats are float32 tracers, all else is as it was given.
      hyperparameters: names and K_i values each. Numbers with a float among them are
        floats, also [1, 0.5].
      rollout: as for `train`; or a function of hyperparameters, likewise, such as
        parameters of an environment that it makes. Each of both functions is given
        those that it names.
      num_seeds: agents of each combination, >= 1.
      num_updates: as for `train`.
      seed: the first seed, >= 0; the others follow it, below 2^31.
      mesh: where to run; by default an axis of agents over all devices. With an axis
        of environments, `make_mesh(env=2)`, agents draw other random numbers.
      agents_at_once: how many run side by side, where all do not fit into memory; the
        others follow, without another compilation.

    Returns:
      The final states, and metrics as of `train`; leaves (K_1, K_2, ..., num_seeds,
      ...), in the order of `hyperparameters`.

    Raises:
      TypeError: for a name that is not taken.
      ValueError: for an empty or nested list of values, or a number below its bound;
        for values whose agents differ in shape, or floats that change nothing.
    """
    check_is(Callable, "a function of hyperparameters", make_algorithm=make_algorithm)
    check_is(Rollout | Callable, "pg.episodes(env, 8)", rollout=rollout)
    num_seeds = as_count("num_seeds", num_seeds)
    num_updates = as_count("num_updates", num_updates)
    seed = as_count("seed", seed, least=0)
    as_count("seed + num_seeds", seed + num_seeds)
    if agents_at_once is not None:
        agents_at_once = as_count("agents_at_once", agents_at_once)
    axes = {name: axis_of(name, values) for name, values in hyperparameters.items()}
    makes: list[Callable] = [make_algorithm]
    if not isinstance(rollout, Rollout):
        makes.append(rollout)
    check_known_values(makes, axes)
    floats = {name: x for name, x in axes.items() if isinstance(x, jax.Array)}
    fixed = {name: x for name, x in axes.items() if name not in floats}

    def agent(choice: dict[str, Any]) -> Callable:
        def run(
            seed: Any, values: dict[str, Any], axis_name: AxisName = None
        ) -> tuple[TrainState, Metrics]:
            key = jax.random.key(seed)
            algorithm, *of = (given_what_it_takes(x, values | choice) for x in makes)
            experience: Any = of[0] if of else rollout
            state = init_train_state(key, experience, algorithm, axis_name=axis_name)
            return train_steps(
                state,
                experience,
                algorithm,
                num_updates=num_updates,
                axis_name=axis_name,
            )

        return run

    choices = [
        dict(zip(fixed, values, strict=True))
        for values in itertools.product(*fixed.values())
    ]
    runs = [agent(choice) for choice in choices]
    _check_programs(runs, choices, list(floats))
    seeds = np.arange(seed, seed + num_seeds, dtype=np.int32)
    *grid, seed_grid = jnp.meshgrid(*floats.values(), seeds, indexing="ij")
    values = {name: x.ravel() for name, x in zip(floats, grid, strict=True)}
    agents = seed_grid.ravel(), values
    parts = [
        in_batches(run, agents, mesh=mesh, agents_at_once=agents_at_once)
        for run in runs
    ]
    return jax.tree.map(lambda *x: in_order(x, axes, num_seeds), *parts)


def _check_programs(
    runs: list[Callable], choices: list[dict[str, Any]], floats: list[str]
) -> None:
    """Raises unless every float reaches a program, and all results can be one array."""
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    arguments = jax.ShapeDtypeStruct((), jnp.int32), dict.fromkeys(floats, shape)
    traced = [jax.jit(jit_once(run)).trace(*arguments) for run in runs]
    reached: set[str] = set()
    for program in traced:
        jaxpr = program.jaxpr.jaxpr
        begin = len(jaxpr.invars) - len(floats)  # the values are last, by name
        used = inputs_used(jaxpr, jaxpr.outvars)
        reached |= {x for i, x in enumerate(sorted(floats)) if begin + i in used}
    for name in floats:
        if name not in reached:
            raise ValueError(
                f"{name} reaches nothing that is trained: all its values would give "
                "the same agents; use it in what makes the algorithm, or leave it out"
            )
    for choice, program in zip(choices[1:], traced[1:], strict=True):
        names = [name for name in choice if choice[name] != choices[0][name]]
        here = {name: choice[name] for name in names}
        there = {name: choices[0][name] for name in names}
        differs = first_difference(traced[0].out_info, program.out_info)
        if differs:
            raise ValueError(
                f"agents of {there} and of {here} cannot be in one array, as they have "
                f"other shapes: {differs}; sweep {', '.join(names)} in calls of its own"
            )
