"""How large a run is: how many there are of what takes memory, and their bytes.

Found before anything runs: sizes of states and samples are those of their shapes.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

import pgjax as pg
from pgjax._internal.host_rollout import experience_of
from pgjax._internal.spaces import spaces_of
from pgjax._internal.xla import on_cpu
from pgjax.app.settings.build import AnyEnv, Experiment
from pgjax.app.settings.run_settings import Config

# Environments that a device steps side by side: a core has a cache to stay within, an
# accelerator many lanes to fill.
CPU_ENVS, ACCELERATOR_ENVS = 64, 65_536
METRICS = 16  # about as many numbers as an agent reports of an update


class Sizes(NamedTuple):
    """How many there are of what takes memory, and how much one of each takes."""

    agents: int
    num_envs: int
    num_steps: int  # of an environment in a rollout; with complete episodes, at most
    hidden: tuple[int, ...]
    updates_per_chunk: int
    eval_episodes: int
    num_epochs: int  # that are shuffled at once
    complete: bool  # whether rollouts are of complete episodes
    ends: tuple[int, int]  # numbers that a network takes, and that it gives
    of_bench: bool = False  # whose settings are others than those of a run
    keeps_best: bool = False  # whether the best parameters are kept beside the last
    # In bytes; 0 until they are measured.
    learner: int = 0  # of an agent
    env: int = 0  # state and observation
    sample: int = 0  # of a rollout

    @property
    def samples(self) -> int:
        """Of a rollout, padding included."""
        return self.num_envs * self.num_steps

    @property
    def weights(self) -> int:
        """About as many as a network has."""
        widths = self.ends[0], *self.hidden, self.ends[1]
        return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def block_size(num_envs: int) -> int:
    """How many agents with so many environments run side by side on a device."""
    most = CPU_ENVS if on_cpu() else ACCELERATOR_ENVS
    return max(1, most // num_envs)


def sizes_of(config: Config, experiment: Experiment) -> Sizes:
    """The numbers of a run, without bytes.

    Args:
      config: the settings.
      experiment: what `build` made of them.
    """
    env, algorithm = experiment.env, experiment.algorithm
    complete, options = algorithm.complete_episodes, config.algorithm_options
    shuffles = options.get("num_minibatches", 1) > 1
    return Sizes(
        agents=config.seeds,
        num_envs=config.num_envs,
        num_steps=env.max_steps if complete else config.num_steps,
        hidden=config.hidden,
        updates_per_chunk=config.chunk_length(complete_episodes=complete),
        eval_episodes=config.eval_episodes,
        num_epochs=options.get("num_epochs", 0) if shuffles else 0,
        complete=complete,
        ends=ends_of(env),
        keeps_best=config.eval_every is not None,
    )


def ends_of(env: AnyEnv) -> tuple[int, int]:
    """How many numbers a network takes, and how many it gives."""
    seen = sum(map(_numbers, spaces_of(env.observation_space)))
    return seen, _numbers(env.action_space)


def measured(
    sizes: Sizes, env: AnyEnv, rollout: pg.Rollout, algorithm: pg.Algorithm
) -> Sizes:
    """The sizes with bytes: those of the shapes that these make."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def collect(key: Any) -> tuple[Any, Any]:
        state = pg.init_train_state(key, rollout, algorithm)
        params = state.learner.params
        if isinstance(env, pg.HostEnv):
            shape = sizes.num_envs, sizes.num_steps
            return state, experience_of(env, algorithm.policy, params, *shape)
        _, batch, episodes = rollout.collect(
            key, algorithm.policy, params, state.rollout_state
        )
        return state, (batch, episodes)

    state, experience = jax.eval_shape(collect, key)
    best = _bytes(state.learner.params) if sizes.keeps_best else 0
    return sizes._replace(
        learner=_bytes(state) - _bytes(state.rollout_state) + best,
        env=bytes_of_env(env),
        sample=-(-_bytes(experience) // sizes.samples),
    )


def bytes_of_env(env: AnyEnv) -> int:
    """Of one environment's state and observation, as far as JAX has them."""
    if isinstance(env, pg.HostEnv):
        return _bytes(env.obs)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return _bytes(jax.eval_shape(lambda key: env.reset(key, 1), key))


def bytes_per_agent(sizes: Sizes, *, copies: int = 1) -> tuple[int, int]:
    """About how much an agent needs always, and how much more while it trains.

    Args:
      sizes: measured.
      copies: how often the program holds its experience.
    """
    states = sizes.learner
    if not sizes.complete:  # where environments outlive a rollout
        states += sizes.env * sizes.num_envs
    metrics = 4 * METRICS * sizes.updates_per_chunk
    shuffled = 2 * 4 * sizes.num_epochs * sizes.samples
    idle = states * min(copies, 2) + metrics
    acting = 4 * sizes.num_envs * max(sizes.hidden)
    return idle, sizes.samples * sizes.sample * copies + shuffled + acting


def bytes_of_all(sizes: Sizes, num_shares: int) -> int:
    """What a run needs at least, in training or in evaluation.

    Args:
      sizes: measured.
      num_shares: devices, or groups of them, that agents are dealt to.
    """
    idle, running = bytes_per_agent(sizes)
    side_by_side = min(sizes.agents, block_size(sizes.num_envs) * num_shares)
    each = sizes.env + 4 * max(sizes.hidden)
    playing = 2 * sizes.eval_episodes * each  # greedy, and sampled
    returns = 2 * 4 * sizes.eval_episodes * sizes.agents
    return sizes.agents * idle + max(
        side_by_side * running, side_by_side * playing + returns
    )


def _numbers(space: Any) -> int:
    if isinstance(space, pg.Discrete):
        return space.n
    return int(np.prod(space.shape, dtype=object)) if space.shape else 1


def _bytes(tree: Any) -> int:
    return sum(
        int(np.prod(leaf.shape, dtype=object)) * getattr(leaf.dtype, "itemsize", 4)
        for leaf in jax.tree.leaves(tree)
    )
