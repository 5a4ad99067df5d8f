"""N environments on the host: their episodes, time limit and failures."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from pgjax._internal.host_values import as_promised
from pgjax._internal.user_parts import named
from pgjax.types import Discrete, HostEnv, Space


class HostEnvError(RuntimeError):
    """An environment on the host has failed, or given what it must not; told in a line.

    Its own error is the cause.
    """


class Happened(NamedTuple):
    """What a step of N environments led to, before any reset; NumPy arrays."""

    next_obs: Any  # leaves (N, ...)
    reward: np.ndarray  # (N,) float32
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool
    returns: np.ndarray  # (N,) float32, of the episodes so far, this step included
    lengths: np.ndarray  # (N,) int32, likewise

    @property
    def done(self) -> np.ndarray:
        """(N,) bool: the episode ended here."""
        return self.terminated | self.truncated


class HostEnvs:
    """N environments, each in an episode; open until they are closed, or forgotten.

    They are made when they are first started. What they return is checked against the
    `HostEnv`, and copied: a simulator may write over its arrays.

    Args:
      env: what to make.
      num_envs: N.
    """

    def __init__(self, env: HostEnv, num_envs: int):
        self._env, self.num_envs = env, num_envs
        self._structure: Any = jax.tree.structure(env.obs)
        paths = jax.tree_util.tree_leaves_with_path(env.obs)
        self._names = [named("observations", path) for path, _ in paths]
        self._ones = [one for _, one in paths]
        self.simulators: Any = None
        self._closing: Any = None
        self.obs: Any = None  # leaves (N, ...), where they are
        self._returns = np.zeros(num_envs, np.float32)
        self._lengths = np.zeros(num_envs, np.int32)

    def start(self, seeds: np.ndarray) -> None:
        """Begins an episode in each, from (N,) seeds."""
        if self.simulators is None:
            with _telling(self._env, "being made"):
                self.simulators = self._env.make(self.num_envs)
            # At the latest when Python ends.
            self._closing = weakref.finalize(self, self.simulators.close)
        with _telling(self._env, "reset"):
            obs = self.simulators.start(seeds)
        everyone = np.ones(self.num_envs, bool)
        self.obs = self._checked(obs, "reset", everyone)
        self._returns = np.zeros(self.num_envs, np.float32)
        self._lengths = np.zeros(self.num_envs, np.int32)

    def step(self, action: np.ndarray, which: np.ndarray) -> Happened:
        """Steps those that `which` says; a last step within the limit is truncated."""
        with _telling(self._env, "step"):
            result = self.simulators.step(which, action)
            obs, reward, terminated, truncated = result
        obs = self._rows(which, self._checked(obs, "step", which))
        reward = self._given("step", "reward", reward, np.float32, (), which)
        ended = self._given("step", "terminated", terminated, np.bool_, (), which)
        cut = self._given("step", "truncated", truncated, np.bool_, (), which)
        reward = np.where(which, reward, np.float32(0))
        self._returns = self._returns + reward
        self._lengths = self._lengths + which.astype(np.int32)
        cut = cut | ((self._lengths >= self._env.max_steps) & ~ended)
        self.obs = obs
        return Happened(
            obs,
            reward,
            which & ended,
            which & cut,
            self._returns,
            self._lengths,
        )

    def restart(self, which: np.ndarray) -> None:
        """Begins another episode where `which` says so."""
        if not which.any():
            return
        with _telling(self._env, "reset"):
            obs = self.simulators.restart(which)
        self.obs = self._rows(which, self._checked(obs, "reset", which))
        self._returns = np.where(which, np.float32(0), self._returns)
        self._lengths = np.where(which, np.int32(0), self._lengths)

    def close(self) -> None:
        """Closes them, if they are open; `start` opens others."""
        if self._closing is not None:
            self._closing()
        self.simulators = self._closing = None

    def _rows(self, which: np.ndarray, new: Any) -> Any:
        """New observations of those that `which` says, and those there are."""
        if which.all():
            return new
        return jax.tree.map(
            lambda new, old: np.where(_as_mask_of(new, which), new, old), new, self.obs
        )

    def _checked(self, obs: Any, part: str, which: np.ndarray) -> Any:
        """A copy of observations of N environments, in the types that they have."""
        try:
            leaves = self._structure.flatten_up_to(obs)
        except ValueError:
            raise HostEnvError(
                f"{self._env.name}: {part} gave observations of "
                f"{jax.tree.structure(obs)}, and must give {self._structure}"
            ) from None
        copies = [
            self._given(part, name, x, one.dtype, one.shape, which)
            for name, x, one in zip(self._names, leaves, self._ones, strict=True)
        ]
        return jax.tree.unflatten(self._structure, copies)

    def _given(
        self,
        part: str,
        name: str,
        x: Any,
        dtype: Any,
        shape: tuple[int, ...],
        which: np.ndarray,
    ) -> np.ndarray:
        """A copy of what is given for each environment, (N, *shape)."""
        try:
            shape = self.num_envs, *shape
            return np.array(as_promised(x, dtype, shape, which), dtype)
        except ValueError as error:
            told = f"{self._env.name}: {part} gave {name} {error}"
            raise HostEnvError(told) from None


def example(env: HostEnv, num_envs: int) -> Any:
    """Observations of N environments: zeros, of their shapes and types."""
    return jax.tree.map(lambda x: np.zeros((num_envs, *x.shape), x.dtype), env.obs)


def actions_like(space: Space, num_envs: int) -> np.ndarray:
    """Actions of N environments: zeros, of their shape and type."""
    dtype = np.int32 if isinstance(space, Discrete) else np.float32
    return np.zeros((num_envs, *space.shape), dtype)


def _as_mask_of(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return mask.reshape(mask.shape + (1,) * (x.ndim - 1))


@contextlib.contextmanager
def _telling(env: HostEnv, part: str) -> Iterator[None]:
    """Says of an error which environment raised it, and where."""
    try:
        yield
    except HostEnvError:
        raise
    except Exception as error:  # anything that a simulator raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        told = f"failed in {part}" if part != "being made" else "cannot be made"
        raise HostEnvError(f"{env.name} {told}: {reason}") from error
