"""Gathering experience: complete episodes, or a fixed number of steps.

Both are `Rollout` values, built once from an environment, and both step N environments
at a time with one key per step for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal import host_rollout
from pgjax._internal.checks import as_count
from pgjax._internal.collectives import own_key, share_of, total
from pgjax._internal.contract import check_env, check_host_env, check_policy
from pgjax._internal.control_flow import any_agent
from pgjax._internal.start_states import Rows, with_fresh_ones, with_spares
from pgjax._internal.stepping import (
    EnvsState,
    act_and_step,
    draw_noise,
    restart,
    start_envs,
)
from pgjax._internal.xla import on_cpu
from pgjax.types import (
    Array,
    AxisName,
    Env,
    Episodes,
    HostEnv,
    Key,
    Params,
    PolicyFn,
    Rollout,
    Transition,
)

SEGMENT = 50  # steps of complete episodes whose noise is drawn at once
# Steps that complete episodes have room for at first, and how it grows; see `episodes`.
FIRST_ROOM, GROWTH = 1000, 8


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

    def init(key: Key, axis_name: AxisName = None) -> tuple:
        del key, axis_name
        return ()  # nothing outlives a rollout

    def play(
        key: Key,
        policy: PolicyFn,
        params: Params,
        rooms: Sequence[int],
        use: Callable,
        axis_name: AxisName,
    ) -> Any:
        """`use` of the first of the rooms that all episodes fit into."""
        key, size = own_key(key, axis_name), share_of(num_envs, axis_name)
        start = start_envs(env, jax.random.fold_in(key, 0), size)
        fresh = start.obs, start.env_state  # for padding, which nobody looks at
        check_policy(env, policy, params, start.obs)

        def step(playing: Playing, inputs: Sequence[Any]) -> tuple[Playing, Rows]:
            time, envs, alive, rows = playing
            envs, transition, ended = act_and_step(env, policy, params, envs, inputs)
            done = ended.finished
            transition = transition._replace(weight=alive.astype(jnp.float32))
            ended = ended._replace(finished=done & alive)
            envs = restart(done, fresh, envs)
            return Playing(time + 1, envs, alive & ~done, rows), (transition, ended)

        def draw(times: Array) -> tuple[Array, Key]:
            keys = _keys_of_steps(key, times)
            return draw_noise(policy, params, start.obs, keys[:, 0]), keys[:, 1]

        def fill(playing: Playing, rooms: Sequence[int]) -> Any:
            room, *larger = rooms
            playing = _play_on(step, draw, playing, room)
            if not larger:
                return use(*playing.rows)
            return jax.lax.cond(
                any_agent(total(playing.alive, axis_name=axis_name) > 0),
                lambda playing: fill(_with_room(playing, larger[0]), larger),
                lambda playing: use(*playing.rows),
                playing,
            )

        alive = jnp.ones(size, bool)
        playing = Playing(jnp.int32(0), start, alive, ())
        noise, keys = jax.eval_shape(draw, jnp.arange(1))
        row = jax.eval_shape(
            lambda noise, keys: step(playing, (noise[0], keys[0]))[1], noise, keys
        )
        rows = jax.tree.map(lambda x: jnp.zeros((0, *x.shape), x.dtype), row)
        return fill(_with_room(playing._replace(rows=rows), rooms[0]), rooms)

    def collect(
        key: Key,
        policy: PolicyFn,
        params: Params,
        state: tuple,
        axis_name: AxisName = None,
    ) -> tuple[tuple, Transition, Episodes]:
        rooms, use = (env.max_steps,), lambda *rows: rows
        return state, *play(key, policy, params, rooms, use, axis_name)

    def collect_then(
        key: Key,
        policy: PolicyFn,
        params: Params,
        state: tuple,
        use: Callable,
        axis_name: AxisName = None,
    ) -> tuple[tuple, Any]:
        rooms = _rooms(env.max_steps)
        return state, play(key, policy, params, rooms, use, axis_name)

    return Rollout(
        init,
        collect,
        partial(_observe, env, num_envs),
        complete_episodes=True,
        collect_then=collect_then,
        splits_over_devices=True,
    )


class Playing(NamedTuple):
    """Complete episodes that are being played."""

    time: Array  # () int32 steps so far
    envs: EnvsState
    alive: Array  # (N,) bool: the episode has not ended
    rows: Any  # leaves (room, N, ...), zeros from `time` on: padding


def _rooms(max_steps: int) -> list[int]:
    """Numbers of steps to have room for, one after the other; the last one for all."""
    rooms, room = [], FIRST_ROOM
    while 4 * room <= max_steps:  # or it is hardly worth compiling
        rooms.append(room)
        room *= GROWTH
    return [*rooms, max_steps]


def _with_room(playing: Playing, room: int) -> Playing:
    """The same with room for so many steps."""

    def pad(x: Array) -> Array:
        return jnp.zeros((room, *x.shape[1:]), x.dtype).at[: len(x)].set(x)

    return playing._replace(rows=jax.tree.map(pad, playing.rows))


def _play_on(step: Callable, draw: Callable, playing: Playing, room: int) -> Playing:
    """Plays until all episodes have ended or there is no room left.

    Args:
      step: maps (playing, inputs) to what follows and the rows of this step.
      draw: maps (T,) times to the inputs of those steps, leaves (T, ...).
      playing: the episodes so far.
      room: steps that `playing.rows` has room for.
    """
    size = min(SEGMENT, room)

    def goes_on(end: Any, playing: Playing) -> Array:
        return (playing.time < end) & any_agent(playing.alive)

    def segment(playing: Playing) -> Playing:
        """A few steps, whose noise is drawn at once; it ends with the episodes."""
        begin = playing.time
        inputs = draw(begin + jnp.arange(size, dtype=jnp.int32))

        def one(playing: Playing) -> Playing:
            time = playing.time
            playing, row = step(
                playing, jax.tree.map(lambda x: x[time - begin], inputs)
            )
            rows = jax.tree.map(
                lambda rows, row: rows.at[time].set(row), playing.rows, row
            )
            return playing._replace(rows=rows)

        end = jnp.minimum(begin + size, room)
        return jax.lax.while_loop(partial(goes_on, end), one, playing)

    return jax.lax.while_loop(partial(goes_on, room), segment, playing)


def _keys_of_steps(key: Key, times: Array) -> Key:
    """(T, 2) keys for actions and dynamics at these times, each made from its time.

    No array of keys is as long as the time limit.
    """
    first = 2 * (times.astype(jnp.uint32) + 1)
    numbers = jnp.stack([first, first + 1], axis=1)
    return jax.vmap(jax.vmap(partial(jax.random.fold_in, key)))(numbers)


def unroll(env: Env | HostEnv, num_envs: int, num_steps: int) -> Rollout:
    """T steps of N environments, which reset by themselves and go on next time.

    Episodes run across rollouts, so the last one of each environment is usually cut at
    the horizon: the learner needs a critic to stand in for the rest.

    Every episode has a start state of its own, drawn independently of all others. On a
    CPU they are drawn for all environments that have none in store whenever one of
    those ends: for long episodes a few times in a rollout, for episodes of one step at
    each. On an accelerator they are drawn for all environments and steps.

    Of a `HostEnv`, the rollout has N environments, open until it is forgotten, or until
    `rollout.close()`. They go on for the state that it returned last, and begin new
    episodes for any other, such as one that `pg.restore` read.

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
    if isinstance(env, HostEnv):
        check_host_env(env)
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
