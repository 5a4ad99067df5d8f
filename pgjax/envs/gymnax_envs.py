"""gymnax environments as `Env` values, N at a time; the only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from pgjax._internal.checks import as_count
from pgjax._internal.later import imported_later
from pgjax._internal.names import unknown_name
from pgjax._internal.spaces import is_space
from pgjax.envs.gymnax_params import changed, shown
from pgjax.types import Array, Box, Discrete, Env, Key, Obs, Space

# For pictures that pgjax never draws, and with pandas and scipy.stats: 1.5 of the 2
# seconds of processor time that gymnax takes.
with imported_later("seaborn", "matplotlib.pyplot"):
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


def env_names() -> list[str]:
    """The names that gymnax knows: its own and those registered with it."""
    return list(gymnax.registered_envs)


def registered(name: str, options: Mapping[str, Any]) -> Any:
    """The gymnax environment of that name.

    Raises:
      ValueError: for an unknown name, with the nearest ones.
    """
    if name not in gymnax.registered_envs:
        raise ValueError(unknown_name("unknown environment", name, env_names()))
    if name == "Reacher-misc":
        return _Reacher(**options)
    return gymnax.make(name, **options)[0]


def from_gymnax(
    env: Any,
    *,
    name: str,
    params: Mapping[str, Any],
    time_limit: int | None,
    time_limit_terminates: bool,
) -> Env:
    """A gymnax environment as an `Env`; the arguments are those of `make_env`.

    Args:
      env: an object of the 1.0 interface.
      name: for messages.
      params: fields of its params, and other values of them; they may be traced.
      time_limit: steps per episode; its own by default.
      time_limit_terminates: whether that is a terminal state.
    """
    default = env.default_params
    if not hasattr(default, "max_steps_in_episode"):
        raise ValueError(
            f"{name} has no time limit: its params need a field max_steps_in_episode"
        )
    if time_limit is None:  # some of gymnax's are floats
        own = "max_steps_in_episode of its params"
        time_limit = as_count(own, _whole(default.max_steps_in_episode))
    else:
        default = default.replace(max_steps_in_episode=time_limit)
    told = ", ".join(f"{field}={shown(value)}" for field, value in params.items())
    params = changed(name, default, params)
    name = f"{name}({told})" if told else name  # no longer the one that others know
    observation_space = _spaces(env.observation_space(params))
    action_space = _space(env.action_space(params))

    def observe(obs: Any) -> Obs:
        if isinstance(observation_space, Discrete):
            return jax.nn.one_hot(obs, observation_space.n)
        if isinstance(observation_space, Box):
            return jnp.asarray(obs, jnp.float32)
        return _leaves_of(observation_space, obs)

    def reset(key: Key, num_envs: int) -> tuple[Obs, Any]:
        keys = jax.random.split(key, num_envs)
        with jax.numpy_dtype_promotion("standard"):  # gymnax knows no other
            obs, state = jax.vmap(env.reset_env, in_axes=(0, None))(keys, params)
        return observe(obs), jax.tree.map(_strong, state)

    def step_one(key: Key, state: Any, action: Array) -> tuple:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return obs, state, reward, terminated, env.is_truncated(state, params)

    def step(
        key: Key, state: Any, action: Array
    ) -> tuple[Obs, Any, Array, Array, Array]:
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


def _whole(number: Any) -> Any:
    """100.0 as 100; anything else as it is."""
    whole = isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


def _spaces(space: Any) -> Any:
    """A space, or a dict or tuple of spaces, of gymnax."""
    if isinstance(space, spaces.Dict):
        return {name: _spaces(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(_spaces, space.spaces))
    return _space(space)


def _leaves_of(space: Any, obs: Any) -> Obs:
    """Observations in the structure of their spaces, floats as float32.

    What has a `Dict` space may be any mapping, or have its parts as fields.
    """
    if isinstance(space, dict):
        mapping = isinstance(obs, Mapping)
        parts = {k: obs[k] if mapping else getattr(obs, k) for k in space}
        return {k: _leaves_of(space[k], part) for k, part in parts.items()}
    if not is_space(space):
        return tuple(_leaves_of(*pair) for pair in zip(space, obs, strict=True))
    obs = _strong(obs)
    floating = jnp.issubdtype(obs.dtype, jnp.floating)
    return obs.astype(jnp.float32) if floating else obs


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
