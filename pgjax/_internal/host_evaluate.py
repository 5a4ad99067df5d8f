"""Complete episodes of a policy, where the environments live on the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pgjax._internal.compilation import jit_once
from pgjax._internal.contract import check_policy
from pgjax._internal.host_envs import HostEnvs, example
from pgjax._internal.host_rollout import check_concrete, seeds, without_simulators
from pgjax.types import Array, HostEnv, Key, Params, PolicyFn

SIDE_BY_SIDE = 64  # environments that are open at once, at most


class Played(NamedTuple):
    """What complete episodes came to; NumPy arrays, (episodes,) each."""

    returns: np.ndarray  # float32
    lengths: np.ndarray  # int32
    truncated: np.ndarray  # bool: ended, and not in a terminal state


class Player:
    """Plays episodes of an environment, so many at a time.

    Args:
      env: the environment.
      num_episodes: of each call of `play`; every environment plays one after the
        other, as many as are needed, so that long episodes count as much as short ones.
      heed: is called before each step; what it raises ends the call.
    """

    def __init__(
        self,
        env: HostEnv,
        num_episodes: int,
        heed: Callable[[], None] = lambda: None,
    ):
        self._heed = heed
        self._env, self._num_episodes = env, num_episodes
        self._size = min(num_episodes, SIDE_BY_SIDE)
        self._envs = HostEnvs(env, self._size)

    def play(self, key: Key, policy: PolicyFn, params: Params, *, greedy: bool) -> Any:
        """The episodes, as `Played`."""
        check_concrete(key, params)
        act = jit_once(partial(_act, policy, greedy))
        rounds = -(-self._num_episodes // self._size)
        parts = [self._round(key, i, policy, act, params) for i in range(rounds)]
        whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return jax.tree.map(lambda x: x[: self._num_episodes], whole)

    def close(self) -> None:
        """Closes the environments."""
        self._envs.close()

    def _round(
        self, key: Key, index: int, policy: PolicyFn, act: Any, params: Params
    ) -> Played:
        """An episode of each environment, or of as many as are needed still."""
        number, size = np.uint32(index), self._size
        check = without_simulators(self._env)
        draw = jit_once(partial(_seeds, check, policy))
        numbers = draw(key, number, params, example(self._env, size))
        alive = np.arange(size) < self._num_episodes - index * size
        envs, cut, time = self._envs, np.zeros(size, bool), 0
        envs.start(np.asarray(numbers))
        while alive.any():
            self._heed()
            action = np.asarray(act(params, envs.obs, key, number, np.uint32(time)))
            happened = envs.step(action, alive)
            cut |= happened.truncated & ~happened.terminated
            alive = alive & ~happened.done
            time += 1
        return Played(happened.returns, happened.lengths, cut)


def _seeds(
    env: HostEnv, policy: PolicyFn, key: Key, number: Array, params: Params, obs: Any
) -> Array:
    check_policy(env, policy, params, obs)
    seed_key, _ = _keys(key, number)
    return seeds(seed_key, obs)


def _act(
    policy: PolicyFn,
    greedy: bool,
    params: Params,
    obs: Any,
    key: Key,
    number: Array,
    time: Array,
) -> Array:
    """Actions (N, ...) at a time of a round."""
    distribution = policy(params, obs)
    if greedy:
        return distribution.mode()
    _, action_key = _keys(key, number)
    return distribution.sample(jax.random.fold_in(action_key, time))


def _keys(key: Key, number: Array) -> Array:
    """(2,) keys of a round: for seeds, and for actions."""
    return jax.random.split(jax.random.fold_in(key, number))
