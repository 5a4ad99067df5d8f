"""The stages of a training step as programs of their own.

Each stage works on the share of one device, on all devices at once: its environments,
or as many of its agents as run side by side. Stages do not exchange anything between
devices; the whole step does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import pgjax as pg
from pgjax._internal.agents import over_active, pad_agents
from pgjax._internal.meshes import over_mesh
from pgjax._internal.spaces import batch_size
from pgjax.app.settings.memory_estimates import block_size
from pgjax.app.settings.signature_options import algorithm_options
from pgjax.bench.cases import Case
from pgjax.bench.workers.pgjax_worker import (
    algorithm_of,
    network_of,
    optimizer_of,
    rollout_of,
    worth_splitting,
)
from pgjax.networks.mlp import at_precision
from pgjax.types import Array, Discrete, Key, Metrics, Obs, Space

ENVIRONMENT_STEPS = 128  # of environments alone, where episodes are complete


class Pieces(NamedTuple):
    """What a case is made of."""

    env: pg.Env
    algorithm: pg.Algorithm
    free: pg.Algorithm  # the same, with an optimizer that does next to nothing
    optimizer: optax.GradientTransformation
    rollout: pg.Rollout  # of all environments
    share: pg.Rollout  # of those of one device
    devices: tuple[jax.Device, ...]
    mesh: Mesh  # of agents, or of shares that know nothing of each other
    at_once: int  # agents of a device that run side by side
    num_blocks: int  # that the agents of a device make; 0 for one that is not mapped


class Experience(NamedTuple):
    """Where the stages start: each device's share, leaves (workers, ...)."""

    state: pg.TrainState
    batch: pg.Transition
    steps: np.ndarray  # (workers,) that count
    played: int  # steps of each environment until the last one was done


