"""NAVIX, MiniGrid in JAX, as `Env` values; the only file that imports it."""

from __future__ import annotations

from typing import Any

import jax
import navix

from pgjax.envs.adapting import batched, check_name, limit_of
from pgjax.types import Array, Discrete, Env, Key

MAX_STEPS = 100  # of `navix.make`


def names() -> list[str]:
    """The names that `make` knows."""
    return list(navix.registry())


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of NAVIX, such as "Navix-DoorKey-5x5-v0".

    Observations are what `observation_fn` makes of the grid in float32: by default
    (height, width, 3) numbers of kinds, colours and states. The suite tells truncation
    from termination.

    Args:
      name: see `names`.
      time_limit: steps per episode, 100 by default.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's constructor, such as
        observation_fn=navix.observations.symbolic_first_person.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the environment does not have.
    """
    check_name("navix", name, names())
    max_steps = limit_of(time_limit, MAX_STEPS)
    env = navix.make(name, max_steps=max_steps, **options)
    keeps_cache = _draws(env)

    def carried(timestep: Any) -> Any:
        """The timestep without the pictures of its tiles, unless they are looked at."""
        if keeps_cache:
            return timestep
        return timestep.replace(state=timestep.state.replace(cache=None))

    def reset(key: Key) -> tuple[Any, Any]:
        timestep = carried(env.reset(key))
        return timestep.observation, timestep

    def step(key: Key, timestep: Any, action: Array) -> tuple:
        del key
        after = env._step(timestep, action)  # `step` would reset by itself
        ended = after.is_termination(), after.is_truncation()
        return after.observation, after, after.reward, *ended

    actions = Discrete(len(env.action_set))
    return batched(f"navix:{name}", reset, step, actions, max_steps, flat=flat)


def _draws(env: Any) -> bool:
    """Whether observations are made of pictures, of which each state then has all."""

    def look(key: Key) -> Any:
        state = env.reset(key).state
        return env.observation_fn(state.replace(cache=None))

    try:
        jax.eval_shape(look, jax.random.key(0))
    except AttributeError:  # of None
        return True
    return False
