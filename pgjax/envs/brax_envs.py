"""brax's environments as `Env` values; the only file that imports brax."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from brax import envs

from pgjax.envs.adapting import batched, check_name, limit_of
from pgjax.types import Array, Box, Env, Key

MAX_STEPS = 1000  # brax's own: of `brax.envs.create`, and of its training


def names() -> list[str]:
    """The names that `make` knows, those registered with brax included."""
    return list(envs._envs)


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of brax, such as "ant".

    Actions are in [-1, 1], as brax scales them to the actuators. What brax calls done
    without its wrappers is always a terminal state (a fall), so that the time limit
    alone truncates. (`inverted_pendulum` marks its own fall a time-out, for brax's
    PPO; it is terminal here.)

    Args:
      name: see `names`.
      time_limit: steps per episode, 1,000 by default.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's constructor, such as backend="spring" or
        terminate_when_unhealthy=False.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the environment does not have.
    """
    check_name("brax", name, names())
    env = envs.get_environment(name, **options)

    def reset(key: Key) -> tuple[Any, Any]:
        state = env.reset(key)
        return state.obs, state

    def step(key: Key, state: Any, action: Array) -> tuple:
        del key
        state = env.step(state, action)
        return state.obs, state, state.reward, state.done > 0, jnp.bool_(False)

    actions = Box(-1.0, 1.0, (int(env.action_size),))
    max_steps = limit_of(time_limit, MAX_STEPS)
    return batched(f"brax:{name}", reset, step, actions, max_steps, flat=flat)
