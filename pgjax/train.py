"""Training: the scan of rollout and update, with all state passed in and out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pgjax._internal.checks import as_count, check_is, check_key
from pgjax._internal.collectives import each_device, named, share_of, sum_over_devices
from pgjax._internal.compilation import for_a_while, jit_once
from pgjax._internal.contract import check_learner, check_update
from pgjax._internal.control_flow import count_up_to
from pgjax._internal.counters import count_up_to_limit
from pgjax._internal.host_rollout import check_concrete
from pgjax._internal.meshes import (
    AGENT,
    axis_of_envs,
    check_replicas,
    over_mesh,
    specs_of,
)
from pgjax._internal.spaces import batch_size
from pgjax.types import (
    Algorithm,
    AlgorithmState,
    Array,
    AxisName,
    Episodes,
    Key,
    Metrics,
    Rollout,
    TrainState,
    Transition,
)

RECENT = 100  # episodes in the running mean, as in the article's stopping rule


def train(
    key: Key,
    rollout: Rollout,
    algorithm: Algorithm,
    *,
    num_updates: int,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """Trains one agent from scratch; a pure function, made for `jit` and `vmap`.

    With a mesh, the environments are split over its devices. Every number of devices
    draws other random numbers, so a seed gives another agent, of the same distribution.
    The algorithm must declare that it sums over devices; see `Algorithm`, and, for one
    of your own, `check_replicas`. On a CPU, wait for each call
    (`jax.block_until_ready`) before the next: two programs at once, whose sums wait for
    all devices, can wait for each other for ever.

    Args:
      key: a typed key; the same key gives the same agent.
      rollout: where experience comes from, such as `episodes(env, 16)`.
      algorithm: what learns from it, such as `reinforce(network, optimizer)`.
      num_updates: number of rollouts, each followed by one update; >= 1.
      mesh: devices that the environments are split over, such as
        `make_mesh(env=8)`; by default one device has them all.

    Returns:
      The final state, and metrics of shape (num_updates,); see `train_step`.

    Raises:
      ValueError: if the rollout cuts episodes and the algorithm needs them whole,
        num_updates < 1, or the environments cannot be split evenly, or by this
        algorithm or rollout not at all.
    """
    num_updates = as_count("num_updates", num_updates)
    state = init_train_state(key, rollout, algorithm, mesh=mesh)
    return train_steps(state, rollout, algorithm, num_updates=num_updates, mesh=mesh)


def init_train_state(
    key: Key,
    rollout: Rollout,
    algorithm: Algorithm,
    *,
    mesh: Mesh | None = None,
    axis_name: AxisName = None,
) -> TrainState:
    """The state before the first update.

    Args:
      key: a typed key.
      rollout: as for `train`.
      algorithm: as for `train`.
      mesh: as for `train`.
      axis_name: as for `train_step`; instead of `mesh`.

    Raises:
      TypeError: if an argument is something else.
      ValueError: as for `train`.
    """
    check_is(Rollout, "pg.episodes(env, 8)", rollout=rollout)
    check_is(Algorithm, "pg.reinforce(network, optimizer)", algorithm=algorithm)
    if algorithm.complete_episodes and not rollout.complete_episodes:
        raise ValueError(
            "this algorithm needs complete episodes, and the rollout cuts them at a "
            "horizon, which would bias it without a word; use "
            "pg.episodes(env, num_envs) instead of pg.unroll(...)"
        )
    check_key(key)
    if rollout.on_host:
        _check_on_host(None, mesh, axis_name)
        rollout = _without_environments(rollout)
    init: Callable[[Key], TrainState] = partial(
        _init, rollout=rollout, algorithm=algorithm, axis_name=_axis(mesh, axis_name)
    )
    if mesh is not None:
        specs = _specs(rollout, algorithm, mesh)
        init = over_mesh(init, mesh, PartitionSpec(), specs)
    return _with_own_buffers(jit_once(init)(key))


def _init(
    key: Key, rollout: Rollout, algorithm: Algorithm, axis_name: AxisName
) -> TrainState:
    _check_split(rollout, algorithm, axis_name)
    key, learner_key, rollout_key = jax.random.split(key, 3)
    like = jax.eval_shape(rollout.observe, rollout_key)
    size = share_of(batch_size(like), axis_name)
    obs = jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), like)
    return TrainState(
        learner=check_learner(algorithm.init(learner_key, obs)),
        rollout_state=rollout.init(rollout_key, **named(axis_name)),
        recent_returns=jnp.zeros(RECENT, jnp.float32),
        num_episodes=jnp.zeros((), jnp.uint32),
        num_updates=jnp.zeros((), jnp.uint32),
        key=key,
    )


def is_traced(tree: Any) -> bool:
    """Whether any leaf is a traced value."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _with_own_buffers(state: TrainState) -> TrainState:
    """The state, of which no leaf shares its memory with another, or with anything.

    A donated call takes each leaf's memory: parameters that an optimizer also keeps in
    its state (schedule-free) cannot be given twice, and constants of a
    network, or a user's arrays, are not ours to give.
    """
    if is_traced(state):
        return state
    leaves, structure = jax.tree.flatten(state)
    places = [getattr(leaf, "sharding", None) for leaf in leaves]
    return jax.tree.unflatten(
        structure, jax.device_put(leaves, places, may_alias=False)
    )


