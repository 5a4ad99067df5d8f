"""From a config to the pieces of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import optax

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import params_of
from pgjax.app.settings.make_env import make_env
from pgjax.app.settings.run_settings import Config
from pgjax.app.settings.signature_options import algorithm_factory
from pgjax.baselines import BASELINES

AnyEnv = pg.Env | pg.HostEnv
MOST_UPDATES = 2**32 - 1  # as `TrainState.num_updates` counts


class Pieces(NamedTuple):
    """An environment, a way to play it, and a way to learn."""

    env: AnyEnv
    rollout: pg.Rollout
    algorithm: pg.Algorithm


class Experiment(NamedTuple):
    """The pieces that a config describes."""

    env: AnyEnv
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
        rollout = rollout_of(config, env, algorithm)
    except ValueError as error:
        raise UsageError(str(error)) from error

    def make(values: Mapping[str, Any]) -> Pieces:
        if not values:
            return Pieces(env, rollout, algorithm)
        params = params_of(values)
        own = make_env(config, params) if params else env
        learns = _algorithm(config, own, values)
        return Pieces(
            own, rollout_of(config, own, learns) if params else rollout, learns
        )

    return Experiment(env, rollout, algorithm, make)


def rollout_of(config: Config, env: AnyEnv, algorithm: pg.Algorithm) -> pg.Rollout:
    """How a config plays an environment for an algorithm."""
    if algorithm.complete_episodes:
        return pg.episodes(env, config.num_envs)
    resets: Any = config.resets
    if isinstance(env, pg.HostEnv) and resets != "auto":
        raise UsageError(
            f"{config.env} lives on the host, and draws its own start states: leave "
            f"out --resets {resets}"
        )
    return pg.unroll(env, config.num_envs, config.num_steps, resets=resets)


def _algorithm(config: Config, env: AnyEnv, values: Mapping[str, Any]) -> pg.Algorithm:
    """The algorithm of a config, with other values of some float settings."""
    settings = {**config.settings, **values}
    factory = partial(
        algorithm_factory(config.algorithm), **_options_in_use(config, settings)
    )
    network = partial(_network, config, settings, env)
    critic = config.algorithm_options.get("baseline") == "value"
    complete = factory(network(critic=critic), optax.identity()).complete_episodes
    if not complete:
        _check_updates(config)
        critic = True  # it stands in for what follows the data
    env_steps = config.env_steps(complete_episodes=complete)
    optimizer = _optimizer(config, settings, env_steps)
    algorithm = factory(network(critic=critic), optimizer)
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
    config: Config, settings: Mapping[str, Any], env: AnyEnv, *, critic: bool
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
    config: Config, settings: Mapping[str, Any], env_steps: int
) -> optax.GradientTransformation:
    optimizer: optax.GradientTransformation = optax.adam(
        settings["learning_rate"], eps=settings["adam_epsilon"]
    )
    if settings["max_gradient_norm"] is not None:
        clip = optax.clip_by_global_norm(settings["max_gradient_norm"])
        optimizer = optax.chain(clip, optimizer)
    if config.anneal_learning_rate:
        optimizer = pg.anneal(optimizer, env_steps=float(env_steps))
    # One long vector: a fifth less to compile, and to do in each of PPO's small steps.
    return optax.flatten(optimizer)


def _check_updates(config: Config) -> None:
    """Sees that the updates of a run can be counted by its train state."""
    if config.num_updates > MOST_UPDATES:
        most = MOST_UPDATES * config.num_envs * config.num_steps
        raise UsageError(
            f"updates are counted up to 2**32 - 1, and --steps {config.steps} makes "
            f"{config.num_updates}: take --steps {most} at most, or more "
            "--num-envs"
        )


def _normalized(
    config: Config, settings: Mapping[str, Any], algorithm: pg.Algorithm
) -> pg.Algorithm:
    if config.normalize_observations:
        algorithm = pg.normalize_observations(algorithm)
    if config.scale_rewards:
        gamma = settings.get("gamma", 0.99)
        algorithm = pg.scale_rewards(algorithm, gamma=gamma)
    return algorithm
