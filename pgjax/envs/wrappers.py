"""Wrappers: functions from one environment to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_count, check_flags, check_is
from pgjax.envs.remake import Remake, remake_of
from pgjax.types import Array, Box, Discrete, Env, Key

_EXAMPLE = 'pg.make_env("CartPole-v1")'


def time_limit(env: Env, steps: int, *, terminates: bool = False) -> Env:
    """The environment, whose episodes are cut after so many steps.

    Rollouts count the steps, and mark the last one truncated: nothing is added to what
    is computed. A limit that the environment has by itself holds as well.

    Args:
      env: any.
      steps: of an episode, at most; >= 1.
      terminates: whether the limit is a terminal state instead, after which there is no
        value to bootstrap from. Then the environment counts its steps itself.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if steps < 1.
    """
    check_is(Env, _EXAMPLE, env=env)
    check_flags(terminates=terminates)
    steps = as_count("steps", steps)
    if not terminates:
        return _wrapped(env, lambda env: env._replace(max_steps=steps))

    def wrap(env: Env) -> Env:
        def reset(key: Key, num_envs: int) -> tuple[Any, Any]:
            obs, state = env.reset(key, num_envs)
            return obs, Counted(jnp.zeros(num_envs, jnp.int32), state)

        def step(key: Key, state: Counted, action: Array) -> tuple:
            obs, inner, reward, terminated, truncated = env.step(
                key, state.state, action
            )
            time = state.time + 1
            ends = terminated | truncated | (time >= steps)
            return obs, Counted(time, inner), reward, ends, jnp.zeros_like(ends)

        return env._replace(reset=reset, step=step, max_steps=steps)

    return _wrapped(env, wrap)


class Counted(NamedTuple):
    """Environments, and the steps of their episodes."""

    time: Array  # (N,) int32
    state: Any


def frame_stack(env: Env, k: int) -> Env:
    """The environment, observed as its last `k` observations.

    They are put together along their last axis, the oldest first: (d,) becomes (k d,),
    an image (H, W, C) becomes (H, W, k C), and a number (k,). At the start of an
    episode, the first one is there k times.

    Args:
      env: one whose observations are arrays of a `Box`.
      k: how many; >= 1.

    Raises:
      TypeError: for an argument of another type, or other observations.
      ValueError: if k < 1.
    """
    k = as_count("k", k)
    _check_box("frame_stack", env)

    def wrap(env: Env) -> Env:
        space = env.observation_space
        shape = space.shape or (1,)
        stacked = (*shape[:-1], k * shape[-1])

        def last_axis(obs: Array) -> Array:
            return obs if space.shape else obs[:, None]

        def bound(x: Any) -> Any:
            whole = jnp if isinstance(x, jax.core.Tracer) else np
            whole_shape = whole.broadcast_to(x, space.shape).reshape(shape)
            return whole.concatenate([whole_shape] * k, axis=-1)

        def reset(key: Key, num_envs: int) -> tuple[Array, Stacked]:
            obs, state = env.reset(key, num_envs)
            frames = jnp.concatenate([last_axis(obs)] * k, axis=-1)
            return frames, Stacked(frames, state)

        def step(key: Key, state: Stacked, action: Array) -> tuple:
            obs, inner, *outcome = env.step(key, state.state, action)
            kept = state.frames[..., shape[-1] :]
            frames = jnp.concatenate([kept, last_axis(obs)], axis=-1)
            return frames, Stacked(frames, inner), *outcome

        return env._replace(
            name=f"frame_stack({env.name}, {k})",
            reset=reset,
            step=step,
            observation_space=Box(bound(space.low), bound(space.high), stacked),
        )

    return _wrapped(env, wrap)


class Stacked(NamedTuple):
    """Environments, and the observations that are seen of them."""

    frames: Array  # (N, ..., k C)
    state: Any


def flatten_observations(env: Env) -> Env:
    """The environment, observed as one vector; a `Discrete` observation as one-hot.

    Args:
      env: one whose observations are one array.

    Raises:
      TypeError: for an argument of another type.
    """
    check_is(Env, _EXAMPLE, env=env)

    def wrap(env: Env) -> Env:
        space: Any = env.observation_space
        if isinstance(space, Discrete):
            size, low, high = space.n, 0.0, 1.0
        else:
            size = math.prod(space.shape)
            low, high = (_flat(x, space.shape) for x in (space.low, space.high))

        def flat(obs: Array) -> Array:
            if isinstance(space, Discrete):
                return jax.nn.one_hot(obs, size)
            return obs.reshape(len(obs), size)

        def reset(key: Key, num_envs: int) -> tuple[Array, Any]:
            obs, state = env.reset(key, num_envs)
            return flat(obs), state

        def step(key: Key, state: Any, action: Array) -> tuple:
            obs, *rest = env.step(key, state, action)
            return flat(obs), *rest

        return env._replace(
            name=f"flatten_observations({env.name})",
            reset=reset,
            step=step,
            observation_space=Box(low, high, (size,)),
        )

    return _wrapped(env, wrap)


def _flat(bound: Any, shape: tuple[int, ...]) -> Any:
    """A bound of each element of a flattened space; one of all stays one."""
    if not np.ndim(bound):
        return bound
    whole = jnp if isinstance(bound, jax.core.Tracer) else np
    return whole.broadcast_to(bound, shape).reshape(-1)


def _check_box(wrapper: str, env: Env) -> None:
    check_is(Env, _EXAMPLE, env=env)
    if not isinstance(env.observation_space, Box):
        raise TypeError(
            f"{wrapper} takes observations of a pg.Box, and {env.name} has "
            f"{env.observation_space}; pg.flatten_observations makes them one"
        )


def _wrapped(env: Env, wrap: Callable[[Env], Env]) -> Env:
    """`wrap(env)`, which can be made with other parameters where `env` can."""
    made = wrap(env)
    remake = remake_of(env)
    if remake is None:
        return made._replace(with_params=None)

    def again(params: Mapping[str, Any]) -> Env:
        return wrap(remake(params))

    return made._replace(with_params=Remake(again, made.reset, made.step))
