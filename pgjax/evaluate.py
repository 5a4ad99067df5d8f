"""Evaluation: returns of complete episodes, played by a policy that does not learn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_count, check_is, check_key
from pgjax._internal.compilation import jit_once
from pgjax._internal.contract import check_env, check_host_env, check_policy
from pgjax._internal.control_flow import any_agent
from pgjax._internal.host_evaluate import Player
from pgjax._internal.host_rollout import check_concrete
from pgjax._internal.stepping import step_within_limit
from pgjax.types import Array, Env, HostEnv, Key, Obs, Params, PolicyFn


class Games(NamedTuple):
    """Episodes that are being played."""

    time: Array  # () int32 steps so far
    alive: Array  # (N,) bool: the episode has not ended
    obs: Obs  # (N, ...)
    env_state: object  # leaves (N, ...)
    returns: Array  # (N,) float32
    lengths: Array  # (N,) int32
    truncated: Array  # (N,) bool: it has ended, and not in a terminal state


def evaluate(
    key: Key,
    env: Env | HostEnv,
    policy: PolicyFn,
    params: Params,
    *,
    num_episodes: int = 100,
    greedy: Array | bool = True,
) -> tuple[Array, Array]:
    """Plays complete episodes, one in each of `num_episodes` environments.

    Each environment plays exactly one episode to its end, or to the time limit, so that
    long episodes count as much as short ones.

    It is compiled at the first call, and again for another environment, policy or
    number of episodes; it may be called in your own `jit` and `vmap` as well. (Not of a
    `HostEnv`, of which it opens up to 64, each of which plays as many of the episodes.)

    Args:
      key: a typed key.
      env: the environment.
      policy: such as `algorithm.policy`.
      params: its parameters.
      num_episodes: >= 1.
      greedy: whether the most probable action is taken, or a sampled one; may be
        traced.

    Returns:
      (num_episodes,) float32 undiscounted returns, and (num_episodes,) int32 lengths in
      steps.

    Raises:
      TypeError: for an argument that is something else, or does something else, than
        what it should.
      ValueError: if num_episodes < 1; for shapes that do not fit.
    """
    check_key(key)
    check_is(Env | HostEnv, 'pg.make_env("CartPole-v1")', env=env)
    check_is(Callable, "algorithm.policy", policy=policy)
    num_episodes = as_count("num_episodes", num_episodes)
    if isinstance(env, HostEnv):
        return _on_host(key, env, policy, params, num_episodes, greedy)
    if isinstance(greedy, bool | np.bool_):  # then only one of the actions is computed
        returns_of = partial(_returns, env, policy, num_episodes, bool(greedy))
        return jit_once(returns_of)(key, params)
    returns_of = partial(_returns, env, policy, num_episodes)
    return jit_once(returns_of)(jnp.asarray(greedy, bool), key, params)


def _on_host(
    key: Key,
    env: HostEnv,
    policy: PolicyFn,
    params: Params,
    num_episodes: int,
    greedy: Array | bool,
) -> tuple[Array, Array]:
    check_host_env(env)
    check_concrete(greedy)
    with contextlib.closing(Player(env, num_episodes)) as player:
        played = player.play(key, policy, params, greedy=bool(greedy))
    return jnp.asarray(played.returns), jnp.asarray(played.lengths)


def _returns(*arguments: Any) -> tuple[Array, Array]:
    games = play(*arguments)
    return games.returns, games.lengths


def play(
    env: Env,
    policy: PolicyFn,
    num_episodes: int,
    greedy: Array | bool,
    key: Key,
    params: Params,
) -> Games:
    """The games of `evaluate`, all of which have ended; to be jitted."""
    check_env(env, num_episodes)

    def step(games: Games) -> Games:
        time = games.time + 1
        action_key, env_key = _keys(key, time)
        distribution = policy(params, games.obs)
        action = jnp.where(greedy, distribution.mode(), distribution.sample(action_key))
        lengths = games.lengths + games.alive.astype(jnp.int32)
        obs, env_state, reward, terminated, truncated = step_within_limit(
            env, env_key, games.env_state, action, lengths
        )
        gain = jnp.where(games.alive, reward, 0.0).astype(jnp.float32)
        alive = games.alive & ~(terminated | truncated)
        cut = games.truncated | (games.alive & truncated & ~terminated)
        return Games(time, alive, obs, env_state, games.returns + gain, lengths, cut)

    obs, env_state = env.reset(_keys(key, jnp.int32(0))[0], num_episodes)
    check_policy(env, policy, params, obs)
    games = Games(
        time=jnp.int32(0),
        alive=jnp.ones(num_episodes, bool),
        obs=obs,
        env_state=env_state,
        returns=jnp.zeros(num_episodes, jnp.float32),
        lengths=jnp.zeros(num_episodes, jnp.int32),
        truncated=jnp.zeros(num_episodes, bool),
    )
    return jax.lax.while_loop(lambda games: any_agent(games.alive), step, games)


def _keys(key: Key, time: Array) -> Key:
    """(2,) keys for the actions and the dynamics of a step; time 0 is for the reset.

    They are made from the time: no array of keys is as long as the time limit.
    """
    numbers = 2 * time.astype(jnp.uint32) + jnp.arange(2, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