def _axis(mesh: Mesh | None, axis_name: AxisName) -> AxisName:
    """What the environments are split along: a mesh's axis, or one that is there."""
    if mesh is not None and axis_name is not None:
        raise ValueError(
            "mesh places a program on devices, and axis_name is for within one: give "
            "one of the two"
        )
    return axis_name if mesh is None else axis_of_envs(mesh)


def _specs(rollout: Rollout, algorithm: Algorithm, mesh: Mesh) -> TrainState:
    """How the state of one agent is split."""
    if mesh.shape[AGENT] > 1:
        raise ValueError(
            f"one agent cannot be split over an agent axis of {mesh.shape[AGENT]}; "
            "all devices share its environments with make_mesh(devices, env=N)"
        )
    return specs_of(partial(_init, jax.random.key(0), rollout, algorithm), mesh=mesh)


def _check_split(rollout: Rollout, algorithm: Algorithm, axis_name: AxisName) -> None:
    """Raises ValueError where devices would share what has no sums over devices."""
    told = "devices share an agent's environments here (env > 1), and this"
    if axis_name is not None and not algorithm.sums_over_devices:
        raise ValueError(
            f"{told} algorithm does not declare that its update sums over them: each "
            "device would learn from its own share. Use make_mesh(env=1), or reduce "
            "with pg.total, pg.weighted_mean, pg.mean_weights and pg.sum_over_samples, "
            "handing them the axis_name that update is given, and declare "
            "pg.Algorithm(..., sums_over_devices=True), whose docstring has the rules"
        )
    if axis_name is not None and not rollout.splits_over_devices:
        raise ValueError(
            f"{told} rollout does not declare that it gives each device its share. Use "
            "make_mesh(env=1), or let init and collect take axis_name, and declare "
            "pg.Rollout(..., splits_over_devices=True)"
        )


def train_steps(
    state: TrainState,
    rollout: Rollout,
    algorithm: Algorithm,
    *,
    num_updates: int,
    mesh: Mesh | None = None,
    axis_name: AxisName = None,
) -> tuple[TrainState, Metrics]:
    """`num_updates` train steps in one scan; the body of `train`, and of a chunk.

    Args:
      state: as returned by `init_train_state` or an earlier call.
      rollout: as for `train`.
      algorithm: as for `train`.
      num_updates: >= 1.
      mesh: as for `train`; the one that `state` was made with.
      axis_name: as for `train_step`; instead of `mesh`.

    Returns:
      The state to go on from, and metrics of shape (num_updates,).

    Raises:
      ValueError: if num_updates < 1, or the mesh, or `axis_name`, splits environments
        that this algorithm or rollout cannot split.
      RuntimeError: if devices disagree about the parameters; see `check_replicas`.
    """
    num_updates = as_count("num_updates", num_updates)
    if rollout.on_host:
        _check_on_host(state, mesh, axis_name)
        return _steps_on_host(state, rollout, algorithm, num_updates)
    axis_name = _axis(mesh, axis_name)

    def step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
        return train_step(state, rollout, algorithm, axis_name=axis_name)

    def run(state: TrainState) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(step, state, length=num_updates)

    if mesh is None:
        return jit_once(run)(state)
    specs = _specs(rollout, algorithm, mesh)
    split = over_mesh(run, mesh, (specs,), (specs, PartitionSpec()))
    state, metrics = jit_once(split)(state)
    if axis_name is not None and not is_traced(state):
        check_replicas(state.learner.params)
    return state, metrics