def pieces_of(case: Case, devices: Sequence[jax.Device]) -> Pieces:
    """Builds a case; one agent stays on one device where its share would be small."""
    spec = case.spec._asdict()
    env = pg.make_env(case.spec.env)
    network = at_precision(network_of(pg, spec, env), case.precision)
    optimizer = optimizer_of(spec)
    at_once, num_blocks, num_envs = 1, 0, case.spec.num_envs
    if case.spec.num_agents == 1:
        devices = devices if worth_splitting(spec, len(devices)) else devices[:1]
        num_envs //= len(devices)
    else:
        devices = devices[: case.spec.num_agents]
        agents = -(-case.spec.num_agents // len(devices))
        at_once = min(agents, block_size(num_envs))
        num_blocks = -(-agents // at_once)
    return Pieces(
        env,
        algorithm_of(pg, spec, network, optimizer),
        algorithm_of(pg, spec, network, optax.identity()),
        optimizer,
        rollout_of(pg, spec, env, case.spec.num_envs),
        rollout_of(pg, spec, env, num_envs),
        tuple(devices),
        pg.make_mesh(devices),
        at_once,
        num_blocks,
    )


def whole_step(case: Case, pieces: Pieces) -> tuple[Callable, Callable]:
    """From a seed to a state, and from a state to the next and metrics; to be jitted.

    The second one takes the number of updates too.
    """
    algorithm, rollout, mesh = pieces.algorithm, pieces.rollout, pieces.mesh
    if case.spec.num_agents == 1:
        mesh = pg.make_mesh(pieces.devices, env=len(pieces.devices))
        return (
            lambda seed: pg.init_train_state(
                jax.random.key(seed), rollout, algorithm, mesh=mesh
            ),
            lambda state, updates: pg.train_steps(
                state, rollout, algorithm, num_updates=updates, mesh=mesh
            ),
        )
    count = pad_agents(case.spec.num_agents, len(pieces.devices))

    def init(seed: Array) -> pg.TrainState:
        def one(seed: Array) -> pg.TrainState:
            return pg.init_train_state(jax.random.key(seed), rollout, algorithm)

        return over_mesh(jax.vmap(one), mesh)(seed + jnp.arange(count))

    def steps(state: pg.TrainState, updates: int) -> tuple[pg.TrainState, Metrics]:
        def one(state: pg.TrainState) -> tuple[pg.TrainState, Metrics]:
            return pg.train_steps(state, rollout, algorithm, num_updates=updates)

        everyone = jnp.arange(count) < case.spec.num_agents
        run = over_active(one, mesh, block=pieces.at_once)
        return run(everyone.astype(jnp.int32), state)

    return init, steps


def gather(case: Case, pieces: Pieces, params: Any) -> Experience:
    """A rollout of each device's share, under trained parameters.

    Args:
      case: what is benchmarked.
      pieces: as `pieces_of` made them.
      params: of one agent.
    """
    workers = len(pieces.devices) * pieces.at_once

    def start(key: Key) -> tuple[pg.TrainState, pg.Transition]:
        state = pg.init_train_state(key, pieces.share, pieces.algorithm)
        learner: Any = state.learner  # a `Learner`, as of all that is benchmarked
        state = state._replace(learner=learner._replace(params=params))
        rollout_state, batch, _ = _collect(pieces, state)
        return state._replace(rollout_state=rollout_state), batch

    keys = jax.random.split(jax.random.key(case.spec.seed), workers)
    state, batch = jax.jit(_everywhere(start, pieces))(keys)
    counts = np.asarray(batch.weight) > 0
    return Experience(state, batch, counts.sum((1, 2)), int(counts.any((0, 2)).sum()))


def stages(case: Case, pieces: Pieces, experience: Experience) -> dict[str, Any]:
    """The stages by name, each lowered, with its arguments: (lowered, arguments)."""
    options = {
        name: x.default for name, x in algorithm_options(case.spec.algorithm).items()
    }
    options |= case.spec.options
    repeats = options.get("num_epochs", 1) * options.get("num_minibatches", 1)
    num_envs = experience.batch.reward.shape[2]
    alone = pieces.share
    if case.spec.num_steps is None:
        alone = pg.unroll(pieces.env, num_envs, ENVIRONMENT_STEPS)

    def environment(key: Key) -> Any:
        policy = _random_policy(pieces.env.action_space)
        state, batch, _ = alone.collect(key, policy, None, alone.init(key))
        return state, jnp.sum(batch.reward)

    def returns(batch: pg.Transition) -> Array:
        steps = batch.reward, jnp.zeros_like(batch.reward)
        flags = batch.terminated, batch.truncated
        return pg.lambda_returns(*steps, *flags, gamma=0.99, lam=0.95)

    def gradient(state: pg.TrainState, batch: pg.Transition) -> Any:
        learner = pg.Learner(state.learner.params, optax.EmptyState())
        return pieces.free.update(state.key, learner, batch)

    def optimizer(state: pg.TrainState) -> Any:
        first: Any = state.learner

        def step(learner: pg.Learner, _: None) -> tuple[pg.Learner, None]:
            updates, opt_state = pieces.optimizer.update(
                learner.params, learner.opt_state, learner.params
            )
            params = optax.apply_updates(learner.params, updates)
            return pg.Learner(params, opt_state), None

        return jax.lax.scan(step, first, length=repeats)[0]

    state, batch = experience.state, experience.batch
    programs: dict[str, tuple[Callable, tuple]] = {
        "environment": (environment, (state.key,)),
        "rollout": (lambda state: _collect(pieces, state), (state,)),
        "returns": (returns, (batch,)),
        "gradient": (gradient, (state, batch)),
        "optimizer": (optimizer, (state,)),
    }
    return {
        name: (jax.jit(_everywhere(fn, pieces)).lower(*arguments), arguments)
        for name, (fn, arguments) in programs.items()
    }


def _everywhere(fn: Callable[..., Any], pieces: Pieces) -> Callable[..., Any]:
    """A stage of every worker, leaves (workers, ...); alone on its device, unmapped."""
    if pieces.at_once > 1:
        return over_mesh(jax.vmap(fn), pieces.mesh)

    def alone(*arguments: Any) -> Any:
        result = fn(*jax.tree.map(lambda x: x[0], arguments))
        return jax.tree.map(lambda x: x[None], result)

    return over_mesh(alone, pieces.mesh)


def _collect(pieces: Pieces, state: pg.TrainState) -> Any:
    return pieces.share.collect(
        state.key, pieces.algorithm.policy, state.learner.params, state.rollout_state
    )


def _random_policy(space: Space) -> Callable[[None, Array], Any]:
    """A policy for which all actions are equally likely."""

    class RandomActions(NamedTuple):
        obs: Obs

        def noise(self, key: Key) -> Array:
            shape = batch_size(self.obs), *space.shape
            if isinstance(space, Discrete):
                return jax.random.randint(key, shape, 0, space.n)
            return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

        def from_noise(self, action: Array) -> Array:
            return action

        def sample(self, key: Key) -> Array:
            return self.noise(key)

        def log_prob(self, action: Array) -> Array:
            return jnp.zeros(len(action))

    return lambda _, obs: RandomActions(obs)
