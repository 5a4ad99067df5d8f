"""Gathering experience: complete episodes, or a fixed number of steps.

Both are `Rollout` values, built once from an environment, and both step N environments
at a time with one key per step for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from pgjax._internal.checks import as_count
from pgjax._internal.collectives import own_key, share_of
from pgjax._internal.complete_episodes import play_episodes, rooms_up_to
from pgjax._internal.contract import check_env, check_policy
from pgjax._internal.start_states import with_fresh_ones, with_spares
from pgjax._internal.stepping import (
    EnvsState,
    Rows,
    act_and_step,
    draw_noise,
    start_envs,
)
from pgjax._internal.xla import on_cpu
from pgjax.types import (
    Array,
    AxisName,
    Env,
    Episodes,
    Key,
    Params,
    PolicyFn,
    Rollout,
    Transition,
)


def episodes(env: Env, num_envs: int) -> Rollout:
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

    Args:
      env: the environment.
      num_envs: N, the number of episodes per rollout.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if num_envs < 1.
    """
    num_envs = as_count("num_envs", num_envs)
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


def unroll(env: Env, num_envs: int, num_steps: int) -> Rollout:
    """T steps of N environments, which reset by themselves and go on next time.

    Episodes run across rollouts, so the last one of each environment is usually cut at
    the horizon: the learner needs a critic to stand in for the rest.

    Every episode has a start state of its own, drawn independently of all others. On a
    CPU they are drawn for all environments that have none in store whenever one of
    those ends: for long episodes a few times in a rollout, for episodes of one step at
    each. On an accelerator they are drawn for all environments and steps.

    Args:
      env: the environment.
      num_envs: N.
      num_steps: T, the steps that each environment takes in a rollout.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if num_envs < 1 or num_steps < 1.
    """
    num_envs = as_count("num_envs", num_envs)
    num_steps = as_count("num_steps", num_steps)
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

        scan = with_spares if on_cpu() else with_fresh_ones
        state, rows = scan(env, act, state, (noise, keys[:, 1]), keys[:, 2])
        return state, *rows

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=False,
        splits_over_devices=True,
    )


def _observe(env: Env, num_envs: int, key: Key) -> Array:
    return env.reset(key, num_envs)[0]
