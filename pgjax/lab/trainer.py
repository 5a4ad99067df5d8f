"""The host loop: compile, run chunks of updates, and between them look and record."""

from __future__ import annotations

import signal
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
from pgjax.lab.progress import Reporter, process_age
from pgjax.lab.signals import noted, wait
from pgjax.lab.store import MetricsFile
from pgjax.sweep import over_agents, pad_agents
from pgjax.train import RECENT, recent_return


class Training(NamedTuple):
    """What training S agents gave, as NumPy arrays."""

    params: Any  # leaves (S, ...)
    env_steps: np.ndarray  # (S,) steps taken
    steps_to_solve: np.ndarray  # (S,) NaN for an agent that has not solved the task
    seconds_to_solve: np.ndarray  # (S,) since the process began; NaN likewise
    seconds: float
    interrupted: bool


class Programs(NamedTuple):
    """The compiled programs of a run, over all agents at once, and their keys."""

    init: Callable[[Any], Any]
    chunk: Callable[[Any, Any], tuple[Any, Any]]
    evaluate: Future[Callable[[Any, Any], Any]]  # not needed before the end
    keys: Any  # one per agent, and some to fill up the devices
    seconds: float  # spent compiling


def train_agents(
    config: Config, programs: Programs, file: MetricsFile, reporter: Reporter
) -> Training:
    """Trains the agents of a config, writing their metrics as it goes."""
    start = time.perf_counter()
    log = TrainingLog(config)

    def tell() -> None:
        reporter.console.print("finishing this chunk, then saving ...")

    with noted(signal.SIGINT, signal.SIGTERM, tell=tell) as interrupted:
        state = programs.init(programs.keys)
        with reporter.training(config.seeds * config.steps, config.seeds) as progress:
            while log.active.any() and not interrupted:
                active = np.resize(log.active, len(programs.keys))
                state, metrics = programs.chunk(state, active)
                file.write(log.add(_real(metrics, config)))
                progress.update(
                    steps=int(log.env_steps.sum()),
                    done=log.done(),
                    mean_return=log.mean_return(),
                    num_solved=log.num_solved(),
                )
    return Training(
        params=_real(state.learner.params, config),
        env_steps=log.env_steps,
        steps_to_solve=log.steps_to_solve,
        seconds_to_solve=log.seconds_to_solve,
        seconds=time.perf_counter() - start,
        interrupted=bool(interrupted),
    )


def evaluate_agents(config: Config, programs: Programs, params: Any) -> np.ndarray:
    """Returns of complete episodes: (S, 2, episodes), greedy first, then sampled."""
    filled = jax.tree.map(
        lambda x: np.resize(x, (len(programs.keys), *x.shape[1:])), params
    )
    return _real(programs.evaluate.result()(programs.keys, filled), config)


def compile_programs(
    config: Config, experiment: Experiment, received: list[int]
) -> Programs:
    """Compiles the run's programs side by side; waits for what training needs.

    Raises:
      KeyboardInterrupt: once there is a signal in `received`.
    """
    start = time.perf_counter()
    devices = jax.devices()[: config.seeds]
    numbers = config.seed + jnp.arange(pad_agents(config.seeds, devices))
    keys = jax.vmap(jax.random.key)(numbers)
    env, rollout, algorithm = experiment

    def init(key: Any) -> Any:
        return pg.init_train_state(key, rollout, algorithm)

    def chunk(state: Any, active: Any) -> tuple[Any, Any]:
        def step(state: Any, _: None) -> tuple[Any, Any]:
            going = active & ~_stops(config, state)
            new_state, metrics = pg.train_step(state, rollout, algorithm)
            return _where(going, new_state, state), metrics | {"going": going}

        return jax.lax.scan(step, state, length=config.updates_per_chunk)

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

    state = jax.eval_shape(jax.vmap(init), keys)
    active = jax.ShapeDtypeStruct(keys.shape, bool)
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        training = pool.submit(compiled, chunk, state, active, donate=0)
        # It runs once: the less there is to compile, the better.
        initial = pool.submit(compiled, init, keys, xla_backend_optimization_level=0)
        needed = wait(initial, received), wait(training, received)
        # While training goes on: it is not needed before the end.
        evaluation = pool.submit(compiled, evaluate, keys, state.learner.params)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=False)
    return Programs(*needed, evaluation, keys, time.perf_counter() - start)


