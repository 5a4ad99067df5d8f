"""Gymnasium's environments, on the host; the only file of the library that imports it.

They are stepped in the process that trains, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from pgjax._internal.host_envs import HostEnvError
from pgjax._internal.host_values import as_promised
from pgjax._internal.names import unknown_name
from pgjax._internal.user_parts import named
from pgjax.envs.adapting import box_of, check_one_limit, limit_of
from pgjax.types import Box, Discrete, HostEnv, Space

# Combinations of actions, at most, that are served as one choice among all.
MOST_ACTIONS = 10_000


def names() -> list[str]:
    """The names that `make` knows, whether what they need is installed or not."""
    return list(gymnasium.registry)


def make(name: str, *, time_limit: int | None = None, **options: Any) -> HostEnv:
    """An environment of Gymnasium, such as "Pendulum-v1" or "my_module:MyEnv-v0".

    Observations of a `Dict` or `Tuple` are a dict or tuple of arrays. A `Box` keeps its
    shape and type (bytes stay bytes), but that floats are float32 and integers of 64
    bits those of 32; a `Discrete` counts from 0; other spaces become a vector, as
    `gymnasium.spaces.flatten` makes it. Continuous actions are clipped to their space;
    choices of several parts become one choice among all combinations. Gymnasium tells
    truncation from termination.

    Args:
      name: see `names`; with "module:" before it, of one that a module registers.
      time_limit: steps per episode, the registered number by default.
      **options: of the environment's constructor, such as g=9.81, and of
        `gymnasium.make`.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1,
        none, or `max_episode_steps` beside it; for spaces that cannot be served.
      TypeError: for an option that the environment does not have.
      ImportError: for a package that the environment needs.
    """
    full_name = f"gymnasium:{name}"
    if time_limit is not None:
        check_one_limit(full_name, time_limit, options)
        options["max_episode_steps"] = limit_of(time_limit, 1)
    options.setdefault("disable_env_checker", True)  # it runs in every step

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

    Raises:
      ValueError: without a time limit; for one that comes after the environment's own
        `TimeLimit`; for spaces that cannot be served.
    """
    one = make_one()
    try:
        own = getattr(getattr(one, "spec", None), "max_episode_steps", None)
        if time_limit is None and own is None:
            raise ValueError(
                f"{name} has no time limit of its own: give it one, time_limit="
            )
        max_steps = limit_of(time_limit, own or 1)
        _check_reachable(name, max_steps, one)
        observe, obs, observation_space = _seen(name, one.observation_space)
        as_action, action_space = _actions(name, one.action_space)
    finally:
        one.close()

    def make_all(num_envs: int) -> Gymnasiums:
        return Gymnasiums(make_one, num_envs, observe, as_action, obs, name)

    return HostEnv(name, make_all, obs, observation_space, action_space, max_steps)


class Gymnasiums:
    """N environments of Gymnasium, as `Simulators`.

    Args:
      make_one: makes one of them.
      num_envs: N.
      observe: maps its observation to an array, or a tree of them.
      as_action: maps an action of one environment to its own.
      obs: what `observe` gives, `jax.ShapeDtypeStruct` leaves.
      name: for messages.
    """

    def __init__(
        self,
        make_one: Callable[[], Any],
        num_envs: int,
        observe: Callable[[Any], Any],
        as_action: Callable[[Any], Any],
        obs: Any,
        name: str = "an environment",
    ):
        self._name, self._observe, self._as_action = name, observe, as_action
        self._structure: Any = jax.tree.structure(obs)
        self._alone = jax.tree_util.treedef_is_leaf(self._structure)
        paths = jax.tree_util.tree_leaves_with_path(obs)
        self._names = [named("obs", path) for path, _ in paths]
        self._leaves = [np.zeros((num_envs, *x.shape), x.dtype) for _, x in paths]
        self._reward = np.zeros(num_envs, np.float32)
        self._terminated, self._truncated = np.zeros((2, num_envs), bool)
        self._envs: list[Any] = []
        try:
            for _ in range(num_envs):
                self._envs.append(make_one())
        except BaseException:
            self.close()
            raise

    def start(self, seeds: np.ndarray) -> Any:
        """Begins an episode in each, from a seed."""
        for i, env in enumerate(self._envs):
            self._keep("reset", i, _two(env.reset(seed=int(seeds[i])))[0])
        return self._obs()

    def restart(self, which: np.ndarray) -> Any:
        """Begins another episode, by the environment's own random numbers."""
        for i in np.flatnonzero(which):
            self._keep("reset", i, _two(self._envs[i].reset())[0])
        return self._obs()

    def step(self, which: np.ndarray, action: np.ndarray) -> tuple:
        """Steps those that `which` says."""
        for i in np.flatnonzero(which):
            obs, reward, terminated, truncated, _ = self._envs[i].step(
                self._as_action(action[i])
            )
            self._keep("step", i, obs)
            self._put("step", "reward", self._reward, i, reward)
            self._put("step", "terminated", self._terminated, i, terminated)
            self._put("step", "truncated", self._truncated, i, truncated)
        return self._obs(), self._reward, self._terminated, self._truncated

    def _obs(self) -> Any:
        return jax.tree.unflatten(self._structure, self._leaves)

    def _keep(self, part: str, i: Any, obs: Any) -> None:
        """Notes an observation of one of them, whose parts are as they must be."""
        try:
            seen = self._observe(obs)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise HostEnvError(
                f"{self._name}: {part} of environment {i} gave an obs that its "
                f"observation_space does not hold: {_line(error)}"
            ) from error
        leaves = [seen] if self._alone else self._structure.flatten_up_to(seen)
        for name, rows, x in zip(self._names, self._leaves, leaves, strict=True):
            self._put(part, name, rows, i, x)

    def _put(self, part: str, name: str, rows: np.ndarray, i: Any, x: Any) -> None:
        try:
            rows[i] = as_promised(x, rows.dtype, rows.shape[1:])
        except ValueError as error:
            raise HostEnvError(
                f"{self._name}: {part} of environment {i} gave {name} {error}"
            ) from None

    def render(self) -> Any:
        """A picture of the first, where it was made with a render_mode."""
        return self._envs[0].render()

    def close(self) -> None:
        """Closes each of them."""
        for env in self._envs:
            env.close()


