"""The host loop: compile, run chunks of updates, and between them look and record.

Between two chunks it also saves a checkpoint now and then, of all that the next process
needs: the training states, in the order of the agents, whatever the devices; the log;
and how much of metrics.csv was written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg
from pgjax.agents import over_active, over_agents, pad_agents
from pgjax.lab.build import Experiment
from pgjax.lab.checkpoints import Checkpoints
from pgjax.lab.config import Config
from pgjax.lab.grid import Agents
from pgjax.lab.loggers import Loggers
from pgjax.lab.memory import block_size
from pgjax.lab.progress import Progress
from pgjax.lab.signals import wait
from pgjax.lab.training_log import TrainingLog
from pgjax.train import RECENT, recent_return


class Training(NamedTuple):
    """What training S agents gave, as NumPy arrays."""

    params: Any  # leaves (S, ...)
    log: TrainingLog


class Saved(NamedTuple):
    """Where training goes on."""

    state: Any  # leaves (S, ...)
    log: dict[str, np.ndarray]
    metrics_bytes: Any  # of metrics.csv


class Slots(NamedTuple):
    """Where agents are in the arrays of a program, which are split over devices.

    Agents are dealt out like cards, so that those of one setting, which may stop early
    together, are not all on one device; some are repeated to fill up the last round.
    """

    agent: np.ndarray  # (num_slots,) whose slot it is
    place: np.ndarray  # (S,) each agent's slot

    @classmethod
    def deal(cls, num_agents: int, num_devices: int) -> Slots:
        """Slots for so many agents."""
        num_slots = pad_agents(num_agents, [None] * num_devices)
        dealt = np.arange(num_slots).reshape(-1, num_devices).T.ravel()
        return cls(dealt % num_agents, np.argsort(dealt)[:num_agents])

    def fill(self, x: Any) -> Any:
        """Leaves (S, ...) of agents to leaves (num_slots, ...)."""
        return jax.tree.map(lambda x: x[self.agent], x)

    def real(self, x: Any) -> Any:
        """Leaves (num_slots, ...) to leaves (S, ...) of agents, on the host."""
        return jax.tree.map(lambda x: _on_host(x)[self.place], x)

    def once(self, x: np.ndarray) -> np.ndarray:
        """(S,) to (num_slots,), zero where an agent is repeated."""
        whole = np.zeros(len(self.agent), x.dtype)
        whole[self.place] = x
        return whole


class Programs(NamedTuple):
    """The compiled programs of a run, over all agents at once."""

    init: Callable[[Any, Any], Any]
    chunk: Callable[[Any, Any, Any], tuple[Any, Any]]
    evaluate: Callable[..., tuple[Any, Any]]  # compiled when it is first called
    slots: Slots
    like: Any  # the shapes of the agents' states, (S, ...)
    seconds: float  # spent compiling


def load(
    config: Config, agents: Agents, programs: Programs, checkpoints: Checkpoints
) -> Saved | None:
    """The newest checkpoint, or None if there is none.

    Raises:
      CheckpointError: if it is of another format, or of other settings.
    """
    log = TrainingLog(config, agents).to_arrays()
    found = checkpoints.latest(Saved(programs.like, log, np.int64(0)))
    return None if found is None else found[1]


def train_agents(
    config: Config,
    agents: Agents,
    programs: Programs,
    logger: Loggers,
    progress: Progress,
    received: list[int],
    checkpoints: Checkpoints,
    saved: Saved | None = None,
) -> Training:
    """Trains agents, writing their metrics as it goes.

    Args:
      config: the settings that they share.
      agents: who is trained.
      programs: compiled for as many.
      logger: for their metrics.
      progress: is told after every chunk.
      received: signals; with one in it, training stops after the chunk.
      checkpoints: are written now and then, and when training stops.
      saved: where to go on.
    """
    log, slots = TrainingLog(config, agents), programs.slots
    keys, values = _inputs(agents, slots)
    if saved is None:
        state = programs.init(keys, values)
    else:
        state = slots.fill(saved.state)
        log.load(saved.log)

    def save() -> None:
        position = np.int64(logger.position())
        record = Saved(slots.real(state), log.to_arrays(), position)
        checkpoints.save(int(log.updates.max()), record)

    while log.active.any() and not received:
        state, metrics = programs.chunk(slots.once(log.work), state, values)
        who = np.flatnonzero(log.active)
        metrics = {name: x[who] for name, x in slots.real(metrics).items()}
        logger.write(log.add(who, metrics))
        progress.update(
            steps=int(log.env_steps.sum()),
            done=log.done(),
            num_agents=len(agents.seeds),
            mean_return=log.mean_return(),
            num_solved=log.num_solved(),
        )
        if checkpoints.due():
            save()
    if received or checkpoints.at_end:
        save()
    return Training(slots.real(state.learner.params), log)


def evaluate_agents(agents: Agents, programs: Programs, params: Any) -> np.ndarray:
    """Returns of complete episodes: (S, 2, episodes), greedy first, then sampled."""
    slots = programs.slots
    keys, _ = _inputs(agents, slots)
    everyone = slots.once(np.ones(len(agents.seeds), np.int32))
    _, returns = programs.evaluate(everyone, (), keys, slots.fill(params))
    return slots.real(returns)


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
    slots = Slots.deal(len(agents.seeds), len(devices))
    env, rollout, algorithm, make_algorithm = experiment
    num_updates = None if rollout.complete_episodes else config.num_updates

    def init(key: Any, values: Any) -> Any:
        return pg.init_train_state(key, rollout, make_algorithm(values))

    def chunk(state: Any, values: Any) -> tuple[Any, Any]:
        algorithm = make_algorithm(values)

        def step(state: Any, _: None) -> tuple[Any, Any]:
            going = ~_stops(config, state, num_updates)
            new_state, metrics = pg.train_step(state, rollout, algorithm)
            wrong = jnp.where(going, pg.diverged(new_state, metrics), 0)
            going &= wrong == 0  # otherwise it stays what it was, for good
            metrics |= {"going": going, "diverged": wrong}
            return _where(going, new_state, state), metrics

        length = min(config.updates_per_chunk, num_updates or sys.maxsize)
        return jax.lax.scan(step, state, length=length)

    def evaluate(state: tuple, key: Any, params: Any) -> tuple[tuple, Any]:
        # Apart from every key that training has used.
        keys = jax.random.split(jax.random.fold_in(key, 2**32 - 1))

        def play(key: Any, greedy: Any) -> Any:
            episodes = config.eval_episodes
            policy = algorithm.policy
            return pg.evaluate(
                key, env, policy, params, num_episodes=episodes, greedy=greedy
            )[0]

        return state, jax.vmap(play)(keys, jnp.array([True, False]))

    keys, values = _inputs(agents, slots)
    state = jax.eval_shape(jax.vmap(init), keys, values)
    like = jax.tree.map(lambda x: _resized(x, len(agents.seeds)), state)
    work = jax.ShapeDtypeStruct(keys.shape, np.int32)
    block = block_size(config.num_envs)
    chunks = over_active(chunk, devices, block=block)
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        # Tracing holds Python's lock and compiling does not, so the long compilation
        # is under way before the short one is traced.
        lowered = jax.jit(chunks, donate_argnums=1).lower(work, state, values)
        training = pool.submit(lowered.compile)
        # It runs once: the less there is to compile, the better.
        fast: Any = {"xla_backend_optimization_level": 0}
        lowered = jax.jit(over_agents(init, devices)).lower(keys, values)
        initial = pool.submit(lowered.compile, fast)
        needed = wait(initial, received), wait(training, received)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=False)
    # Evaluation is compiled when it is called: to compile it while training goes on
    # takes as much time from training as it saves.
    evaluation = jax.jit(over_active(evaluate, devices, block=block))
    return Programs(*needed, evaluation, slots, like, time.perf_counter() - start)


def _inputs(agents: Agents, slots: Slots) -> tuple[Any, dict[str, Any]]:
    """Keys and values, (num_slots,) each."""
    seeds, values = slots.fill((agents.seeds, agents.values))
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    return keys, {name: jnp.asarray(x, jnp.float32) for name, x in values.items()}


def _on_host(x: Any) -> Any:
    """An array as NumPy's; keys as they are, which NumPy does not have."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def _resized(x: jax.ShapeDtypeStruct, size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)


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
