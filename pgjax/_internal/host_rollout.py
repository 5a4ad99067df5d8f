"""Gathering experience where the environments live on the host.

A loop of Python steps them; what the policy does at each step is compiled once. The
random numbers of a rollout come from its key, as they do elsewhere, and so do the seeds
of the environments.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.compilation import jit_once
from pgjax._internal.contract import check_policy
from pgjax._internal.host_envs import Happened, HostEnvs, example
from pgjax._internal.stepping import draw_noise
from pgjax.types import (
    Array,
    Episodes,
    HostEnv,
    Key,
    Params,
    PolicyFn,
    Rollout,
    Transition,
)

SEGMENT = 64  # steps of complete episodes whose noise is drawn at once
_CUT = (
    "a rollout of environments on the host is given another state than it returned "
    "last, and begins new episodes: those that were going on are cut. Agents that take "
    "turns need a rollout each"
)


class HostState(NamedTuple):
    """Which episodes a rollout goes on with, if they are still where it left them.

    What a simulator is in the middle of is in no array, and in no checkpoint.
    `episodes` is drawn from `os.urandom`, so that the bytes of a checkpoint differ
    between two runs of the same key; nothing else is, and all numbers of training are
    the same.
    """

    episodes: Array  # (2,) uint32, a number that no others have; 0 before they began
    rollouts: Array  # () uint32, that have been made of them


def unroll(env: HostEnv, num_envs: int, num_steps: int) -> Rollout:
    """T steps of N environments, which reset at once where an episode ends.

    The rollout has N environments, and episodes run on from one call to the next for
    the state that the last call returned. For any other state all N begin new episodes.
    The first state, such as that of another `pg.train`, and one from a checkpoint of
    another process do so as they are meant to, without a warning. For another state
    that this rollout returned (an earlier one, that of an agent that takes turns with
    another) a warning says that the episodes that were going on are cut.
    """
    place = _Place(HostEnvs(env, num_envs))
    known = without_simulators(env)

    def collect(
        key: Key, policy: PolicyFn, params: Params, state: HostState
    ) -> tuple[HostState, Transition, Episodes]:
        check_concrete(key, params, state)
        obs = example(env, num_envs)
        draw = jit_once(partial(_numbers_of_unroll, known, policy, num_steps))
        noise, numbers = draw(key, params, obs)
        act = jit_once(partial(_act, policy))
        with place.at(state, np.asarray(numbers)) as envs:
            rows = []
            for time in range(num_steps):
                row = _step(envs, act, params, noise, time, np.ones(num_envs, bool))
                envs.restart(np.asarray(row[1].finished))
                rows.append(row)
        return (place.state(), *_stacked(rows))

    def init(key: Key) -> HostState:
        del key
        return HostState(jnp.zeros(2, jnp.uint32), jnp.zeros((), jnp.uint32))

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=False,
        close=place.envs.close,
    )


def episodes(env: HostEnv, num_envs: int) -> Rollout:
    """N complete episodes at a time, one per environment, each from a fresh start.

    An environment whose episode has ended waits for the others; padding is zeros with
    weight 0. T is the number of steps of the longest episode, rounded up to a power of
    two or the time limit, so that an update is compiled for few lengths.
    """
    envs = HostEnvs(env, num_envs)
    known = without_simulators(env)

    def collect(
        key: Key, policy: PolicyFn, params: Params, state: tuple
    ) -> tuple[tuple, Transition, Episodes]:
        check_concrete(key, params, state)
        obs = example(env, num_envs)
        draw = jit_once(partial(_numbers_of_episodes, known, policy))
        act = jit_once(partial(_act, policy))
        alive, noise = np.ones(num_envs, bool), None
        rows: list[Row] = []
        while alive.any():
            segment, place = divmod(len(rows), SEGMENT)
            if place == 0:
                noise, numbers = draw(key, params, obs, np.uint32(segment))
            if not rows:
                envs.start(np.asarray(numbers))
            rows.append(_step(envs, act, params, noise, place, alive))
            alive = alive & ~np.asarray(rows[-1][1].finished)
        return state, *_stacked(rows, _room(len(rows), env.max_steps))

    def init(key: Key) -> tuple:
        del key
        return ()  # nothing outlives a rollout

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=True,
        close=envs.close,
    )


class _Place:
    """The environments of a rollout, and which state they belong to."""

    def __init__(self, envs: HostEnvs):
        self.envs = envs
        self._episodes, self._rollouts = b"", 0  # of the state that they are at
        self._known: set[bytes] = set()  # numbers of episodes of this process

    @contextlib.contextmanager
    def at(self, state: HostState, seeds: np.ndarray) -> Iterator[HostEnvs]:
        """The environments, where the state left them or at the start of episodes.

        A state that this rollout returned, and that is not where they are, warns. One
        that it did not return begins new episodes without a word: the first one, as of
        another `pg.train`, or one from a checkpoint. After a rollout that fails, and
        after `close`, there is nothing to go on with.
        """
        asked = np.asarray(state.episodes, np.uint32).tobytes()
        here = self._episodes, self._rollouts
        if (asked, int(state.rollouts)) != here or self.envs.simulators is None:
            if asked in self._known:
                warnings.warn(_CUT, RuntimeWarning, stacklevel=2)
            self._forget()
            self.envs.start(seeds)
            self._episodes = os.urandom(8)
            self._known.add(self._episodes)
        try:
            yield self.envs
        except BaseException:
            self._forget()
            raise
        self._rollouts += 1

    def state(self) -> HostState:
        """The one that goes on from here."""
        number = np.frombuffer(self._episodes, np.uint32)
        return HostState(jnp.asarray(number), jnp.uint32(self._rollouts))

    def _forget(self) -> None:
        self._episodes, self._rollouts = b"", 0


def check_concrete(*trees: Any) -> None:
    """Raises TypeError for traced values, which no environment on the host can take."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees)):
        raise TypeError(
            "environments on the host cannot be stepped within jax.jit, jax.vmap or "
            "pg.sweep: call pg.train and the like outside, for one agent after the "
            "other; pgjax compiles what it can"
        )


