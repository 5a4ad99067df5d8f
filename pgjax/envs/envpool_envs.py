"""EnvPool's environments, on the host; the only file that imports envpool.

They are stepped side by side, by EnvPool's own threads.
"""

from __future__ import annotations

from typing import Any

import envpool
import jax
import numpy as np

from pgjax.envs.adapting import box_of, check_name, check_one_limit, limit_of
from pgjax.types import Box, Discrete, HostEnv, Space

OWN_LIMIT = 27_000  # of those that name none, as Atari's 108,000 frames


def names() -> list[str]:
    """The names that `make` knows."""
    return list(envpool.list_all_envs())


def make(name: str, *, time_limit: int | None = None, **options: Any) -> HostEnv:
    """An environment of EnvPool, such as "HalfCheetah-v5" or "Breakout-v5".

    Observations keep their type (bytes stay bytes), but that floats become float32; the
    channels of images come last, as networks take them. Continuous actions are clipped
    to their space. EnvPool tells truncation from termination.

    Args:
      name: see `names`.
      time_limit: steps per episode, EnvPool's own by default.
      **options: of `envpool.make`, such as num_threads=8.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1,
        or `max_episode_steps` beside it; for spaces other than Box and Discrete.
      TypeError: for an option that the environment does not have.
    """
    check_name("envpool", name, names())
    full_name = f"envpool:{name}"
    if time_limit is not None:
        check_one_limit(full_name, time_limit, options)
        options["max_episode_steps"] = limit_of(time_limit, 1)
    spec = envpool.make_spec(name, **options)
    seen = _space(full_name, "observations", spec.observation_space)
    image = len(seen.shape) == 3 and spec.observation_space.dtype == np.uint8
    observation_space = _channels_last(seen) if image else seen
    action_space = _space(full_name, "actions", spec.action_space)
    own = getattr(spec.config, "max_episode_steps", None) or OWN_LIMIT
    dtype, *_ = box_of(spec.observation_space)
    obs = jax.ShapeDtypeStruct(observation_space.shape, dtype)

    def make_all(num_envs: int) -> Pool:
        return Pool(name, options, num_envs, image=image)

    max_steps = limit_of(time_limit, min(own, 2**31 - 1))
    return HostEnv(full_name, make_all, obs, observation_space, action_space, max_steps)


class Pool:
    """N environments of EnvPool, as `Simulators`.

    Args:
      name: EnvPool's.
      options: of `envpool.make`.
      num_envs: N.
      image: whether observations are images, whose channels EnvPool has first.
    """

    def __init__(
        self, name: str, options: dict[str, Any], num_envs: int, *, image: bool
    ):
        self._name, self._options, self._num_envs = name, options, num_envs
        self._image = image
        self._pool: Any = None
        self._obs: Any = None

    def start(self, seeds: np.ndarray) -> np.ndarray:
        """Makes them anew, since EnvPool takes seeds nowhere else."""
        self.close()
        own = [int(seed) % 2**31 for seed in seeds]
        self._pool = envpool.make(
            self._name,
            env_type="gymnasium",
            num_envs=self._num_envs,
            env_seed=own,
            **self._options,
        )
        self._obs = np.array(self._seen(self._pool.reset()[0]))
        return self._obs

    def restart(self, which: np.ndarray) -> np.ndarray:
        """Begins another episode, by the environment's own random numbers."""
        obs, info = self._pool.reset(np.flatnonzero(which).astype(np.int32))
        self._obs[info["env_id"]] = self._seen(obs)
        return self._obs

    def step(self, which: np.ndarray, action: np.ndarray) -> tuple:
        """Steps those that `which` says, side by side."""
        space = self._pool.action_space
        if hasattr(space, "low"):
            action = np.clip(action, space.low, space.high)
        chosen = np.flatnonzero(which).astype(np.int32)
        obs, *rest, info = self._pool.step(action[chosen].astype(space.dtype), chosen)
        who = info["env_id"]
        self._obs[who] = self._seen(obs)
        results = np.zeros((3, self._num_envs), np.float32)
        results[:, who] = rest
        return self._obs, results[0], results[1] > 0, results[2] > 0

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        return np.moveaxis(obs, 1, -1) if self._image else obs

    def close(self) -> None:
        """Ends its threads."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None


def _channels_last(space: Any) -> Box:
    low, high = (
        np.moveaxis(np.broadcast_to(x, space.shape), 0, -1)
        for x in (space.low, space.high)
    )
    return Box(low, high, low.shape)


def _space(name: str, what: str, space: Any) -> Space:
    if hasattr(space, "n") and what == "actions":
        return Discrete(int(space.n))
    if hasattr(space, "low") and hasattr(space, "high"):
        _, low, high = box_of(space)
        return Box(low, high, tuple(space.shape))
    raise ValueError(f"{name} has {what} of {space}; served are Box and Discrete")
