"""Gymnasium's environments, on the host; the only file of the library that imports it.

They are stepped in the process that trains, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from pgjax._internal.names import unknown_name
from pgjax.envs.adapting import limit_of
from pgjax.types import Box, Discrete, HostEnv, Space

# Combinations of actions, at most, that are served as one choice among all.
MOST_ACTIONS = 10_000


def names() -> list[str]:
    """The names that `make` knows, whether what they need is installed or not."""
    return list(gymnasium.registry)


def make(name: str, *, time_limit: int | None = None, **options: Any) -> HostEnv:
    """An environment of Gymnasium, such as "Pendulum-v1" or "my_module:MyEnv-v0".

    Observations are float32 arrays of their own shape; what is no `Box` becomes a
    vector, as `gymnasium.spaces.flatten` makes it. Continuous actions are clipped to
    their space; choices of several parts become one choice among all combinations.
    Gymnasium tells truncation from termination.

    Args:
      name: see `names`; with "module:" before it, of one that a module registers.
      time_limit: steps per episode, the registered number by default.
      **options: of the environment's constructor, such as g=9.81, and of
        `gymnasium.make`.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1,
        or none; for spaces that cannot be served.
      TypeError: for an option that the environment does not have.
      ImportError: for a package that the environment needs.
    """
    if time_limit is not None:
        options["max_episode_steps"] = limit_of(time_limit, 1)
    options.setdefault("disable_env_checker", True)  # it runs in every step
    full_name = f"gymnasium:{name}"

    def make_one() -> Any:
        return gymnasium.make(name, **options)

    try:
        return from_function(make_one, full_name, time_limit=time_limit)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{full_name}: {_line(error)}", name="gymnasium") from error
    except gymnasium.error.UnregisteredEnv as error:
        told, prefix = "unknown environment", "gymnasium:"
        message = unknown_name(told, name, names(), prefix=prefix)
        raise ValueError(message) from error
    except gymnasium.error.Error as error:
        raise ValueError(f"{full_name}: {_line(error)}") from error


def from_function(
    make_one: Callable[[], Any], name: str, *, time_limit: int | None = None
) -> HostEnv:
    """Environments that a function makes, one at a time, behind Gymnasium's interface.

    Args:
      make_one: returns one with `reset(seed=...)`, `step(action)` of five results,
        `action_space` and `observation_space`.
      name: for messages.
      time_limit: steps per episode; its `spec.max_episode_steps` by default.
    """
    one = make_one()
    try:
        own = getattr(getattr(one, "spec", None), "max_episode_steps", None)
        if time_limit is None and own is None:
            raise ValueError(
                f"{name} has no time limit of its own: give it one, time_limit="
            )
        max_steps = limit_of(time_limit, own or 1)
        observe, obs, observation_space = _observations(name, one.observation_space)
        as_action, action_space = _actions(name, one.action_space)
    finally:
        one.close()

    def make_all(num_envs: int) -> Gymnasiums:
        return Gymnasiums(make_one, num_envs, observe, as_action, obs)

    return HostEnv(name, make_all, obs, observation_space, action_space, max_steps)


class Gymnasiums:
    """N environments of Gymnasium, as `Simulators`.

    Args:
      make_one: makes one of them.
      num_envs: N.
      observe: maps its observation to an array.
      as_action: maps an action of one environment to its own.
      obs: what `observe` gives.
    """

    def __init__(
        self,
        make_one: Callable[[], Any],
        num_envs: int,
        observe: Callable[[Any], Any],
        as_action: Callable[[Any], Any],
        obs: jax.ShapeDtypeStruct,
    ):
        self._observe, self._as_action = observe, as_action
        self._envs: list[Any] = []
        try:
            for _ in range(num_envs):
                self._envs.append(make_one())
        except BaseException:
            self.close()
            raise
        self._obs = np.zeros((num_envs, *obs.shape), obs.dtype)
        self._reward = np.zeros(num_envs, np.float32)
        self._terminated, self._truncated = np.zeros((2, num_envs), bool)

    def start(self, seeds: np.ndarray) -> np.ndarray:
        """Begins an episode in each, from a seed."""
        for i, env in enumerate(self._envs):
            self._obs[i] = self._observe(env.reset(seed=int(seeds[i]))[0])
        return self._obs

    def restart(self, which: np.ndarray) -> np.ndarray:
        """Begins another episode, by the environment's own random numbers."""
        for i in np.flatnonzero(which):
            self._obs[i] = self._observe(self._envs[i].reset()[0])
        return self._obs

    def step(self, which: np.ndarray, action: np.ndarray) -> tuple:
        """Steps those that `which` says."""
        for i in np.flatnonzero(which):
            obs, reward, terminated, truncated, _ = self._envs[i].step(
                self._as_action(action[i])
            )
            self._obs[i], self._reward[i] = self._observe(obs), reward
            self._terminated[i], self._truncated[i] = terminated, truncated
        return self._obs, self._reward, self._terminated, self._truncated

    def render(self) -> Any:
        """A picture of the first, where it was made with a render_mode."""
        return self._envs[0].render()

    def close(self) -> None:
        """Closes each of them."""
        for env in self._envs:
            env.close()