def experience_of(
    env: HostEnv, policy: PolicyFn, params: Params, num_envs: int, num_steps: int
) -> tuple[Transition, Episodes]:
    """The shapes and types of T steps of N environments, `jax.ShapeDtypeStruct`."""

    def collect(params: Params, obs: Any) -> tuple[Transition, Episodes]:
        distribution = policy(params, obs)
        action = distribution.sample(jax.random.key(0))
        number, flag = jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, bool)
        log_prob, length = distribution.log_prob(action), jnp.zeros(num_envs, jnp.int32)
        row = (
            Transition(obs, action, log_prob, number, flag, flag, obs, number),
            Episodes(flag, number, length),
        )
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (num_steps, *jnp.shape(x))), row
        )

    return jax.eval_shape(collect, params, example(env, num_envs))


def without_simulators(env: HostEnv) -> HostEnv:
    """What a compiled program needs to know of an environment."""
    return env._replace(make=_none)


def _none(num_envs: int) -> Any:
    raise NotImplementedError


def seeds(key: Key, obs: Any) -> Array:
    """(N,) uint32 for N environments with such observations."""
    num_envs = len(jax.tree.leaves(obs)[0])
    return jax.random.bits(key, (num_envs,), jnp.uint32)


def _observe(env: HostEnv, num_envs: int, key: Key) -> Any:
    del key
    return jax.tree.map(jnp.asarray, example(env, num_envs))


def _numbers_of_unroll(
    env: HostEnv,
    policy: PolicyFn,
    num_steps: int,
    key: Key,
    params: Params,
    obs: Any,
) -> tuple[Any, Array]:
    """The noise of all actions, as `pg.unroll` draws it, and seeds (N,)."""
    check_policy(env, policy, params, obs)
    keys = jax.random.split(key, (num_steps, 3))
    noise = draw_noise(policy, params, obs, keys[:, 0])
    return noise, seeds(keys[0, 2], obs)


def _numbers_of_episodes(
    env: HostEnv, policy: PolicyFn, key: Key, params: Params, obs: Any, segment: Array
) -> tuple[Any, Array]:
    """The noise of a segment's actions, and seeds (N,)."""
    check_policy(env, policy, params, obs)
    seed_key, noise_key = jax.random.split(key)
    keys = jax.random.split(jax.random.fold_in(noise_key, segment), SEGMENT)
    noise = draw_noise(policy, params, obs, keys)
    return noise, seeds(seed_key, obs)


def _act(
    policy: PolicyFn, params: Params, obs: Any, noise: Any, time: Array
) -> tuple[Array, Array]:
    """Actions (N, ...) and their log-probs (N,), of the noise at a time."""
    distribution, own = policy(params, obs), noise[time]
    if hasattr(distribution, "noise"):
        action = distribution.from_noise(own)
    else:
        action = distribution.sample(own)
    return action, distribution.log_prob(action)


Row = tuple[Transition, Episodes]


def _step(
    envs: HostEnvs,
    act: Callable,
    params: Params,
    noise: Any,
    time: int,
    which: np.ndarray,
) -> Row:
    """One step of those environments that `which` says; the others' weights are 0."""
    obs = envs.obs
    action, log_prob = map(np.asarray, act(params, obs, noise, np.int32(time)))
    happened: Happened = envs.step(action, which)
    transition: Any = (
        *(obs, action, log_prob, happened.reward, happened.terminated),
        *(happened.truncated, happened.next_obs, which.astype(np.float32)),
    )
    ended: Any = happened.done, happened.returns, happened.lengths
    return Transition(*transition), Episodes(*ended)


def _stacked(rows: list[Row], room: int | None = None) -> tuple[Transition, Episodes]:
    """Leaves (T, N, ...) of rows, after which come zeros up to `room` steps."""

    def stack(*x: np.ndarray) -> np.ndarray:
        whole = np.zeros((room or len(x), *x[0].shape), x[0].dtype)
        np.stack(x, out=whole[: len(x)])
        return whole

    return jax.tree.map(stack, *rows)


def _room(num_steps: int, most: int) -> int:
    """The least power of two, or the time limit, that so many steps fit into."""
    return min(most, 1 << (num_steps - 1).bit_length())
