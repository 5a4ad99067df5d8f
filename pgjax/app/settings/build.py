"""From a config to the pieces of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import optax

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.config import Config
from pgjax.app.settings.env_params import params_of
from pgjax.app.settings.make_env import make_env
from pgjax.app.settings.signature_options import algorithm_factory
from pgjax.baselines import BASELINES

MOST_UPDATES = 2**32 - 1  # as `TrainState.num_updates` counts
MOST_GRADIENT_STEPS = 2**31 - 1  # as Optax counts


class Pieces(NamedTuple):
    """An environment, a way to play it, and a way to learn."""

    env: pg.Env
    rollout: pg.Rollout
    algorithm: pg.Algorithm


class Experiment(NamedTuple):
    """The pieces that a config describes."""

    env: pg.Env
    rollout: pg.Rollout
    algorithm: pg.Algorithm
    # Maps other values of float settings, which may be tracers, to such pieces.
    make: Callable[[Mapping[str, Any]], Pieces]


def build(config: Config) -> Experiment:
    """Builds the pieces; compiles nothing.

    Raises:
      UsageError: for an unknown environment, or one that the policy cannot serve.
    """
    try:
        env = make_env(config)
        algorithm = _algorithm(config, env, {})
        rollout = _rollout(config, env, algorithm)
    except ValueError as error:
        raise UsageError(str(error)) from error

    def make(values: Mapping[str, Any]) -> Pieces:
        if not values:
            return Pieces(env, rollout, algorithm)
        params = params_of(values)
        own = make_env(config, params) if params else env
        learns = _algorithm(config, own, values)
        return Pieces(own, _rollout(config, own, learns) if params else rollout, learns)

    return Experiment(env, rollout, algorithm, make)


def _rollout(config: Config, env: pg.Env, algorithm: pg.Algorithm) -> pg.Rollout:
    if algorithm.complete_episodes:
        return pg.episodes(env, config.num_envs)
    return pg.unroll(env, config.num_envs, config.num_steps)


def _algorithm(config: Config, env: pg.Env, values: Mapping[str, Any]) -> pg.Algorithm:
    """The algorithm of a config, with other values of some float settings."""
    settings = {**config.settings, **values}
    factory = partial(
        algorithm_factory(config.algorithm), **_options_in_use(config, settings)
    )

    def make(*, critic: bool, scheduled: bool) -> pg.Algorithm:
        network = _network(config, settings, env, critic=critic)
        return factory(network, _optimizer(config, settings, scheduled=scheduled))

    annealed = config.anneal_learning_rate
    by_value = config.algorithm_options.get("baseline") == "value"
    algorithm = make(critic=by_value, scheduled=False)
    if not algorithm.complete_episodes:
        _check_updates(config)
        # A critic stands in for what follows the data.
        algorithm = make(critic=True, scheduled=annealed)
    elif annealed:  # the number of updates is not known
        algorithm = pg.anneal(algorithm, env_steps=float(config.steps))
    return _normalized(config, settings, algorithm)


def _options_in_use(config: Config, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The algorithm's options, without what a preset, or a grid, has for others."""
    options = {name: settings[name] for name in config.algorithm_options}
    if options.get("n_step") is not None:
        options.pop("lam")
    if options.get("baseline", "value") != "value":
        options.pop("value_coefficient", None)
    if "baseline" in options:
        options["baseline"] = BASELINES[options["baseline"]]
    return options


def _network(
    config: Config, settings: Mapping[str, Any], env: pg.Env, *, critic: bool
) -> pg.Network:
    options: dict[str, Any] = {"shared_torso": config.shared_torso} if critic else {}
    make: Any = pg.actor_critic if critic else pg.mlp_policy
    return make(
        env,
        config.hidden,
        activation=config.activation,
        initializer=config.initializer,
        log_std=settings["log_std"],
        **options,
    )


def _optimizer(
    config: Config, settings: Mapping[str, Any], *, scheduled: bool
) -> optax.GradientTransformation:
    rate: Any = settings["learning_rate"]
    if scheduled:
        options = config.algorithm_options
        per_update = options.get("num_epochs", 1) * options.get("num_minibatches", 1)
        _check_gradient_steps(config, per_update)
        rate = optax.linear_schedule(rate, 0.0, config.num_updates * per_update)
    optimizer = optax.adam(rate, eps=settings["adam_epsilon"])
    if settings["max_gradient_norm"] is not None:
        clip = optax.clip_by_global_norm(settings["max_gradient_norm"])
        optimizer = optax.chain(clip, optimizer)
    # One long vector: a fifth less to compile, and to do in each of PPO's small steps.
    return optax.flatten(optimizer)


def _check_updates(config: Config) -> None:
    """Sees that the updates of a run can be counted by its train state."""
    if config.num_updates > MOST_UPDATES:
        raise UsageError(
            f"updates are counted up to 2**32 - 1, and --steps {config.steps} makes "
            f"{config.num_updates}: take --steps {_steps_of(config, MOST_UPDATES)} at "
            "most, or more --num-envs"
        )


def _check_gradient_steps(config: Config, per_update: int) -> None:
    """Sees that Optax's schedule can count the gradient steps of a run."""
    gradient_steps = config.num_updates * per_update
    if gradient_steps > MOST_GRADIENT_STEPS:
        most = _steps_of(config, MOST_GRADIENT_STEPS // per_update)
        raise UsageError(
            "a learning rate that falls to 0 counts gradient steps up to 2**31 - 1, "
            f"and --steps {config.steps} makes {gradient_steps}: take --steps {most} "
            "at most, or --no-anneal-learning-rate"
        )


def _steps_of(config: Config, num_updates: int) -> int:
    return num_updates * config.num_envs * config.num_steps


def _normalized(
    config: Config, settings: Mapping[str, Any], algorithm: pg.Algorithm
) -> pg.Algorithm:
    if config.normalize_observations:
        algorithm = pg.normalize_observations(algorithm)
    if config.scale_rewards:
        gamma = settings.get("gamma", 0.99)
        algorithm = pg.scale_rewards(algorithm, gamma=gamma)
    return algorithm
