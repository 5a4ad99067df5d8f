"""The host loop: compile, run chunks of updates, and between them look and record."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg
from pgjax.lab.build import Experiment
from pgjax.lab.config import Config
from pgjax.lab.grid import Agents
from pgjax.lab.progress import Progress
from pgjax.lab.signals import wait
from pgjax.lab.store import MetricsFile
from pgjax.lab.training_log import TrainingLog
from pgjax.sweep import over_agents, pad_agents
from pgjax.train import RECENT, recent_return


class Training(NamedTuple):
    """What training S agents gave, as NumPy arrays."""

    params: Any  # leaves (S, ...)
    log: TrainingLog
    seconds: float


class Programs(NamedTuple):
    """The compiled programs of a run, over all agents at once."""

    init: Callable[[Any, Any], Any]
    chunk: Callable[[Any, Any, Any], tuple[Any, Any]]
    evaluate: Future[Callable[[Any, Any], Any]]  # not needed before the end
    num_slots: int  # agents, and some to fill up the devices
    seconds: float  # spent compiling


def train_agents(
    config: Config,
    agents: Agents,
    programs: Programs,
    file: MetricsFile,
    progress: Progress,
    received: list[int],
) -> Training:
    """Trains agents, writing their metrics as it goes.

    Args:
      config: the settings that they share.
      agents: who is trained.
      programs: compiled for as many.
      file: for their metrics.
      progress: is told after every chunk.
      received: signals; with one in it, training stops after the chunk.
    """
    start = time.perf_counter()
    log = TrainingLog(config, agents)
    keys, values = _inputs(agents, programs.num_slots)
    state = programs.init(keys, values)
    while log.active.any() and not received:
        active = _fill(log.active, programs.num_slots)
        active[len(agents.seeds) :] = False
        state, metrics = programs.chunk(state, values, active)
        who = np.flatnonzero(log.active)
        file.write(log.add(who, {k: np.asarray(x)[who] for k, x in metrics.items()}))
        progress.update(
            steps=int(log.env_steps.sum()),
            done=log.done(),
            num_agents=len(agents.seeds),
            mean_return=log.mean_return(),
            num_solved=log.num_solved(),
        )
    params = _real(state.learner.params, agents)
    return Training(params, log, time.perf_counter() - start)


def evaluate_agents(agents: Agents, programs: Programs, params: Any) -> np.ndarray:
    """Returns of complete episodes: (S, 2, episodes), greedy first, then sampled."""
    keys, _ = _inputs(agents, programs.num_slots)
    filled = jax.tree.map(lambda x: _fill(x, programs.num_slots), params)
    return _real(programs.evaluate.result()(keys, filled), agents)


def compile_programs(
    config: Config, experiment: Experiment, agents: Agents, received: list[int]
) -> Programs:
    """Compiles a run's programs side by side; waits for what training needs.

    Args:
      config: the settings.
      experiment: what `build` made of them.
      agents: as many as will train at once.
      received: signals.

    Raises:
      KeyboardInterrupt: once there is a signal in `received`.
    """
    start = time.perf_counter()
    devices = jax.devices()[: len(agents.seeds)]
    num_slots = pad_agents(len(agents.seeds), devices)
    env, rollout, algorithm, make_algorithm = experiment
    num_updates = None if rollout.complete_episodes else config.num_updates

    def init(key: Any, values: Any) -> Any:
        return pg.init_train_state(key, rollout, make_algorithm(values))

    def chunk(state: Any, values: Any, active: Any) -> tuple[Any, Any]:
        algorithm = make_algorithm(values)

        def step(state: Any, _: None) -> tuple[Any, Any]:
            going = active & ~_stops(config, state, num_updates)
            new_state, metrics = pg.train_step(state, rollout, algorithm)
            return _where(going, new_state, state), metrics | {"going": going}

        length = min(config.updates_per_chunk, num_updates or sys.maxsize)
        return jax.lax.scan(step, state, length=length)

    def evaluate(key: Any, params: Any) -> Any:
        # Apart from every key that training has used.
        keys = jax.random.split(jax.random.fold_in(key, 2**32 - 1))

        def play(key: Any, greedy: Any) -> Any:
            episodes = config.eval_episodes
            policy = algorithm.policy
            return pg.evaluate(
                key, env, policy, params, num_episodes=episodes, greedy=greedy
            )[0]

        return jax.vmap(play)(keys, jnp.array([True, False]))

    def compiled(fn: Callable, *args: Any, donate: Any = (), **options: Any) -> Any:
        mapped = jax.jit(over_agents(fn, devices), donate_argnums=donate)
        return mapped.lower(*args).compile(options)

    keys, values = _inputs(agents, num_slots)
    state = jax.eval_shape(jax.vmap(init), keys, values)
    active = jax.ShapeDtypeStruct(keys.shape, bool)
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        training = pool.submit(compiled, chunk, state, values, active, donate=0)
        # It runs once: the less there is to compile, the better.
        fast = {"xla_backend_optimization_level": 0}
        initial = pool.submit(compiled, init, keys, values, **fast)
        needed = wait(initial, received), wait(training, received)
        # While training goes on: it is not needed before the end.
        evaluation = pool.submit(compiled, evaluate, keys, state.learner.params)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=False)
    return Programs(*needed, evaluation, num_slots, time.perf_counter() - start)


def _inputs(agents: Agents, num_slots: int) -> tuple[Any, dict[str, Any]]:
    """Keys and values, (num_slots,) each."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(_fill(agents.seeds, num_slots)))
    values = {
        name: jnp.asarray(_fill(x, num_slots), jnp.float32)
        for name, x in agents.values.items()
    }
    return keys, values


def _fill(x: np.ndarray, num_slots: int) -> np.ndarray:
    """Repeats agents until there are as many as slots."""
    return np.resize(x, (num_slots, *x.shape[1:]))


def _real(tree: Any, agents: Agents) -> Any:
    """On the host, without the agents that only fill up the devices."""
    return jax.tree.map(lambda x: np.asarray(x)[: len(agents.seeds)], tree)


def _stops(config: Config, state: Any, num_updates: int | None) -> Any:
    """Whether an agent is done, to the update: by the stopping rule or its budget."""
    done = jnp.bool_(False)
    if num_updates is not None:
        done |= state.num_updates >= num_updates
    if config.until_solved and config.solved_return is not None:
        solved = recent_return(state) > config.solved_return
        done |= solved & (state.num_episodes >= RECENT)
    return done


def _where(active: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(active, new, old), new, old)
