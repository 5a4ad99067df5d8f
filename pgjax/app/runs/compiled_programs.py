"""The compiled programs of a run: over all its agents, on all its devices."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import pgjax as pg
from pgjax._internal.agents import over_active, pad_agents
from pgjax._internal.meshes import (
    AGENT,
    AGENTS,
    axis_of_envs,
    of_agents,
    over_mesh,
    specs_of,
)
from pgjax.app.errors import UsageError
from pgjax.app.packages import import_late
from pgjax.app.runs.chunks import has_solved, until_it_stops
from pgjax.app.runs.hosts import fetch, place, several
from pgjax.app.runs.signals import wait
from pgjax.app.settings.build import Experiment
from pgjax.app.settings.grid import Agents
from pgjax.app.settings.limits import check_compiled
from pgjax.app.settings.memory_estimates import block_size
from pgjax.app.settings.run_settings import Config
from pgjax.evaluate import play as games_of
from pgjax.types import AxisName

# Numbers that keys of evaluations are folded from a seed's with: apart from each other,
# and from every key that training splits off it.
AT_THE_END, WHILE_TRAINING = 2**32 - 1, 2**32 - 2


class Slots(NamedTuple):
    """Where agents are in the arrays of a program, which are split over devices.

    Agents are dealt out like cards, so that those of one setting, which may stop early
    together, are not all on one device; some are repeated to fill up the last round.
    """

    agent: np.ndarray  # (num_slots,) whose slot it is
    place: np.ndarray  # (S,) each agent's slot

    @classmethod
    def deal(cls, num_agents: int, num_devices: int, width: int = 1) -> Slots:
        """Slots for so many agents, at least `width` on each device."""
        num_slots = pad_agents(max(num_agents, width * num_devices), num_devices)
        dealt = np.arange(num_slots).reshape(-1, num_devices).T.ravel()
        return cls(dealt % num_agents, np.argsort(dealt)[:num_agents])

    def fill(self, x: Any) -> Any:
        """Leaves (S, ...) of agents to leaves (num_slots, ...)."""
        return jax.tree.map(lambda x: x[self.agent], x)

    def real(self, x: Any) -> Any:
        """Leaves (num_slots, ...) to leaves (S, ...) of agents, on the host."""
        return jax.tree.map(lambda x: fetch(x)[self.place], x)

    def once(self, x: np.ndarray) -> np.ndarray:
        """(S,) to (num_slots,), zero where an agent is repeated."""
        whole = np.zeros(len(self.agent), x.dtype)
        whole[self.place] = x
        return whole


class Programs(NamedTuple):
    """The compiled programs of a run; they take and give arrays in slots."""

    init: Callable[[Any, Any], Any]
    chunk: Callable[..., tuple[Any, Any]]  # of work, states, what is left, and values
    # Compiled when they are first called.
    evaluate: Callable[..., tuple[Any, Any]]  # the final evaluation
    play: Callable[..., tuple[Any, Any]]  # an evaluation while training
    keep: Callable[[Any, Any, Any], Any]  # of some agents new parameters, or old ones
    slots: Slots
    inputs: tuple[Any, dict[str, Any]]  # seeds and values, placed on the devices
    by_agent: NamedSharding
    by_state: Any  # NamedSharding of each leaf of the states
    like: Any  # the shapes of the agents' states, (S, ...)
    seconds: float  # spent compiling

    def fill(self, x: Any) -> Any:
        """(S,) of agents, placed in their slots; zero where an agent is repeated."""
        return place(self.slots.once(x), self.by_agent)

    def of(self, agents: Agents) -> Programs:
        """The same programs for other agents, of the same number and settings."""
        return self._replace(inputs=inputs_of(agents, self.slots, self.by_agent))

    def fill_states(self, states: Any) -> Any:
        """Leaves (S, ...) of agents, placed in their slots."""
        return jax.tree.map(place, self.slots.fill(states), self.by_state)

    def fill_params(self, params: Any) -> Any:
        """The same of their parameters alone."""
        by_params = self.by_state.learner.params
        return jax.tree.map(place, self.slots.fill(params), by_params)


def compile_programs(
    config: Config,
    experiment: Experiment,
    agents: Agents,
    mesh: Mesh,
    received: list[int],
    *,
    width: int = 1,
) -> Programs:
    """Compiles a run's programs side by side; waits for what training needs.

    Args:
      config: the settings.
      experiment: what `build` made of them.
      agents: as many as will train at once.
      mesh: where.
      received: signals.
      width: the least number of agents on a device; see `devices.least_width`.

    Raises:
      KeyboardInterrupt: once there is a signal in `received`.
      UsageError: if a package that training uses at its end cannot be imported.
    """
    start = time.perf_counter()
    slots = Slots.deal(len(agents.seeds), mesh.shape[AGENT], width)
    axis_name = axis_of_envs(mesh)
    if axis_name is not None and not experiment.algorithm.sums_over_devices:
        raise UsageError(
            f"--env-devices {config.env_devices} needs an algorithm whose update sums "
            f"over devices, and {config.algorithm} does not declare sums_over_devices; "
            "leave it out"
        )
    init, chunk, evaluate, play = _functions(config, experiment, axis_name)
    by_agent = NamedSharding(mesh, AGENTS)
    inputs = inputs_of(agents, slots, by_agent)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((), x.dtype), inputs)
    specs = of_agents(specs_of(init, *one, mesh=mesh))
    init_share = partial(init, axis_name=axis_name)
    by_state = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs,
        is_leaf=lambda x: isinstance(x, P),
    )
    shapes = jax.eval_shape(jax.vmap(init), *inputs)
    like = jax.tree.map(lambda x: _resized(x, len(agents.seeds)), shapes)
    state = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        by_state,
    )
    num_slots = len(slots.agent)
    work = jax.ShapeDtypeStruct((num_slots,), np.int32, sharding=by_agent)
    block = block_size(config.num_envs)
    chunks = over_active(chunk, mesh, block=block, state_specs=specs)
    # Every process is to have the metrics of all.
    everywhere = NamedSharding(mesh, P()) if several() else None
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        # Tracing holds Python's lock and compiling does not, so the long compilation
        # is under way before the short one is traced.
        jitted = jax.jit(chunks, donate_argnums=1, out_shardings=(by_state, everywhere))
        training = pool.submit(jitted.lower(work, state, work, inputs[1]).compile)
        # It runs once: the less there is to compile, the better.
        fast: Any = {"xla_backend_optimization_level": 0}
        starts = over_mesh(jax.vmap(init_share), mesh, out_specs=specs)
        lowered = jax.jit(starts, out_shardings=by_state).lower(*inputs)
        initial = pool.submit(lowered.compile, fast)
        import_late()  # about a second, while the compiler is busy
        needed = wait(initial, received), wait(training, received)
        check_compiled(config, experiment, needed[1], mesh)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=False)

    # Evaluation is compiled when it is called: to compile it while training goes on
    # takes as much time from training as it saves.
    def played(fn: Callable) -> Callable:
        whole = over_active(fn, mesh, block=block)
        return jax.jit(whole, out_shardings=(by_agent, everywhere))

    keep = jax.jit(jax.vmap(choose), out_shardings=by_state.learner.params)
    seconds = time.perf_counter() - start
    return Programs(
        init=needed[0],
        chunk=needed[1],
        evaluate=played(evaluate),
        play=played(play),
        keep=keep,
        slots=slots,
        inputs=inputs,
        by_agent=by_agent,
        by_state=by_state,
        like=like,
        seconds=seconds,
    )


def _functions(
    config: Config, experiment: Experiment, axis_name: AxisName
) -> tuple[Callable, Callable, Callable, Callable]:
    """What one agent does: its start, a chunk of updates, and two evaluations.

    At the end, and while it trains.
    """
    make = experiment.make
    complete = experiment.rollout.complete_episodes
    length = config.chunk_length(complete_episodes=complete)

    def init(seed: Any, values: Any, axis_name: AxisName = None) -> Any:
        _, rollout, algorithm = make(values)
        key = jax.random.key(seed)
        return pg.init_train_state(key, rollout, algorithm, axis_name=axis_name)

    def chunk(state: Any, left: Any, values: Any) -> tuple[Any, Any]:
        _, rollout, algorithm = make(values)

        def step(state: Any) -> tuple[Any, Any]:
            state, metrics = pg.train_step(
                state, rollout, algorithm, axis_name=axis_name
            )
            return state, metrics | {"diverged": pg.diverged(state, metrics)}

        stops = partial(has_solved, config)
        return until_it_stops(step, state, left, stops=stops, length=length)

    def evaluate(
        state: tuple, seed: Any, values: Any, params: Any
    ) -> tuple[tuple, Any]:
        env, _, algorithm = make(values)
        key = jax.random.fold_in(jax.random.key(seed), AT_THE_END)

        def returns_of(key: Any, greedy: Any) -> Any:
            episodes = config.eval_episodes
            policy = algorithm.policy
            return pg.evaluate(
                key, env, policy, params, num_episodes=episodes, greedy=greedy
            )[0]

        greedy = jnp.array([True, False])
        return state, jax.vmap(returns_of)(jax.random.split(key), greedy)

    def play(
        state: tuple, seed: Any, values: Any, params: Any, update: Any
    ) -> tuple[tuple, Any]:
        env, _, algorithm = make(values)
        assert isinstance(env, pg.Env)
        key = jax.random.fold_in(jax.random.key(seed), WHILE_TRAINING)
        key = jax.random.fold_in(key, update)  # other episodes in each evaluation
        games = games_of(env, algorithm.policy, config.eval_episodes, True, key, params)
        names = "returns", "lengths", "truncated"
        return state, {name: getattr(games, name) for name in names}

    return init, chunk, evaluate, play


def choose(which: Any, new: Any, old: Any) -> Any:
    """The new leaves of one agent, or the old ones."""
    return jax.tree.map(lambda new, old: jnp.where(which, new, old), new, old)


def inputs_of(
    agents: Agents, slots: Slots, by_agent: NamedSharding
) -> tuple[Any, dict[str, Any]]:
    """Seeds and values, (num_slots,) each, placed on the devices."""
    seeds, values = slots.fill((agents.seeds, agents.values))
    values = {name: np.asarray(x, np.float32) for name, x in values.items()}
    inputs = seeds.astype(np.int32), values
    return jax.tree.map(lambda x: place(x, by_agent), inputs)


def _resized(x: jax.ShapeDtypeStruct, size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
