"""From a config to the pieces of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.config import Config
from pgjax.app.settings.signature_options import algorithm_factory
from pgjax.baselines import BASELINES

MOST_UPDATES = 2**32 - 1  # as `TrainState.num_updates` counts


class Experiment(NamedTuple):
    """What a config describes: an environment, a way to play it, a way to learn."""

    env: pg.Env
    rollout: pg.Rollout
    algorithm: pg.Algorithm
    # Maps other values of float settings, which may be tracers, to such an algorithm.
    make_algorithm: Callable[[Mapping[str, Any]], pg.Algorithm]


def build(config: Config) -> Experiment:
    """Builds the pieces; compiles nothing.

    Raises:
      UsageError: for an unknown environment, or one that the policy cannot serve.
    """
    try:
        env = _make_env(config)
        algorithm = _algorithm(config, env, {})
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:  # MNISTBandit-bsuite downloads its images
        raise UsageError(f"cannot make {config.env}: {error}") from error

    def make_algorithm(values: Mapping[str, Any]) -> pg.Algorithm:
        return _algorithm(config, env, values) if values else algorithm

    if not algorithm.complete_episodes:
        rollout = pg.unroll(env, config.num_envs, config.num_steps)
        return Experiment(env, rollout, algorithm, make_algorithm)
    rollout = pg.episodes(env, config.num_envs)
    return Experiment(env, rollout, algorithm, make_algorithm)


def _algorithm(config: Config, env: pg.Env, values: Mapping[str, Any]) -> pg.Algorithm:
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


def _make_env(config: Config) -> pg.Env:
    """The environment, having seen that it can be reset and stepped."""
    reserved = {"name", "time_limit", "time_limit_terminates"} & set(config.env_options)
    if reserved:
        raise UsageError(f"--env-options cannot set {min(reserved)}, which has a flag")
    try:
        env = pg.make_env(
            config.env,
            time_limit=config.time_limit,
            time_limit_terminates=config.time_limit_terminates,
            **config.env_options,
        )
        if config.env_options:
            key = jax.random.key(0)
            _, state = jax.eval_shape(lambda key: env.reset(key, 1), key)
            action = jnp.zeros((1, *env.action_space.shape), jnp.int32)
            jax.eval_shape(env.step, key, state, action)
    except OSError:
        raise
    except Exception as error:
        if not config.env_options:
            raise
        options = " ".join(f"{k}={v!r}" for k, v in config.env_options.items())
        raise UsageError(f"cannot make {config.env} with {options}: {error}") from error
    return env


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
