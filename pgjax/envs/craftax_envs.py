"""Craftax as `Env` values; the only file that imports it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from craftax.craftax_env import make_craftax_env_from_name

from pgjax.envs.adapting import NO_LIMIT, batched, check_name, limit_of
from pgjax.types import Array, Discrete, Env, Key

NAMES = (
    "Craftax-Symbolic-v1",
    "Craftax-Pixels-v1",
    "Craftax-Classic-Symbolic-v1",
    "Craftax-Classic-Pixels-v1",
)


def names() -> list[str]:
    """The names that `make` knows."""
    return list(NAMES)


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of Craftax, such as "Craftax-Classic-Symbolic-v1".

    Craftax says done at its time limit, too. It is given a limit that never comes
    instead, so that its done is death, lava or victory, and the time limit truncates.
    An action that is impossible does nothing.

    Args:
      name: see `names`.
      time_limit: steps per episode; 100,000 by default, 10,000 in Craftax-Classic.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's params, such as god_mode=True.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the params do not have.
    """
    check_name("craftax", name, names())
    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params.replace(**options)
    max_steps = limit_of(time_limit, params.max_timesteps)
    params = params.replace(max_timesteps=NO_LIMIT)

    def reset(key: Key) -> tuple[Any, Any]:
        return env.reset_env(key, params)

    def step(key: Key, state: Any, action: Array) -> tuple:
        obs, state, reward, done, _ = env.step_env(key, state, action, params)
        return obs, state, reward, done, jnp.bool_(False)

    actions = Discrete(int(env.action_space(params).n))
    return batched(f"craftax:{name}", reset, step, actions, max_steps, flat=flat)
