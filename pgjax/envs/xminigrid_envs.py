"""XLand-MiniGrid as `Env` values; the only file that imports it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import xminigrid
from xminigrid.types import StepType, TimeStep

from pgjax.envs.adapting import batched, check_name, limit_of
from pgjax.types import Array, Discrete, Env, Key


def names() -> list[str]:
    """The names that `make` knows: MiniGrid's tasks and XLand's grids."""
    return list(xminigrid.registered_environments())


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of XLand-MiniGrid, such as "MiniGrid-DoorKey-5x5".

    Observations are the (view, view, 2) tiles and colours that the agent sees, numbers
    of kinds in float32. The suite tells truncation (its discount stays 1). The reward
    for success falls with the share of the time limit that was used, so another limit
    is another reward.

    Args:
      name: see `names`.
      time_limit: steps per episode; the environment's own by default.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's params, such as view_size=7. XLand's grids need
        ruleset=, of `xminigrid.load_benchmark(...)`: without one there is no goal.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the params do not have.
    """
    check_name("xminigrid", name, names())
    env, params = xminigrid.make(name, **options)
    max_steps = limit_of(time_limit, params.max_steps)
    params = params.replace(max_steps=max_steps)

    def reset(key: Key) -> tuple[Any, Any]:
        timestep = env.reset(params, key)
        return timestep.observation, timestep.state

    def step(key: Key, state: Any, action: Array) -> tuple:
        del key
        before = TimeStep(state, StepType.MID, zero, zero, zero)  # only state is read
        after = env.step(params, before, action)
        terminated = after.discount == 0
        truncated = after.last() & ~terminated
        return after.observation, after.state, after.reward, terminated, truncated

    zero = jnp.float32(0.0)
    actions = Discrete(env.num_actions(params))
    return batched(f"xminigrid:{name}", reset, step, actions, max_steps, flat=flat)