class _Seen(NamedTuple):
    """How observations of a space of Gymnasium are seen."""

    observe: Callable[[Any], Any]  # an observation -> arrays
    obs: Any  # of these, `jax.ShapeDtypeStruct` leaves
    space: Any  # likewise


def _seen(name: str, space: Any) -> _Seen:
    """A dict or a tuple is a tree; numbers keep their type, but those of 64 bits."""
    if isinstance(space, spaces.Box):
        dtype, low, high = box_of(space)
        return _leaf(lambda obs: obs, dtype, Box(low, high, tuple(space.shape)))
    if isinstance(space, spaces.Discrete):
        first = int(space.start)

        def counted(obs: Any) -> Any:
            return obs if first == 0 else np.asarray(obs) - first

        return _leaf(counted, np.int32, Discrete(int(space.n)))
    if isinstance(space, spaces.MultiBinary):
        return _leaf(lambda obs: obs, np.int8, Box(0, 1, tuple(space.shape)))
    if isinstance(space, spaces.Dict):
        parts = {key: _seen(name, one) for key, one in space.items()}
        return _Seen(
            lambda obs: {key: one.observe(obs[key]) for key, one in parts.items()},
            {key: one.obs for key, one in parts.items()},
            {key: one.space for key, one in parts.items()},
        )
    if isinstance(space, spaces.Tuple):
        row = [_seen(name, one) for one in space]

        def each(obs: Any) -> tuple:
            return tuple(x.observe(y) for x, y in zip(row, obs, strict=True))

        return _Seen(each, tuple(x.obs for x in row), tuple(x.space for x in row))
    flat = _flat(name, space)
    kind: Any = np.int8 if isinstance(space, spaces.MultiDiscrete) else np.float32
    low, high = (np.asarray(x, kind) for x in (flat.low, flat.high))
    of_flat = Box(low, high, tuple(flat.shape))
    return _leaf(lambda obs: spaces.flatten(space, obs), kind, of_flat)


def _check_reachable(name: str, max_steps: int, env: Any) -> None:
    """Raises ValueError if a wrapper around the environment cuts episodes before."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            own = int(env._max_episode_steps)
            if own < max_steps:
                raise ValueError(
                    f"{name} cuts its episodes after {own} steps by itself, before "
                    f"time_limit={max_steps}: have it made with max_episode_steps="
                    f"{max_steps}, or give a time_limit of at most {own}"
                )
        env = env.env


def _leaf(observe: Callable[[Any], Any], dtype: Any, space: Space) -> _Seen:
    return _Seen(observe, jax.ShapeDtypeStruct(space.shape, dtype), space)


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


def _two(result: Any) -> tuple:
    """What `reset` returned."""
    if not (isinstance(result, tuple) and len(result) == 2):
        told = type(result).__name__
        raise TypeError(f"reset must return (obs, info), and returned a {told}")
    return result


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
