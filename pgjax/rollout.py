"""Gathering experience: complete episodes, or a fixed number of steps.

Both are `Rollout` values, built once from an environment, and both step N environments
at a time with one key per step for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from pgjax._internal import host_rollout
from pgjax._internal.checks import as_count, check_choice
from pgjax._internal.collectives import own_key, share_of
from pgjax._internal.complete_episodes import play_episodes, rooms_up_to
from pgjax._internal.contract import check_env, check_host_env, check_policy
from pgjax._internal.resets import Resets, scan_of
from pgjax._internal.stepping import (
    EnvsState,
    Rows,
    act_and_step,
    draw_noise,
    start_envs,
)
from pgjax.types import (
    AxisName,
    Env,
    Episodes,
    HostEnv,
    Key,
    Obs,
    Params,
    PolicyFn,
    Rollout,
    Transition,
)


def episodes(env: Env | HostEnv, num_envs: int) -> Rollout:
    """N complete episodes at a time, one per environment, each from a fresh start.

    Steps after an episode's end are padding with weight 0. Stepping stops when the last
    episode has ended, at the environment's time limit at the latest, where it is
    truncated. No episode is dropped, so nothing is biased towards short ones.

    A time limit of 4,000 steps or more costs no time where episodes are short:
    `collect_then` hands over the first 1,000 steps if all episodes ended within them,
    otherwise the first 8,000, and so on up to the limit. The whole update is compiled
    for each size, and memory for the largest, time limit x N samples, is reserved,
    though not touched before it is needed: choose a time limit that means something.
    `collect` always has T = env.max_steps.

    Of a `HostEnv`, T is the steps of the longest episode, rounded up to a power of two,
    and an update is compiled for each of those.

    Args:
      env: the environment.
      num_envs: N, the number of episodes per rollout.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if num_envs < 1.
    """
    num_envs = as_count("num_envs", num_envs)
    if isinstance(env, HostEnv):
        check_host_env(env)
        return host_rollout.episodes(env, num_envs)
    check_env(env, num_envs)
    play, rooms = partial(play_episodes, env, num_envs), rooms_up_to(env.max_steps)

    def init(key: Key, axis_name: AxisName = None) -> tuple:
        del key, axis_name
        return ()  # nothing outlives a rollout

    def collect(
        key: Key,
        policy: PolicyFn,
        params: Params,
        state: tuple,
        axis_name: AxisName = None,
    ) -> tuple[tuple, Transition, Episodes]:
        rows = play(
            key,
            policy,
            params,
            rooms=(env.max_steps,),
            use=lambda *rows: rows,
            axis_name=axis_name,
        )
        return state, *rows

    def collect_then(
        key: Key,
        policy: PolicyFn,
        params: Params,
        state: tuple,
        use: Callable,
        axis_name: AxisName = None,
    ) -> tuple[tuple, Any]:
        result = play(key, policy, params, rooms=rooms, use=use, axis_name=axis_name)
        return state, result

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=True,
        collect_then=collect_then,
        splits_over_devices=True,
    )


def unroll(
    env: Env | HostEnv,
    num_envs: int,
    num_steps: int,
    *,
    resets: Resets = "auto",
    pool_size: int | None = None,
) -> Rollout:
    """T steps of N environments, which reset by themselves and go on next time.

    Episodes run across rollouts, so the last one of each environment is usually cut at
    the horizon: the learner needs a critic to stand in for the rest.

    Episodes that follow others start from states that `resets` says how to draw:

    - "fresh": one for every environment and step, all independent. Asks nothing of the
      device, and computes T x N resets, of which most are thrown away.
    - "spares": independent as well. Each environment has one in store; they are drawn
      for all that have none whenever one of those ends. For long episodes that is a few
      times in a rollout, for episodes of one step at each.
    - "pooled": `pool_size` of them are drawn in every rollout, and shared: for resets
      that are expensive. No expectation changes, but episodes of a rollout that share a
      start are correlated. With M episodes that start in a rollout, the variance of
      what a batch averages over starts is up to about 1 + M / pool_size times that of
      independent ones, as if the batch were so many times smaller; it is the same where
      every environment starts at most pool_size / N of them.
    - "auto": "spares" on a CPU. On an accelerator, where a question takes longer than
      small resets, "fresh" for those and "spares" for others; it counts the operations
      of `env.reset`, and its bytes, and computes nothing. Never "pooled".

    Of a `HostEnv`, the rollout has N environments, open until it is forgotten, or until
    `rollout.close()`. They go on for the state that it returned last, and begin new
    episodes for any other, such as one that `pg.restore` read.

    Args:
      env: the environment.
      num_envs: N.
      num_steps: T, the steps that each environment takes in a rollout.
      resets: see above.
      pool_size: of "pooled", starts on each device, >= T, so that no environment takes
        one twice; by default the larger one of N and T.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if num_envs < 1 or num_steps < 1, for other resets, or a pool that is
        too small, or not asked for.
    """
    num_envs = as_count("num_envs", num_envs)
    num_steps = as_count("num_steps", num_steps)
    check_choice("resets", resets, Resets)
    size_of_pool = _pool_size(resets, pool_size, num_envs, num_steps)
    if isinstance(env, HostEnv):
        check_host_env(env)
        if resets != "auto":
            raise ValueError(
                f'resets="{resets}" is for environments in JAX; one on the host draws '
                "its own start states"
            )
        return host_rollout.unroll(env, num_envs, num_steps)
    check_env(env, num_envs)

    def init(key: Key, axis_name: AxisName = None) -> EnvsState:
        size = share_of(num_envs, axis_name)
        return start_envs(env, own_key(key, axis_name), size)

    def collect(
        key: Key,
        policy: PolicyFn,
        params: Params,
        state: EnvsState,
        axis_name: AxisName = None,
    ) -> tuple[EnvsState, Transition, Episodes]:
        # Every separate use of a threefry key costs tenths of a second of compilation.
        keys = jax.random.split(own_key(key, axis_name), (num_steps, 3))
        check_policy(env, policy, params, state.obs)
        noise = draw_noise(policy, params, state.obs, keys[:, 0])

        def act(envs: EnvsState, inputs: tuple) -> tuple[EnvsState, Rows]:
            envs, transition, ended = act_and_step(env, policy, params, envs, inputs)
            return envs, (transition, ended)

        size = len(state.episode_length)
        scan = scan_of(resets, env, size, size_of_pool)
        state, rows = scan(env, act, state, (noise, keys[:, 1]), keys[:, 2])
        return state, *rows

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=False,
        splits_over_devices=True,
    )


def _pool_size(resets: Resets, given: int | None, num_envs: int, num_steps: int) -> int:
    """How many starts a pool has, if there is one.

    Raises:
      ValueError: if it is too small, or there is none to be of that size.
    """
    if given is None:
        return max(num_envs, num_steps)
    size = as_count("pool_size", given)
    if resets != "pooled":
        raise ValueError(
            f'pool_size={size} needs resets="pooled"; with resets="{resets}" there is '
            "no pool"
        )
    if size < num_steps:
        raise ValueError(
            f"pool_size must be at least num_steps = {num_steps}, or an environment "
            f"could take a start twice in a rollout; got {size}"
        )
    return size


def _observe(env: Env, num_envs: int, key: Key) -> Obs:
    return env.reset(key, num_envs)[0]
