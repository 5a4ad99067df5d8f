"""Wrappers: functions from one environment to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_count, check_flags, check_is
from pgjax._internal.spaces import (
    beside_spaces,
    chosen_leaves,
    is_space,
    map_spaces,
    named_spaces,
    spaces_of,
)
from pgjax.envs.remake import Remake, remake_of
from pgjax.networks.encoding import encode, encoded_bounds, encoded_shape
from pgjax.types import Array, Box, Env, Key, Obs

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


def frame_stack(env: Env, k: int, *, leaves: Any = True) -> Env:
    """The environment, observed as its last `k` observations.

    They are put together along their last axis, the oldest first: (d,) becomes (k d,),
    an image (H, W, C) becomes (H, W, k C), and a number (k,). At the start of an
    episode, the first one is there k times. Of a tree of observations, such as a dict,
    so is each leaf that is chosen; the others are the last ones alone.

    Args:
      env: one whose observations are arrays of a `Box`, or a tree of them.
      k: how many; >= 1.
      leaves: which are stacked: True for all, or a tree of True and False like the
        observations, or like its upper part: {"image": True, "goal": False}.

    Raises:
      TypeError: for an argument of another type, or a `Discrete` that is to be stacked.
      ValueError: if k < 1; for `leaves` of another structure.
    """
    k = as_count("k", k)
    check_is(Env, _EXAMPLE, env=env)
    _check_stackable(env, chosen_leaves(leaves, env.observation_space))

    def wrap(env: Env) -> Env:
        space = env.observation_space
        chosen = chosen_leaves(leaves, space)

        def first_frames(space: Box, stacks: bool, obs: Array) -> Array | None:
            frames = [_with_last_axis(space, obs)] * k
            return jnp.concatenate(frames, axis=-1) if stacks else None

        def next_frames(space: Box, stacks: bool, obs: Array, frames: Any) -> Any:
            if not stacks:
                return None
            newest = _with_last_axis(space, obs)
            kept = frames[..., newest.shape[-1] :]
            return jnp.concatenate([kept, newest], axis=-1)

        def seen(_: Any, stacks: bool, obs: Array, frames: Any) -> Array:
            return frames if stacks else obs

        def reset(key: Key, num_envs: int) -> tuple[Obs, Stacked]:
            obs, state = env.reset(key, num_envs)
            frames = map_spaces(first_frames, space, chosen, obs)
            return map_spaces(seen, space, chosen, obs, frames), Stacked(frames, state)

        def step(key: Key, state: Stacked, action: Array) -> tuple:
            obs, inner, *outcome = env.step(key, state.state, action)
            frames = map_spaces(next_frames, space, chosen, obs, state.frames)
            seen_obs = map_spaces(seen, space, chosen, obs, frames)
            return seen_obs, Stacked(frames, inner), *outcome

        def stacked_space(space: Any, stacks: bool) -> Any:
            return _stacked(space, k) if stacks else space

        return env._replace(
            name=f"frame_stack({env.name}, {k})",
            reset=reset,
            step=step,
            observation_space=map_spaces(stacked_space, space, chosen),
        )

    return _wrapped(env, wrap)


class Stacked(NamedTuple):
    """Environments, and the observations that are seen of them."""

    frames: Any  # (N, ..., k C), or a tree of them; None where nothing is stacked
    state: Any


def _with_last_axis(space: Box, obs: Array) -> Array:
    return obs if space.shape else obs[:, None]


def _stacked(space: Box, k: int) -> Box:
    """The space of k observations, put together along their last axis."""
    shape = space.shape or (1,)

    def bound(x: Any) -> Any:
        whole = _array_module(x)
        whole_shape = whole.broadcast_to(x, space.shape).reshape(shape)
        return whole.concatenate([whole_shape] * k, axis=-1)

    return Box(bound(space.low), bound(space.high), (*shape[:-1], k * shape[-1]))


def _check_stackable(env: Env, chosen: Any) -> None:
    space = env.observation_space
    pairs = zip(named_spaces("", space), jax.tree.leaves(chosen), strict=True)
    for (name, leaf), stacks in pairs:
        if stacks and not isinstance(leaf, Box):
            where = f"{name} of " if name else ""
            rest = "; or leave it out with leaves=" if name else ""
            raise TypeError(
                f"frame_stack takes observations of a pg.Box, and {where}{env.name} "
                f"has {leaf}; pg.flatten_observations makes them one{rest}"
            )


def flatten_observations(env: Env) -> Env:
    """The environment, observed as one vector.

    A `Discrete` observation becomes one-hot, and one array of numbers a vector of the
    type that it has. A tree of observations, such as a dict, becomes what `pg.encode`
    says: floats, all leaves side by side.

    Args:
      env: any.

    Raises:
      TypeError: for an argument of another type.
    """
    check_is(Env, _EXAMPLE, env=env)

    def wrap(env: Env) -> Env:
        space: Any = env.observation_space

        def flat(obs: Obs) -> Array:
            if isinstance(space, Box):
                return obs.reshape(len(obs), math.prod(space.shape))
            return encode(space, obs)

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
            observation_space=_flat_space(env),
        )

    return _wrapped(env, wrap)


def _flat_space(env: Env) -> Box:
    """Of what `flatten_observations` gives."""
    space = env.observation_space
    if is_space(space):
        shape = encoded_shape(space)
        of_one = space[:2] if isinstance(space, Box) else (0.0, 1.0)
        low, high = (_flat(x, shape) for x in of_one)
        return Box(low, high, (math.prod(shape),))
    key = jax.eval_shape(lambda: jax.random.key(0))
    obs, _ = jax.eval_shape(lambda key: env.reset(key, 1), key)
    pairs = zip(spaces_of(space), beside_spaces(space, obs), strict=True)
    bounds = [
        [_whole(x, encoded_shape(of)) for x in encoded_bounds(of, leaf.dtype)]
        for of, leaf in pairs
    ]
    low, high = (_array_module(*x).concatenate(x) for x in zip(*bounds, strict=True))
    return Box(low, high, low.shape)


def _flat(bound: Any, shape: tuple[int, ...]) -> Any:
    """A bound of each element of a flattened space; one of all stays one."""
    return _whole(bound, shape) if np.ndim(bound) else bound


def _whole(bound: Any, shape: tuple[int, ...]) -> Any:
    return _array_module(bound).broadcast_to(bound, shape).reshape(-1)


def _array_module(*arrays: Any) -> Any:
    """NumPy for what is known, JAX for what is traced."""
    return jnp if any(isinstance(x, jax.core.Tracer) for x in arrays) else np


def _wrapped(env: Env, wrap: Callable[[Env], Env]) -> Env:
    """`wrap(env)`, which can be made with other parameters where `env` can."""
    made = wrap(env)
    remake = remake_of(env)
    if remake is None:
        return made._replace(with_params=None)

    def again(params: Mapping[str, Any]) -> Env:
        return wrap(remake(params))

    return made._replace(with_params=Remake(again, made.reset, made.step))
