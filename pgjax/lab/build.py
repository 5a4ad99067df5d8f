"""From a config to the pieces of the core."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import optax

import pgjax as pg
from pgjax.baselines import BASELINES
from pgjax.lab.config import Config, algorithm_factory
from pgjax.lab.errors import UsageError


class Experiment(NamedTuple):
    """What a config describes: an environment, a way to play it, a way to learn."""

    env: pg.Env
    rollout: pg.Rollout
    algorithm: pg.Algorithm


def build(config: Config) -> Experiment:
    """Builds the pieces; compiles nothing.

    Raises:
      UsageError: for an unknown environment, or one that the policy cannot serve.
    """
    try:
        env = pg.make_env(
            config.env,
            time_limit=config.time_limit,
            time_limit_terminates=config.time_limit_terminates,
        )
        options = dict(config.algorithm_options)
        if "baseline" in options:
            options["baseline"] = BASELINES[options["baseline"]]
        factory = partial(algorithm_factory(config.algorithm), **options)
        optimizer = optax.adam(config.learning_rate)
        algorithm = factory(_network(config, env, critic=False), optimizer)
        if _needs_critic(config, algorithm):
            algorithm = factory(_network(config, env, critic=True), optimizer)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:  # MNISTBandit-bsuite downloads its images
        raise UsageError(f"cannot make {config.env}: {error}") from error
    if algorithm.complete_episodes:
        return Experiment(env, pg.episodes(env, config.num_envs), algorithm)
    rollout = pg.unroll(env, config.num_envs, config.num_steps)
    return Experiment(env, rollout, algorithm)


def _needs_critic(config: Config, algorithm: pg.Algorithm) -> bool:
    """Whether something must stand in for what follows the data, or for a baseline."""
    baseline = config.algorithm_options.get("baseline")
    return baseline == "value" or not algorithm.complete_episodes


def _network(config: Config, env: pg.Env, *, critic: bool) -> pg.Network:
    make = pg.actor_critic if critic else pg.mlp_policy
    return make(
        env, config.hidden, activation=config.activation, initializer=config.initializer
    )