def _observations(
    name: str, space: Any
) -> tuple[Callable[[Any], Any], jax.ShapeDtypeStruct, Space]:
    """What makes an array of an observation, its shape, and its space."""
    flat = isinstance(space, spaces.Box)
    whole = space if flat else _flat(name, space)
    obs = jax.ShapeDtypeStruct(whole.shape, np.float32)
    low, high = (np.asarray(x, np.float32) for x in (whole.low, whole.high))
    seen = Box(low, high, tuple(whole.shape))
    if flat:
        return lambda obs: obs, obs, seen
    return lambda obs: spaces.flatten(space, obs), obs, seen


def _flat(name: str, space: Any) -> Any:
    try:
        flat = spaces.flatten_space(space)
    except NotImplementedError:
        flat = None
    if not isinstance(flat, spaces.Box):
        raise ValueError(f"{name} has observations of {space}, which are no vector")
    return flat


def _actions(name: str, space: Any) -> tuple[Callable[[Any], Any], Space]:
    """What makes the environment's own action of one of ours, and their space."""
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return lambda action: int(action) + first, Discrete(int(space.n))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high, dtype = space.low, space.high, space.dtype

        def clipped(action: np.ndarray) -> np.ndarray:
            return np.clip(action, low, high).astype(dtype)

        lowest, highest = (np.asarray(x, np.float32) for x in (low, high))
        return clipped, Box(lowest, highest, tuple(space.shape))
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        several = isinstance(space, spaces.MultiDiscrete)
        sizes = space.nvec if several else np.full(space.shape, 2)
        start = getattr(space, "start", 0) if several else 0
        return _combined(name, np.asarray(sizes), start, space.dtype)
    raise ValueError(
        f"{name} has actions of {space}; served are Discrete, Box of floats, "
        "MultiDiscrete and MultiBinary"
    )


def _combined(
    name: str, sizes: np.ndarray, lowest: Any, dtype: Any
) -> tuple[Callable[[Any], Any], Space]:
    """One choice among all combinations of several."""
    number = math.prod(map(int, sizes.ravel()))
    if number > MOST_ACTIONS:
        raise ValueError(
            f"{name} has {number:,} combinations of actions of several parts, and one "
            f"choice among all serves up to {MOST_ACTIONS:,}"
        )
    flat = tuple(map(int, sizes.ravel()))

    def parts(action: np.ndarray) -> np.ndarray:
        chosen = np.stack(np.unravel_index(int(action), flat)).reshape(sizes.shape)
        return (chosen + lowest).astype(dtype)

    return parts, Discrete(number)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
