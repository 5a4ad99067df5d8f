"""Gathering experience: complete episodes, or a fixed number of steps.

Both are `Rollout` values, built once from an environment, and both step N environments
at a time with one key per step for the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax.batching import any_agent
from pgjax.checks import check_is
from pgjax.collectives import own_key, share_of
from pgjax.types import (
    Array,
    Env,
    Episodes,
    Key,
    Params,
    PolicyFn,
    Rollout,
    Transition,
)

SEGMENT = 50  # steps of complete episodes whose noise is drawn at once


class EnvsState(NamedTuple):
    """N environments between two steps, and the sums over their current episodes."""

    env_state: Any  # leaves (N, ...)
    obs: Array  # (N, ...)
    episode_return: Array  # (N,)
    episode_length: Array  # (N,) int32


def episodes(env: Env, num_envs: int) -> Rollout:
    """N complete episodes at a time, one per environment, each from a fresh start.

    Time runs to the environment's time limit, T = env.max_steps; steps after an
    episode's end are padding with weight 0. Stepping stops when the last episode has
    ended. No episode is cut or dropped, so nothing is biased towards short ones.

    Args:
      env: the environment.
      num_envs: N, the number of episodes per rollout.

    Raises:
      ValueError: if num_envs < 1.
    """
    check_is(Env, 'pg.make_env("CartPole-v1")', env=env)
    _check_positive(num_envs=num_envs)

    def init(key: Key) -> tuple:
        del key
        return ()  # nothing outlives a rollout

    def collect(
        key: Key, policy: PolicyFn, params: Params, state: tuple
    ) -> tuple[tuple, Transition, Episodes]:
        reset_key, action_keys, env_keys = _split(own_key(key), env.max_steps)
        start = _start(env, reset_key, share_of(num_envs))
        fresh = start.obs, start.env_state
        alive = jnp.ones(share_of(num_envs), bool)

        def play(envs: EnvsState, alive: Array, inputs: Sequence[Any]) -> tuple:
            envs, transition, ended = _step(env, policy, params, inputs, envs, fresh)
            transition = transition._replace(weight=alive.astype(jnp.float32))
            ended = ended._replace(finished=ended.finished & alive)
            return envs, alive & ~ended.finished, (transition, ended)

        def segment(carry: tuple) -> tuple:
            """A few steps, whose noise is drawn at once; it ends with the episodes."""
            begin = jnp.minimum(carry[0], env.max_steps - size)
            noise = _noise(policy, params, start.obs, _slice(action_keys, begin, size))

            def step(carry: tuple) -> tuple:
                t, envs, alive, rows = carry
                envs, alive, row = play(envs, alive, (noise[t - begin], env_keys[t]))
                rows = jax.tree.map(lambda rows, row: rows.at[t].set(row), rows, row)
                return t + 1, envs, alive, rows

            return jax.lax.while_loop(partial(goes_on, begin + size), step, carry)

        def goes_on(end: Any, carry: tuple) -> Array:
            t, _, alive, _ = carry
            return (t < end) & any_agent(alive)

        size = min(SEGMENT, env.max_steps)
        noise = jax.eval_shape(
            lambda keys: _noise(policy, params, start.obs, keys), action_keys
        )
        row = jax.eval_shape(
            lambda noise, key: play(start, alive, (noise[0], key[0]))[2],
            noise,
            env_keys,
        )
        # Padding is what nobody writes to.
        rows = jax.tree.map(
            lambda x: jnp.zeros((env.max_steps, *x.shape), x.dtype), row
        )
        carry = (jnp.int32(0), start, alive, rows)
        *_, rows = jax.lax.while_loop(partial(goes_on, env.max_steps), segment, carry)
        return state, *rows

    return Rollout(init, collect, partial(_observe, env, num_envs), True)


def unroll(env: Env, num_envs: int, num_steps: int) -> Rollout:
    """T steps of N environments, which reset by themselves and go on next time.

    Episodes run across rollouts, so the last one of each environment is usually cut at
    the horizon: the learner needs a critic to stand in for the rest.

    The start states of a rollout are drawn once, before it begins, into a pool of fewer
    than T x N: environment i, resetting at step t, takes entry `stride * t + i`. No
    environment meets an entry twice, so each one's own experience has exactly the
    distribution it would have with a fresh draw at each reset. Two environments may
    share a start state, which only correlates them: no expectation changes.

    Args:
      env: the environment.
      num_envs: N.
      num_steps: T, the steps that each environment takes in a rollout.

    Raises:
      ValueError: if num_envs < 1 or num_steps < 1.
    """
    check_is(Env, 'pg.make_env("CartPole-v1")', env=env)
    _check_positive(num_envs=num_envs, num_steps=num_steps)

    def init(key: Key) -> EnvsState:
        return _start(env, own_key(key), share_of(num_envs))

    def collect(
        key: Key, policy: PolicyFn, params: Params, state: EnvsState
    ) -> tuple[EnvsState, Transition, Episodes]:
        reset_key, action_keys, env_keys = _split(own_key(key), num_steps)
        noise = _noise(policy, params, state.obs, action_keys)
        size = share_of(num_envs)
        stride = -(-size // 16)
        pool = env.reset(reset_key, stride * (num_steps - 1) + size)

        def step(envs: EnvsState, inputs: tuple) -> tuple:
            t, *now = inputs
            fresh = jax.tree.map(lambda x: _slice(x, stride * t, size), pool)
            envs, transition, ended = _step(env, policy, params, now, envs, fresh)
            return envs, (transition, ended)

        inputs = jnp.arange(num_steps), noise, env_keys
        rows: tuple[Transition, Episodes]
        state, rows = jax.lax.scan(step, state, inputs)
        return state, *rows

    return Rollout(init, collect, partial(_observe, env, num_envs), False)


def _split(key: Key, num_steps: int) -> tuple[Key, Key, Key]:
    """A key for resets, and (T,) keys each for actions and dynamics, in one split.

    Every separate use of a threefry key costs tenths of a second of compilation.
    """
    keys = jax.random.split(key, (num_steps + 1, 2))
    return keys[0, 0], keys[1:, 0], keys[1:, 1]


def _noise(policy: PolicyFn, params: Params, obs: Array, keys: Key) -> Array:
    """(T, ...) the noise of all actions, drawn at once: a draw per step takes longer.

    The numbers are those that `sample` would draw from each key. A distribution that
    has no `noise` is given the keys.
    """
    distribution = jax.eval_shape(policy, params, obs)
    if not hasattr(distribution, "noise"):
        return keys
    return jax.vmap(distribution.noise)(keys)


def _observe(env: Env, num_envs: int, key: Key) -> Array:
    return env.reset(key, share_of(num_envs))[0]


def _start(env: Env, key: Key, num_envs: int) -> EnvsState:
    obs, env_state = env.reset(key, num_envs)
    zeros = jnp.zeros(num_envs)
    return EnvsState(env_state, obs, zeros, zeros.astype(jnp.int32))


def _step(
    env: Env,
    policy: PolicyFn,
    params: Params,
    inputs: Sequence[Any],
    envs: EnvsState,
    fresh: tuple[Array, Any],
) -> tuple[EnvsState, Transition, Episodes]:
    """One step of all environments; those that end are replaced by `fresh` ones."""
    noise, env_key = inputs
    distribution = policy(params, envs.obs)
    if hasattr(distribution, "noise"):
        action = distribution.from_noise(noise)
    else:
        action = distribution.sample(noise)
    next_obs, env_state, reward, terminated, truncated = env.step(
        env_key, envs.env_state, action
    )
    done = terminated | truncated
    ended = Episodes(done, envs.episode_return + reward, envs.episode_length + 1)
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
    obs, env_state = jax.tree.map(
        lambda new, old: jnp.where(_like(done, old), new, old),
        fresh,
        (next_obs, env_state),
    )
    envs = EnvsState(
        env_state,
        obs,
        jnp.where(done, 0.0, ended.returns),
        jnp.where(done, 0, ended.lengths),
    )
    return envs, transition, ended


def _slice(x: Array, begin: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, begin, size)


def _like(mask: Array, x: Array) -> Array:
    """The (N,) mask with trailing axes of size 1, up to x's rank."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - 1))


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
