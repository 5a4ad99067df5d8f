"""Batched gymnax environments as `Env` values; the only file that imports gymnax."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from pgjax._internal.checks import as_count, check_flags, check_is
from pgjax.types import Array, Box, Discrete, Env, Key, Space


@contextlib.contextmanager
def _deferred(*names: str) -> Iterator[None]:
    """Imports the named modules at their first use, not at their import.

    gymnax imports matplotlib.pyplot, and seaborn with pandas and scipy.stats, for
    plots that we never draw: over half of its four seconds.
    """

    def stand_in(name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: getattr(  # type: ignore[method-assign]
            importlib.import_module(name), attribute
        )
        return module

    stand_ins = {name: stand_in(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


with _deferred("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import spaces
    from gymnax.environments.misc import reacher


class _Reacher(reacher.Reacher):
    """gymnax's arm, whose own observation fails for any number of joints but two."""

    def get_obs(self, state: Any, params: Any = None, key: Any = None) -> Array:
        angles = state.angles
        return jnp.concatenate(
            [jnp.cos(angles), jnp.sin(angles), state.angle_vels, state.goal_xy]
        )


def _make(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """The gymnax environment and its parameters."""
    if name == "Reacher-misc":
        env = _Reacher(**options)
        return env, env.default_params
    return gymnax.make(name, **options)


def env_names() -> list[str]:
    """The names that `make_env` knows: gymnax's own and those registered with it."""
    return list(gymnax.registered_envs)


def make_env(
    name: str,
    *,
    time_limit: int | None = None,
    time_limit_terminates: bool = False,
    **options: Any,
) -> Env:
    """A registered gymnax environment, N at a time.

    Observations become float32; discrete ones become one-hot vectors. Continuous
    actions are clipped to the action space on their way in, so that a policy may store,
    and take the log-prob of, what it sampled. Rewards become float32.

    Args:
      name: such as "CartPole-v1"; see `env_names`.
      time_limit: steps per episode; the environment's own by default.
      time_limit_terminates: whether the time limit counts as a terminal state, after
        which there is no value to bootstrap from. That is the article's rule. By
        default it is a truncation.
      **options: passed to the environment's constructor, such as num_joints=7.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1
        or beyond int32; for an environment whose params have no `max_steps_in_episode`.
      TypeError: for an option that the environment does not have; for an argument that
        is something else.
    """
    check_is(str, '"CartPole-v1"', name=name)
    check_flags(time_limit_terminates=time_limit_terminates)
    if time_limit is not None:
        time_limit = as_count("time_limit", time_limit)
    if name not in gymnax.registered_envs:
        raise ValueError(_unknown(name))
    env, params = _make(name, options)
    if not hasattr(params, "max_steps_in_episode"):
        raise ValueError(
            f"{name} has no time limit: its params need a field max_steps_in_episode"
        )
    if time_limit is None:  # some of gymnax's are floats
        own = "max_steps_in_episode of its params"
        time_limit = as_count(own, _whole(params.max_steps_in_episode))
    else:
        params = params.replace(max_steps_in_episode=time_limit)
    observation_space = _space(env.observation_space(params))
    action_space = _space(env.action_space(params))

    def observe(obs: Array) -> Array:
        if isinstance(observation_space, Discrete):
            return jax.nn.one_hot(obs, observation_space.n)
        return jnp.asarray(obs, jnp.float32)

    def reset(key: Key, num_envs: int) -> tuple[Array, Any]:
        keys = jax.random.split(key, num_envs)
        with jax.numpy_dtype_promotion("standard"):  # gymnax knows no other
            obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(keys, params)
        return observe(obs), jax.tree.map(_strong, state)

    def step_one(key: Key, state: Any, action: Array) -> tuple:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return obs, state, reward, terminated, env.is_truncated(state, params)

    def step(
        key: Key, state: Any, action: Array
    ) -> tuple[Array, Any, Array, Array, Array]:
        # Where the dynamics are deterministic, the compiler drops the keys, unused.
        keys = jax.random.split(key, action.shape[0])
        if isinstance(action_space, Box):
            low = jnp.broadcast_to(action_space.low, action.shape)
            high = jnp.broadcast_to(action_space.high, action.shape)
            action = jnp.clip(action, low, high)
        with jax.numpy_dtype_promotion("standard"):
            obs, next_state, reward, terminated, truncated = jax.vmap(step_one)(
                keys, state, action
            )
        if time_limit_terminates:
            terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
        next_state = jax.tree.map(lambda x, old: x.astype(old.dtype), next_state, state)
        reward = jnp.asarray(reward, jnp.float32)
        return observe(obs), next_state, reward, terminated, truncated

    if isinstance(observation_space, Discrete):
        shape = (observation_space.n,)
        return Env(name, reset, step, Box(0.0, 1.0, shape), action_space, time_limit)
    return Env(name, reset, step, observation_space, action_space, time_limit)


def _unknown(name: str) -> str:
    known = env_names()
    folded = {known_name.lower(): known_name for known_name in known}
    near = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.4)
    nearest = ", ".join(folded[match] for match in near) or ", ".join(known)
    return f"unknown environment {name!r}; did you mean {nearest}?"


def _whole(number: Any) -> Any:
    """100.0 as 100; anything else as it is."""
    whole = isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


def _space(space: Any) -> Space:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        if 0 in space.shape:
            raise ValueError(f"a space of shape {tuple(space.shape)} holds nothing")
        return Box(space.low, space.high, tuple(space.shape))
    raise ValueError(f"no support for the space {space!r}; Discrete and Box are served")


def _strong(x: Any) -> Array:
    """The array without a weak type, which would change under the first step."""
    x = jnp.asarray(x)
    return jax.lax.convert_element_type(x, x.dtype)
