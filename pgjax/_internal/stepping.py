"""One step of N environments and their policy, under the environments' time limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax.types import Array, Env, Episodes, Key, Obs, Params, PolicyFn, Transition

Rows = tuple[Transition, Episodes]  # of a step, (N, ...), or of many, (T, N, ...)


class EnvsState(NamedTuple):
    """N environments between two steps, and the sums over their current episodes."""

    env_state: Any  # leaves (N, ...)
    obs: Obs  # (N, ...)
    episode_return: Array  # (N,) float32
    episode_length: Array  # (N,) int32


def start_envs(env: Env, key: Key, num_envs: int) -> EnvsState:
    """N environments at the beginning of an episode each."""
    obs, env_state = env.reset(key, num_envs)
    zeros = jnp.zeros(num_envs, jnp.float32)
    return EnvsState(env_state, obs, zeros, jnp.zeros(num_envs, jnp.int32))


def draw_noise(policy: PolicyFn, params: Params, obs: Obs, keys: Key) -> Array:
    """(T, ...) the noise of all actions, drawn at once: a draw per step takes longer.

    The numbers are those that `sample` would draw from each key. A distribution that
    has no `noise` is given the keys.
    """
    distribution = jax.eval_shape(policy, params, obs)
    if not hasattr(distribution, "noise"):
        return keys
    return jax.vmap(distribution.noise)(keys)


def act_and_step(
    env: Env,
    policy: PolicyFn,
    params: Params,
    envs: EnvsState,
    inputs: Sequence[Any],
) -> tuple[EnvsState, Transition, Episodes]:
    """One step of all environments, before any reset.

    Args:
      env: the environment.
      policy: maps (params, obs) to a distribution.
      params: its parameters.
      envs: where they are.
      inputs: what `draw_noise` gives for this step, and a key for the dynamics.

    Returns:
      Where the environments went, what happened, and which episodes ended.
    """
    noise, env_key = inputs
    distribution = policy(params, envs.obs)
    if hasattr(distribution, "noise"):
        action = distribution.from_noise(noise)
    else:
        action = distribution.sample(noise)
    length = envs.episode_length + 1
    next_obs, env_state, reward, terminated, truncated = step_within_limit(
        env, env_key, envs.env_state, action, length
    )
    returns = envs.episode_return + reward.astype(jnp.float32)
    transition = Transition(
        obs=envs.obs,
        action=action,
        log_prob=distribution.log_prob(action),
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        next_obs=next_obs,
        weight=jnp.ones_like(reward),
    )
    ended = Episodes(terminated | truncated, returns, length)
    return EnvsState(env_state, next_obs, returns, length), transition, ended


def step_within_limit(
    env: Env, key: Key, env_state: Any, action: Array, length: Array
) -> tuple[Any, Any, Array, Array, Array]:
    """`env.step`, whose last step within `env.max_steps` is truncated.

    The only place that enforces the limit. An environment that does not end its
    episodes there, or never ends them, is cut: truncated, so that the episode counts
    and a critic bootstraps. A step that is terminal stays just that.

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


def restart(done: Array, fresh: tuple[Any, Any], envs: EnvsState) -> EnvsState:
    """The environments, those that are done at a fresh start.

    Args:
      done: (N,) bool.
      fresh: observations and states to start from, leaves (N, ...).
      envs: where they went.
    """
    obs, env_state = jax.tree.map(
        lambda new, old: jnp.where(as_mask_of(old, done), new, old),
        fresh,
        (envs.obs, envs.env_state),
    )
    return EnvsState(
        env_state,
        obs,
        jnp.where(done, jnp.float32(0.0), envs.episode_return),
        jnp.where(done, 0, envs.episode_length),
    )


def as_mask_of(x: Array, mask: Array) -> Array:
    """The (N,) mask with trailing axes of size 1, up to x's rank."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - 1))
