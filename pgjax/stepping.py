"""One step of an environment under its time limit; the only place that enforces it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pgjax.types import Array, Env, Key


def step_within_limit(
    env: Env, key: Key, env_state: Any, action: Array, length: Array
) -> tuple[Any, Any, Array, Array, Array]:
    """`env.step`, whose last step within `env.max_steps` is truncated.

    An environment that does not end its episodes at its limit, or never ends them, is
    cut there: truncated, so that the episode counts and a critic bootstraps. A step
    that is terminal stays just that.

    Args:
      env: N environments.
      key: of this step, for all of them.
      env_state: leaves (N, ...).
      action: (N, ...).
      length: (N,) integers: steps of each one's episode, this one included.

    Returns:
      What `env.step` returns: the observation and the state the action led to, the
      reward, terminated and truncated.
    """
    obs, env_state, reward, terminated, truncated = env.step(key, env_state, action)
    at_limit = (length >= env.max_steps) & ~terminated
    return obs, env_state, reward, terminated, truncated | at_limit
