"""The programs of a run whose environments live on the host: the same as compiled ones.

What learns is compiled once for all agents; each has environments of its own, which a
loop of Python steps. So agents train one after the other, and a seed gives the same
agent alone or among others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

import pgjax as pg
from pgjax._internal.compilation import Same
from pgjax._internal.host_evaluate import Player
from pgjax._internal.host_rollout import experience_of
from pgjax._internal.meshes import AGENTS
from pgjax.app.errors import UsageError
from pgjax.app.packages import import_late
from pgjax.app.runs.chunks import has_solved
from pgjax.app.runs.compiled_programs import (
    AT_THE_END,
    WHILE_TRAINING,
    Programs,
    Slots,
    choose,
    inputs_of,
)
from pgjax.app.runs.hosts import place
from pgjax.app.settings.build import Experiment, rollout_of
from pgjax.app.settings.env_params import is_param
from pgjax.app.settings.grid import Agents
from pgjax.app.settings.run_settings import Config
from pgjax.train import learn_from, update_on_host
from pgjax.types import HostEnv, Rollout


def host_programs(
    config: Config,
    experiment: Experiment,
    agents: Agents,
    mesh: Mesh,
    received: list[int],
) -> Programs:
    """As `compile_programs`, where the environments live on the host.

    Args:
      config: the settings.
      experiment: what `build` made of them.
      agents: as many as will train at once.
      mesh: of one device.
      received: signals; with one in it, a chunk ends after the update that is made.

    Raises:
      UsageError: for a parameter of the environment among what is swept.
    """
    start = time.perf_counter()
    swept = [name for name in agents.values if is_param(name)]
    if swept:
        raise UsageError(
            f"{config.env} lives on the host, where each value of {swept[0]} needs a "
            "run of its own: give --env-param one value"
        )
    slots = Slots.deal(len(agents.seeds), 1)
    by_agent = NamedSharding(mesh, AGENTS)
    inputs = inputs_of(agents, slots, by_agent)
    init = jax.jit(jax.vmap(partial(_init, experiment)), out_shardings=by_agent)
    like = jax.eval_shape(init, *inputs)
    import_late()
    trainer = _Trainer(config, experiment, len(agents.seeds), received)
    trainer.compile(like, inputs[1])
    players = _Players(config, experiment, received)

    def placed(tree: Any) -> Any:
        return jax.tree.map(lambda x: place(x, by_agent), tree)

    def chunk(work: Any, state: Any, left: Any, values: Any) -> tuple[Any, Any]:
        state, metrics = trainer.chunk(np.asarray(work), state, left, values)
        return placed(state), metrics

    keep = jax.jit(jax.vmap(choose), out_shardings=by_agent)
    return Programs(
        init=init,
        chunk=chunk,
        evaluate=players.evaluate,
        play=players.play,
        keep=keep,
        slots=slots,
        inputs=inputs,
        by_agent=by_agent,
        by_state=jax.tree.map(lambda _: by_agent, like),
        like=like,
        seconds=time.perf_counter() - start,
    )


def _init(experiment: Experiment, seed: Any, values: Any) -> Any:
    _, rollout, algorithm = experiment.make(values)
    return pg.init_train_state(jax.random.key(seed), rollout, algorithm)


def _policy(experiment: Experiment, params: Any, obs: Any) -> Any:
    """Of parameters, and the values that the algorithm was made with."""
    values, own = params
    return experiment.make(values).algorithm.policy(own, obs)


class _Trainer:
    """Trains agents, each with a rollout of its own."""

    def __init__(
        self, config: Config, experiment: Experiment, count: int, received: list[int]
    ):
        self._config, self._experiment, self._received = config, experiment, received
        env, algorithm = experiment.env, experiment.algorithm
        self._rollouts = [rollout_of(config, env, algorithm) for _ in range(count)]
        self._length = config.chunk_length(
            complete_episodes=algorithm.complete_episodes
        )
        self._policy = Same(partial(_policy, experiment))
        self._learn: Any = jax.jit(self._learned)
        self._stops = jax.jit(partial(has_solved, config))

    def compile(self, like: Any, values: Any) -> None:
        """Compiles an update, where it is known how large a rollout will be."""
        if self._experiment.algorithm.complete_episodes:
            return
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), like)
        own = jax.tree.map(lambda x: jax.ShapeDtypeStruct((), x.dtype), values)
        env = self._experiment.env
        assert isinstance(env, HostEnv)
        experience = experience_of(
            env,
            self._policy,
            (own, one.learner.params),
            self._config.num_envs,
            self._config.num_steps,
        )
        lowered = self._learn.lower(own, one, one.key, one.key, *experience)
        self._learn = lowered.compile()

    def chunk(
        self, work: np.ndarray, state: Any, left: Any, values: Any
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """A chunk of each agent that has work: states, and metrics (S, updates)."""
        states, rows = [], []
        for i, rollout in enumerate(self._rollouts):
            own, at = jax.tree.map(lambda x, i=i: x[i], (state, values))
            if work[i]:
                own, row = self._chunk(rollout, own, int(left[i]), at)
                rows.append((i, row))
            states.append(own)
        return jax.tree.map(lambda *x: jnp.stack(x), *states), self._table(rows)

    def _chunk(
        self, rollout: Rollout, state: Any, left: int, values: Any
    ) -> tuple[Any, list[dict[str, Any]]]:
        """As `until_it_stops`, of one agent."""
        rows: list[dict[str, Any]] = []
        learn = partial(self._learn, values)
        while left > 0 and len(rows) < self._length and not self._stops(state):
            params = values, state.learner.params
            new, metrics = update_on_host(state, rollout, self._policy, params, learn)
            metrics = jax.device_get(metrics)
            rows.append(metrics | {"going": metrics["diverged"] == 0})
            if metrics["diverged"]:
                break
            state, left = new, left - int(metrics["env_steps"])
            if self._received:
                break
        return state, rows

    def _learned(self, values: Any, *experience: Any) -> tuple[Any, Any]:
        algorithm = self._experiment.make(values).algorithm
        state, metrics = learn_from(algorithm, *experience)
        return state, metrics | {"diverged": pg.diverged(state, metrics)}

    def _table(
        self, rows: Sequence[tuple[int, list[dict[str, Any]]]]
    ) -> dict[str, np.ndarray]:
        """Metrics (S, updates) by name; zeros where there was no update."""
        size = len(self._rollouts), self._length
        some = next((of[0] for _, of in rows if of), {})
        table = {name: np.zeros(size, np.asarray(x).dtype) for name, x in some.items()}
        for i, of in rows:
            for update, row in enumerate(of):
                for name, x in row.items():
                    table[name][i, update] = x
        return table


class _Players:
    """Evaluates agents, one after the other, in environments that stay open."""

    def __init__(self, config: Config, experiment: Experiment, received: list[int]):
        def heed() -> None:
            if received:
                raise KeyboardInterrupt

        env = experiment.env
        assert isinstance(env, HostEnv)
        self._player = Player(env, config.eval_episodes, heed)
        self._policy = Same(partial(_policy, experiment))

    def evaluate(
        self, work: Any, state: tuple, seeds: Any, values: Any, params: Any
    ) -> tuple[tuple, np.ndarray]:
        """Returns (S, 2, episodes), greedy first, then sampled."""

        def returns_of(i: int, own: Any) -> np.ndarray:
            key = jax.random.fold_in(jax.random.key(seeds[i]), AT_THE_END)
            both = zip(jax.random.split(key), (True, False), strict=True)
            return np.stack([self._play(k, own, greedy=g).returns for k, g in both])

        return state, self._each(work, values, params, returns_of)

    def play(
        self,
        work: Any,
        state: tuple,
        seeds: Any,
        values: Any,
        params: Any,
        update: Any,
    ) -> tuple[tuple, dict[str, np.ndarray]]:
        """What greedy episodes came to, (S, episodes) each."""

        def games_of(i: int, own: Any) -> dict[str, np.ndarray]:
            key = jax.random.fold_in(jax.random.key(seeds[i]), WHILE_TRAINING)
            key = jax.random.fold_in(key, update[i])
            return self._play(key, own, greedy=True)._asdict()

        return state, self._each(work, values, params, games_of)

    def _play(self, key: Any, params: Any, *, greedy: bool) -> Any:
        return self._player.play(key, self._policy, params, greedy=greedy)

    def _each(self, work: Any, values: Any, params: Any, play: Callable) -> Any:
        """What `play` gives of each agent with work; zeros of the others."""
        work = np.asarray(work)
        found = {
            int(i): play(i, jax.tree.map(lambda x, i=i: x[i], (values, params)))
            for i in np.flatnonzero(work)
        }
        none = jax.tree.map(np.zeros_like, next(iter(found.values())))
        parts = [found.get(i, none) for i in range(len(work))]
        return jax.tree.map(lambda *x: np.stack(x), *parts)
