"""Complete episodes, N side by side: each is played to its end, and padded after it.

`play_episodes` is where to begin. Nobody knows how long episodes will be, so there are
three loops, one within the other:

- rooms: arrays for so many steps, the next one larger, until all episodes fit. Most
  time limits need only one.
- segments: SEGMENT steps, whose noise is drawn at once.
- steps: all environments take one, until the last episode has ended.

An environment whose episode has ended goes on from its start state, with weight 0,
until all have: what nobody counts is at least something that the environment and the
policy know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.collectives import own_key, share_of, total
from pgjax._internal.contract import check_policy
from pgjax._internal.control_flow import any_agent, zeros_like
from pgjax._internal.stepping import (
    EnvsState,
    Rows,
    act_and_step,
    draw_noise,
    restart,
    start_envs,
)
from pgjax.types import Array, AxisName, Env, Key, Params, PolicyFn

SEGMENT = 50  # steps whose noise is drawn at once
# Steps that there is room for at first, and how it grows.
FIRST_ROOM, GROWTH = 1000, 8


class Game(NamedTuple):
    """What stays the same from step to step."""

    env: Env
    policy: PolicyFn
    params: Params
    key: Key  # the keys of each step are made of it and the time
    start: EnvsState  # where the N episodes begin


class Playing(NamedTuple):
    """N episodes that are being played."""

    time: Array  # () int32 steps so far
    envs: EnvsState
    alive: Array  # (N,) bool: the episode has not ended
    rows: Rows  # leaves (room, N, ...), zeros from `time` on: padding


def play_episodes(
    env: Env,
    num_envs: int,
    key: Key,
    policy: PolicyFn,
    params: Params,
    *,
    rooms: Sequence[int],
    use: Callable[..., Any],
    axis_name: AxisName = None,
) -> Any:
    """Plays one episode in each environment, and gives `use` what happened.

    Args:
      env: the environment.
      num_envs: N, over all devices that share them.
      key: of the rollout.
      policy: maps (params, obs) to a distribution.
      params: its parameters.
      rooms: numbers of steps, rising, the last one the time limit. `use` is given the
        first one that all episodes fit into; it is compiled for each.
      use: maps transitions and episodes, leaves (room, N, ...), to a pytree whose
        shapes do not depend on the room.
      axis_name: of the devices that share the environments. They all take the same
        room, and meet in `use`.

    Returns:
      What `use` returns.
    """
    key, size = own_key(key, axis_name), share_of(num_envs, axis_name)
    start = start_envs(env, jax.random.fold_in(key, 0), size)
    check_policy(env, policy, params, start.obs)
    game = Game(env, policy, params, key, start)
    return _play_in(rooms, game, _begin(game), use, axis_name)


def rooms_up_to(max_steps: int) -> list[int]:
    """Numbers of steps to have room for, one after the other; the last one for all.

    >>> rooms_up_to(500)
    [500]
    >>> rooms_up_to(50_000)
    [1000, 8000, 50000]
    """
    rooms, room = [], FIRST_ROOM
    while 4 * room <= max_steps:  # or it is hardly worth compiling
        rooms.append(room)
        room *= GROWTH
    return [*rooms, max_steps]


def _play_in(
    rooms: Sequence[int],
    game: Game,
    playing: Playing,
    use: Callable[..., Any],
    axis_name: AxisName,
) -> Any:
    """`use` of the first of the rooms that all episodes fit into."""
    room, *larger = rooms
    playing = _play_until(room, game, _with_room(playing, room))
    if not larger:
        return use(*playing.rows)
    return jax.lax.cond(
        any_agent(total(playing.alive, axis_name=axis_name) > 0),
        lambda playing: _play_in(larger, game, playing, use, axis_name),
        lambda playing: use(*playing.rows),
        playing,
    )


def _play_until(end: int, game: Game, playing: Playing) -> Playing:
    """Plays, a segment after the other, until all episodes or the room have ended."""
    return jax.lax.while_loop(
        partial(_goes_on, end), partial(_play_segment, end, game), playing
    )


def _play_segment(end: int, game: Game, playing: Playing) -> Playing:
    """Plays SEGMENT steps, or fewer if all episodes or the room end before."""
    size = min(SEGMENT, end)
    first = playing.time
    inputs = _inputs_of(game, first + jnp.arange(size, dtype=jnp.int32))
    return jax.lax.while_loop(
        partial(_goes_on, jnp.minimum(first + size, end)),
        partial(_play_and_note, game, first, inputs),
        playing,
    )


def _goes_on(end: Any, playing: Playing) -> Array:
    """Whether there is a step to take before `end`: for this agent, or for others."""
    return (playing.time < end) & any_agent(playing.alive)


def _play_and_note(game: Game, first: Array, inputs: Any, playing: Playing) -> Playing:
    """One step, whose row is noted; `inputs` are those of the steps from `first` on."""
    time = playing.time
    now = jax.tree.map(lambda x: x[time - first], inputs)
    envs, alive, row = _step(game, playing.envs, playing.alive, now)
    rows = jax.tree.map(lambda rows, row: rows.at[time].set(row), playing.rows, row)
    return Playing(time + 1, envs, alive, rows)


def _step(
    game: Game, envs: EnvsState, alive: Array, inputs: Sequence[Any]
) -> tuple[EnvsState, Array, Rows]:
    """One step of all environments: where they are, who is alive, what happened."""
    envs, transition, ended = act_and_step(
        game.env, game.policy, game.params, envs, inputs
    )
    done = ended.finished
    row = (
        transition._replace(weight=alive.astype(jnp.float32)),
        ended._replace(finished=done & alive),
    )
    envs = restart(done, (game.start.obs, game.start.env_state), envs)
    return envs, alive & ~done, row


def _inputs_of(game: Game, times: Array) -> tuple[Any, Key]:
    """What these steps are given: the noise of actions, and keys for the dynamics.

    Each key is made of its time, so that none is made for steps that nobody takes. The
    two kinds are made apart: where dynamics are deterministic, the compiler drops
    theirs.
    """
    number = 2 * (times.astype(jnp.uint32) + 1)  # 0 is for the start
    make_keys = jax.vmap(partial(jax.random.fold_in, game.key))
    noise = draw_noise(game.policy, game.params, game.start.obs, make_keys(number))
    return noise, make_keys(number + 1)


def _begin(game: Game) -> Playing:
    """N episodes before their first step, with room for none."""
    alive = jnp.ones_like(game.start.episode_length, bool)
    row = jax.eval_shape(partial(_first_row, game, alive))
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((0, *x.shape), x.dtype), row)
    return Playing(jnp.int32(0), game.start, alive, zeros_like(rows))


def _first_row(game: Game, alive: Array) -> Rows:
    inputs = _inputs_of(game, jnp.arange(1, dtype=jnp.int32))
    now = jax.tree.map(lambda x: x[0], inputs)
    return _step(game, game.start, alive, now)[2]


def _with_room(playing: Playing, room: int) -> Playing:
    """The same episodes, with room for so many steps."""

    def pad(x: Array) -> Array:
        return jnp.zeros((room, *x.shape[1:]), x.dtype).at[: len(x)].set(x)

    return playing._replace(rows=jax.tree.map(pad, playing.rows))