class TrainingLog:
    """The totals of every agent, and whether it is still training."""

    def __init__(self, config: Config):
        self._config = config
        self._update = 0
        self.env_steps = np.zeros(config.seeds, np.int64)
        self.episodes = np.zeros(config.seeds, np.int64)
        self.recent_return = np.full(config.seeds, np.nan)
        self.steps_to_solve = np.full(config.seeds, np.nan)
        self.seconds_to_solve = np.full(config.seeds, np.nan)
        self.active = np.ones(config.seeds, bool)

    def add(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Takes in a chunk's metrics, (S, K) each; returns its rows, as columns."""
        chunk = {name: x[self.active] for name, x in metrics.items()}
        going = chunk.pop("going")
        chunk["env_steps"] = np.where(going, chunk["env_steps"], 0)
        chunk["episodes"] = np.where(going, chunk["episodes"], 0)
        env_steps = self.env_steps[self.active, None] + chunk["env_steps"].cumsum(1)
        episodes = self.episodes[self.active, None] + chunk["episodes"].cumsum(1)
        seeds = self._config.seed + np.flatnonzero(self.active)
        updates = self._update + 1 + np.arange(env_steps.shape[1])
        self._update += env_steps.shape[1]
        self.env_steps[self.active] = env_steps[:, -1]
        self.episodes[self.active] = episodes[:, -1]
        last = chunk["recent_return"][np.arange(len(going)), going.sum(1) - 1]
        self.recent_return[self.active] = last
        self._note_solved(going, env_steps, episodes, chunk["recent_return"])
        self.active[self.active] = going[:, -1]
        self.active &= self.env_steps < self._config.steps
        if self._config.stop_when_solved:
            self.active &= np.isnan(self.steps_to_solve)
        seed_column, update_column = np.broadcast_arrays(seeds[:, None], updates)
        columns = chunk | {
            "seed": seed_column,
            "update": update_column,
            "env_steps": env_steps,
            "episodes": episodes,
        }
        return {name: column[going] for name, column in columns.items()}

    def _note_solved(
        self,
        going: np.ndarray,
        env_steps: np.ndarray,
        episodes: np.ndarray,
        recent: np.ndarray,
    ) -> None:
        level = self._config.solved_return
        if level is None:
            return
        solved = going & (recent > level) & (episodes >= RECENT)
        agents = np.flatnonzero(self.active)
        new = solved.any(1) & np.isnan(self.steps_to_solve[agents])
        first = env_steps[np.arange(len(agents)), solved.argmax(1)]
        self.steps_to_solve[agents[new]] = first[new]
        self.seconds_to_solve[agents[new]] = process_age()

    def num_solved(self) -> int | None:
        """How many agents have solved the task; None if nobody says when it is."""
        if self._config.solved_return is None:
            return None
        return int(np.isfinite(self.steps_to_solve).sum())

    def mean_return(self) -> float:
        """The mean over agents of their recent return; NaN before the first episode."""
        known = np.isfinite(self.recent_return)
        return float(self.recent_return[known].mean()) if known.any() else np.nan

    def done(self) -> float:
        """The share of the work that is done, in [0, 1]."""
        shares = np.minimum(self.env_steps / self._config.steps, 1.0)
        return float(np.where(self.active, shares, 1.0).mean())


def _real(tree: Any, config: Config) -> Any:
    """On the host, without the agents that only fill up the devices."""
    return jax.tree.map(lambda x: np.asarray(x)[: config.seeds], tree)


def _stops(config: Config, state: Any) -> Any:
    """Whether an agent has met the stopping rule, to the update."""
    if not config.stop_when_solved or config.solved_return is None:
        return jnp.bool_(False)
    solved = recent_return(state) > config.solved_return
    return solved & (state.num_episodes >= RECENT)


def _where(active: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(active, new, old), new, old)