def train_step(
    state: TrainState,
    rollout: Rollout,
    algorithm: Algorithm,
    *,
    axis_name: AxisName = None,
) -> tuple[TrainState, Metrics]:
    """One rollout and one update.

    Args:
      state: as returned by `init_train_state` or an earlier call.
      rollout: as for `train`; the one that `state` was made with.
      algorithm: as for `train`; likewise.
      axis_name: of the devices that share the environments, inside a `shard_map` of
        your own.

    Returns:
      The next state, and scalar metrics: those of the algorithm and
        env_steps: int32, steps of this rollout that count;
        episodes: int32, episodes that ended in this rollout;
        episode_return: mean undiscounted return of those episodes, NaN without any;
        episode_length: their mean length in steps, NaN without any;
        recent_return: mean return of the last 100 episodes of the whole run, or of as
          many as there were; NaN before the first.
    """
    if rollout.on_host:
        _check_on_host(state, None, axis_name)
        return _step_on_host(state, rollout, algorithm)
    step = partial(_step, rollout=rollout, algorithm=algorithm, axis_name=axis_name)
    return jit_once(step)(state)


def _step(
    state: TrainState, rollout: Rollout, algorithm: Algorithm, axis_name: AxisName
) -> tuple[TrainState, Metrics]:
    _check_split(rollout, algorithm, axis_name)
    key, rollout_key, update_key = jax.random.split(state.key, 3)
    learn = partial(_learn, algorithm, axis_name, state, update_key)
    arguments = (
        rollout_key,
        algorithm.policy,
        state.learner.params,
        state.rollout_state,
    )
    if rollout.collect_then is None:
        rollout_state, batch, episodes = rollout.collect(*arguments, **named(axis_name))
        results = learn(batch, episodes)
    else:
        rollout_state, results = rollout.collect_then(
            *arguments, learn, **named(axis_name)
        )
    return _next(state, key, rollout_state, results)


def _learn(
    algorithm: Algorithm,
    axis_name: AxisName,
    state: TrainState,
    key: Key,
    batch: Transition,
    episodes: Episodes,
) -> tuple[AlgorithmState, Metrics, Array]:
    """An update: the learner, metrics, and the last returns of the run."""
    learner, metrics = check_update(
        state.learner,
        algorithm.update(key, state.learner, batch, **named(axis_name)),
    )
    summary = _summary(batch, episodes, axis_name)
    recent = _push(state.recent_returns, episodes, summary["episodes"], axis_name)
    return learner, metrics | summary, recent


def _next(
    state: TrainState,
    key: Key,
    rollout_state: Any,
    results: tuple[AlgorithmState, Metrics, Array],
) -> tuple[TrainState, Metrics]:
    """The state after an update, and its metrics, of what `_learn` gave."""
    learner, metrics, recent = results
    state = TrainState(
        learner,
        rollout_state,
        recent,
        count_up_to_limit(state.num_episodes, metrics["episodes"]),
        count_up_to_limit(state.num_updates, jnp.uint32(1)),
        key,
    )
    return state, metrics | {"recent_return": recent_return(state)}


def update_on_host(
    state: TrainState,
    rollout: Rollout,
    policy: Callable,
    params: Any,
    learn: Callable[..., tuple[TrainState, Metrics]],
) -> tuple[TrainState, Metrics]:
    """A rollout of environments on the host, and an update.

    Args:
      state: of one agent.
      rollout: the one that `state` was made with.
      policy: maps (params, obs) to a distribution.
      params: its parameters.
      learn: as `learn_from`, but for the algorithm; compiled.
    """
    key, rollout_key, update_key = jit_once(_split)(state.key)
    rollout_state, batch, episodes = rollout.collect(
        rollout_key, policy, params, state.rollout_state
    )
    state = state._replace(rollout_state=rollout_state)
    return learn(state, key, update_key, batch, episodes)


