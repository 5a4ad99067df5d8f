"""Each suite's own environment, stepped as the suite's documentation does it.

This shares nothing with the adapters: an adapter is right if it says the same, step by
step, and cheap if it takes no longer.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Own(NamedTuple):
    """One environment as its suite has it, without auto-reset."""

    reset: Callable[[Any], tuple[Any, Any]]  # key -> obs, state
    step: Callable[[Any, Any, Any], tuple[Any, Any, Any, Any]]
    # (key, state, action) -> obs, state, reward, done; done may hide a time limit


def _brax(name: str, limit: int | None) -> Own:
    from brax import envs

    env = envs.create(name, episode_length=limit or 1000, auto_reset=False)
    return _of_states(env, lambda state: state.obs)


def _playground(name: str, limit: int | None) -> Own:
    from brax.envs.wrappers.training import EpisodeWrapper
    from mujoco_playground import registry

    config = registry.get_default_config(name)
    impl = {"impl": "jax"} if "impl" in config else {}
    env = registry.load(name, config_overrides=impl)
    env = EpisodeWrapper(env, limit or config.episode_length, config.action_repeat)
    return _of_states(env, lambda state: state.obs)


def _of_states(env: Any, observation: Callable[[Any], Any]) -> Own:
    def reset(key: Any) -> tuple:
        state = env.reset(key)
        return observation(state), state

    def step(key: Any, state: Any, action: Any) -> tuple:
        del key
        state = env.step(state, action)
        return observation(state), state, state.reward, state.done

    return Own(reset, step)


def _jumanji(name: str, limit: int | None) -> Own:
    import jumanji

    env = jumanji.make(name)
    if limit and "time_limit" in inspect.signature(type(env).__init__).parameters:
        env = jumanji.make(name, time_limit=limit)
    spec = env.action_spec
    sizes = np.broadcast_to(np.asarray(spec.maximum) + 1, spec.shape).ravel()

    def as_action(action: Any) -> Any:
        if not jnp.issubdtype(spec.dtype, jnp.integer) or spec.shape == ():
            return action
        parts = jnp.stack(jnp.unravel_index(action, tuple(map(int, sizes))))
        return parts.reshape(spec.shape).astype(spec.dtype)

    def reset(key: Any) -> tuple:
        state, timestep = env.reset(key)
        return timestep.observation, state

    def step(key: Any, state: Any, action: Any) -> tuple:
        del key
        state, timestep = env.step(state, as_action(action))
        reward = jnp.sum(timestep.reward)  # of all agents
        return timestep.observation, state, reward, timestep.last()

    return Own(reset, step)


def _pgx(name: str, limit: int | None) -> Own | None:
    import pgx

    del limit
    game = pgx.make(name)
    if game.num_players > 1:
        return None  # an opponent is no part of pgx; tests/envs play these by hand

    def reset(key: Any) -> tuple:
        state = game.init(key)
        return state.observation, state

    def step(key: Any, state: Any, action: Any) -> tuple:
        state = game.step(state, action, key)
        return state.observation, state, state.rewards[0], state.terminated

    return Own(reset, step)


def _navix(name: str, limit: int | None) -> Own:
    import navix

    env = navix.make(name, **({"max_steps": limit} if limit else {}))

    def reset(key: Any) -> tuple:
        timestep = env.reset(key)
        return timestep.observation, timestep

    def step(key: Any, timestep: Any, action: Any) -> tuple:
        del key
        timestep = env._step(timestep, action)
        return timestep.observation, timestep, timestep.reward, timestep.is_done()

    return Own(reset, step)


def _xminigrid(name: str, limit: int | None) -> Own:
    import xminigrid

    env, params = xminigrid.make(name, **({"max_steps": limit} if limit else {}))

    def reset(key: Any) -> tuple:
        timestep = env.reset(params, key)
        return timestep.observation, timestep

    def step(key: Any, timestep: Any, action: Any) -> tuple:
        del key
        timestep = env.step(params, timestep, action)
        return timestep.observation, timestep, timestep.reward, timestep.last()

    return Own(reset, step)


def _craftax(name: str, limit: int | None) -> Own:
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name(name, auto_reset=False)
    params = env.default_params
    if limit:
        params = params.replace(max_timesteps=limit)

    def step(key: Any, state: Any, action: Any) -> tuple:
        return env.step_env(key, state, action, params)[:4]

    return Own(lambda key: env.reset_env(key, params), step)


def _gymnax(name: str, limit: int | None) -> Own:
    import gymnax

    env, params = gymnax.make(name)
    if limit:
        params = params.replace(max_steps_in_episode=limit)

    def step(key: Any, state: Any, action: Any) -> tuple:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return obs, state, reward, terminated | env.is_truncated(state, params)

    return Own(lambda key: env.reset_env(key, params), step)


OWN: dict[str, Callable[[str, int | None], Own | None]] = {
    "gymnax": _gymnax,
    "brax": _brax,
    "playground": _playground,
    "jumanji": _jumanji,
    "pgx": _pgx,
    "navix": _navix,
    "xminigrid": _xminigrid,
    "craftax": _craftax,
}


def adapter_of(suite: str) -> tuple[Callable[..., Any], Callable[[], list[str]]]:
    """The adapter's `make` and `names`.

    Raises:
      ModuleNotFoundError: if the suite is not installed.
    """
    module = importlib.import_module(f"pgjax.envs.{suite}_envs")
    if suite == "gymnax":
        return module.make_env, module.env_names
    return module.make, module.names


def own_of(suite: str, name: str, limit: int | None = None) -> Own | None:
    """The suite's own environment, with a time limit if it takes one.

    Nothing, where an adapter adds what the suite does not have: an opponent.
    """
    return OWN[suite](name, limit)


def strong(x: Any) -> Any:
    """An array without a weak type, as a loop's state needs it."""
    x = jnp.asarray(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


def like(old: Any, new: Any) -> Any:
    """What a step made of a leaf, in the leaf's type, as a loop's state needs it."""
    return strong(jnp.asarray(new).astype(old.dtype))
