"""From a config to the pieces of the core."""

from __future__ import annotations

from typing import Any, NamedTuple

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
        network = _network(config, env, options)
        if "baseline" in options:
            options["baseline"] = BASELINES[options["baseline"]]
        optimizer = optax.adam(config.learning_rate)
        algorithm = algorithm_factory(config.algorithm)(network, optimizer, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:  # MNISTBandit-bsuite downloads its images
        raise UsageError(f"cannot make {config.env}: {error}") from error
    return Experiment(env, pg.episodes(env, config.num_envs), algorithm)


def _network(config: Config, env: pg.Env, options: dict[str, Any]) -> pg.Network:
    make = pg.actor_critic if options.get("baseline") == "value" else pg.mlp_policy
    return make(
        env, config.hidden, activation=config.activation, initializer=config.initializer
    )