def learn_from(
    algorithm: Algorithm,
    state: TrainState,
    key: Key,
    update_key: Key,
    batch: Transition,
    episodes: Episodes,
) -> tuple[TrainState, Metrics]:
    """An update from what was experienced; `key` is that of the next state."""
    results = _learn(algorithm, None, state, update_key, batch, episodes)
    return _next(state, key, state.rollout_state, results)


def _split(key: Key) -> tuple[Key, ...]:
    return tuple(jax.random.split(key, 3))


def _step_on_host(
    state: TrainState, rollout: Rollout, algorithm: Algorithm
) -> tuple[TrainState, Metrics]:
    state, rows = _steps_on_host(state, rollout, algorithm, 1)
    return state, jax.tree.map(lambda x: x[0], rows)


def _steps_on_host(
    state: TrainState, rollout: Rollout, algorithm: Algorithm, num_updates: int
) -> tuple[TrainState, Metrics]:
    policy = for_a_while(algorithm.policy)
    learn, rows = jit_once(partial(learn_from, algorithm)), []
    for _ in range(num_updates):
        params = state.learner.params
        state, metrics = update_on_host(state, rollout, policy, params, learn)
        rows.append(jax.device_get(metrics))
    return state, jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *rows)


def _without_environments(rollout: Rollout) -> Rollout:
    """What a state begins with: a program that is kept must keep nothing open."""
    return rollout._replace(collect=_nothing, close=_nothing)


def _nothing(*arguments: Any) -> Any:
    raise NotImplementedError


def _check_on_host(state: Any, mesh: Mesh | None, axis_name: AxisName) -> None:
    """Raises where environments on the host would be compiled, or split."""
    check_concrete(state)
    if mesh is not None or axis_name is not None:
        raise ValueError(
            "the environments of this rollout live on the host, and no mesh splits "
            "them: leave mesh and axis_name out"
        )


def _summary(batch: Transition, episodes: Episodes, axis_name: AxisName) -> Metrics:
    """What a rollout came to, over all devices."""
    finished = episodes.finished
    # Lengths of one environment are added up as integers, of all as floats: those of
    # long episodes come to more than 2^31.
    lengths = jnp.sum(jnp.where(finished, episodes.lengths, 0), 0, dtype=jnp.int32)
    # One sum for all of them, where environments are split over devices.
    env_steps, count, returns, all_lengths = sum_over_devices(
        (
            jnp.sum(batch.weight > 0, dtype=jnp.int32),
            jnp.sum(finished, dtype=jnp.int32),
            jnp.sum(jnp.where(finished, episodes.returns, 0.0)),
            jnp.sum(lengths.astype(jnp.float32)),
        ),
        axis_name,
    )
    num_episodes = count.astype(jnp.float32)
    return {
        "env_steps": env_steps,
        "episodes": count,
        "episode_return": returns / num_episodes,
        "episode_length": all_lengths / num_episodes,
    }


def recent_return(state: TrainState) -> Array:
    """The mean return of the last 100 episodes, or of as many as there were; or NaN."""
    number = jnp.minimum(state.num_episodes, RECENT).astype(jnp.int32)
    known = jnp.arange(RECENT, dtype=jnp.int32) < number
    total = jnp.sum(jnp.where(known, state.recent_returns, 0.0))
    return total / jnp.sum(known, dtype=jnp.float32)


def _push(
    recent: Array, episodes: Episodes, count: Array, axis_name: AxisName
) -> Array:
    """The last returns, newest first, after those of the `count` that just ended."""
    so_far = count_up_to(episodes.finished.ravel())  # by time, then by environment
    place = jnp.arange(RECENT, dtype=jnp.int32)  # 0 for the newest
    known = place < so_far[-1]
    step = jnp.searchsorted(so_far, so_far[-1] - place)
    new = jnp.where(known, episodes.returns.ravel()[step], 0.0)
    time = jnp.where(known, step // episodes.finished.shape[1], -1)
    # Where environments are split over devices, the newest of all of them.
    times, new = (x.ravel() for x in each_device((time, new), axis_name))
    new = new[jnp.argsort(-times, stable=True)[:RECENT]]
    return jnp.where(place < count, new, recent[place - count])
