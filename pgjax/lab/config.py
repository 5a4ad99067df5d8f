"""A run's settings: plain data, checked before any work, written with every run."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import pgjax.algorithms
from pgjax.baselines import BASELINES
from pgjax.lab.errors import UsageError
from pgjax.lab.presets import choose_preset
from pgjax.networks import ACTIVATIONS, INITIALIZERS


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting that a person may choose: its type, its default and what it means."""

    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines what a training run computes."""

    algorithm: str = "reinforce"
    preset: str = "default"
    env: str = "CartPole-v1"
    time_limit: int | None = None
    time_limit_terminates: bool = False
    env_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 8
    seed: int = 0
    steps: int = 300_000
    num_envs: int = 5
    num_steps: int = 32
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    initializer: str = "torch"
    shared_torso: bool = False
    log_std: float = 0.0
    normalize_observations: bool = False
    scale_rewards: bool = False
    learning_rate: float = 0.01
    anneal_learning_rate: bool = False
    adam_epsilon: float = 1e-8
    max_gradient_norm: float | None = None
    solved_return: float | None = None
    stop_when_solved: bool = False
    updates_per_chunk: int = 10
    eval_episodes: int = 100
    algorithm_options: dict[str, Any] = dataclasses.field(default_factory=dict)


HELP = {
    "env": "gymnax environment",
    "time_limit": "steps per episode (default: the environment's own)",
    "time_limit_terminates": "count the time limit as a terminal state, as the article "
    "does; it matters to a critic only",
    "env_options": "options of the environment itself, such as num_joints=7",
    "seeds": "number of agents, trained side by side",
    "seed": "seed of the first agent; the others follow it",
    "steps": "environment steps per agent; it stops at the first chunk past them",
    "num_envs": "environments per agent; with complete episodes, one episode each",
    "num_steps": "steps per environment and update, unless episodes are complete",
    "hidden": "widths of the hidden layers",
    "activation": "activation of the hidden layers",
    "initializer": "initialisation of the layers",
    "shared_torso": "let actor and critic share all but their last layers",
    "log_std": "where the log standard deviation of continuous actions starts, in "
    "units of half the action range",
    "normalize_observations": "scale observations to mean 0 and variance 1",
    "scale_rewards": "divide rewards by the deviation of the discounted return",
    "learning_rate": "Adam's learning rate",
    "anneal_learning_rate": "let the learning rate fall to 0 over the run, linearly",
    "adam_epsilon": "Adam's epsilon",
    "max_gradient_norm": "clip gradients to this global norm; none for no clipping",
    "solved_return": "an agent has solved the task once the mean return of its last "
    "100 episodes exceeds this (default: by environment)",
    "stop_when_solved": "stop an agent once it has solved the task",
    "updates_per_chunk": "updates between two looks at the clock, the files and Ctrl-C",
    "eval_episodes": "episodes of the final evaluation, for each agent",
}

_CHOICES = {"activation": tuple(ACTIVATIONS), "initializer": tuple(INITIALIZERS)}
_TYPES = {
    "time_limit": int,
    "solved_return": float,
    "hidden": int,
    "max_gradient_norm": float,
    "env_options": str,
}
# What the annotation of an optional argument says of its type.
_OPTIONAL = {"int | None": int, "Numeric | None": float}

# The mean of 100 training episodes above which a task counts as solved.
SOLVED_RETURNS = {
    "CartPole-v1": 475.0,
    "Acrobot-v1": -100.0,
    "MountainCar-v0": -110.0,
    "Catch-bsuite": 0.95,
}


def run_options() -> dict[str, Option]:
    """The options that every algorithm shares."""
    options = {}
    for field in dataclasses.fields(Config):
        if field.name in HELP:
            options[field.name] = Option(
                _TYPES.get(field.name, type(field.default)),
                field.default,
                HELP[field.name],
                _CHOICES.get(field.name, ()),
            )
    return options


def algorithm_options(algorithm: str) -> dict[str, Option]:
    """The options of one algorithm: its factory's keyword arguments and docstring.

    Those whose default is a flag, a number, a name or a baseline, or that are a number
    or None; others keep their default.
    """
    factory = algorithm_factory(algorithm)
    parameters = inspect.signature(factory).parameters.values()
    return {
        parameter.name: _option(factory, parameter)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
        and (
            isinstance(parameter.default, bool | int | float | str)
            or parameter.default in BASELINES.values()
            or (parameter.default is None and parameter.annotation in _OPTIONAL)
        )
    }


def _option(factory: Callable[..., Any], parameter: inspect.Parameter) -> Option:
    text = _argument_help(factory, parameter.name)
    if parameter.default in BASELINES.values():
        names = {function: name for name, function in BASELINES.items()}
        return Option(str, names[parameter.default], text, tuple(BASELINES))
    if parameter.default is None:
        return Option(_OPTIONAL[parameter.annotation], None, text)
    return Option(type(parameter.default), parameter.default, text)


def _argument_help(factory: Callable[..., Any], name: str) -> str:
    """What the docstring's Args section says about an argument."""
    doc = inspect.getdoc(factory) or ""
    entry = rf"^( +){name}: (.*?)(?=^\1\w+: |^\S|\Z)"
    found = re.search(entry, doc, re.M | re.S)
    return " ".join(found[2].split()).rstrip(".") if found else ""


def algorithm_factory(algorithm: str) -> Callable[..., Any]:
    """The factory of that name in `pgjax.algorithms`."""
    known = pgjax.algorithms.__all__
    if algorithm not in known:
        raise UsageError(
            f"unknown algorithm {algorithm!r}; choose from {', '.join(known)}"
        )
    return getattr(pgjax.algorithms, algorithm)


_OF_ONE_ENV = {
    "solved_return",
    "stop_when_solved",
    "env_options",
    "time_limit",
    "time_limit_terminates",
}


def make_config(algorithm: str, preset: str, given: dict[str, Any]) -> Config:
    """A checked config: defaults, then the preset's settings, then the given ones."""
    algorithm_factory(algorithm)
    preset, chosen = choose_preset(algorithm, preset, given.get("env"))
    settings = {**chosen, **given}
    if given.get("env", chosen.get("env")) != chosen.get("env"):
        # These settings of the preset are about another environment.
        for name in _OF_ONE_ENV - set(given):
            settings.pop(name, None)
    if "hidden" in settings:
        settings["hidden"] = tuple(settings["hidden"])
    own = algorithm_options(algorithm)
    options = {name: option.default for name, option in own.items()}
    options |= {name: settings.pop(name) for name in own if name in settings}
    config = Config(algorithm, preset, **settings, algorithm_options=options)
    if "solved_return" not in settings:
        solved = SOLVED_RETURNS.get(config.env)
        config = dataclasses.replace(config, solved_return=solved)
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """Raises UsageError for the first setting that cannot be."""
    for field in dataclasses.fields(Config):
        _check_type(field.name, str(field.type), getattr(config, field.name))
    counts = ("seeds", "num_envs", "num_steps", "updates_per_chunk", "eval_episodes")
    for name in (*counts, "steps"):
        most = 2**62 if name == "steps" else 2**24
        _require(getattr(config, name) >= 1, config, name, "at least 1")
        _require(getattr(config, name) <= most, config, name, f"at most {most}")
    _require(config.seed >= 0, config, "seed", "0 or more")
    _require(config.seed + config.seeds <= 2**31, config, "seed", "below 2**31")
    for name in ("learning_rate", "adam_epsilon", "max_gradient_norm"):
        value = getattr(config, name)
        _require(value is None or value > 0, config, name, "positive")
    if not config.hidden or min(config.hidden) < 1:
        raise UsageError(f"--hidden needs positive widths, got {list(config.hidden)}")
    if config.stop_when_solved and config.solved_return is None:
        raise UsageError(
            f"--stop-when-solved needs --solved-return: {config.env} has no usual one"
        )
    known = algorithm_options(config.algorithm)
    missing = known.keys() - config.algorithm_options.keys()
    if missing:
        raise UsageError(f"no value of {_flag(min(missing))}")
    for name, value in config.algorithm_options.items():
        _check_option(name, value, known)
    _check_together(config)


def _check_together(config: Config) -> None:
    """Raises UsageError for settings that do not go with each other."""
    options = config.algorithm_options
    if options.get("baseline") == "leave_one_out":
        _require(
            config.num_envs >= 2, config, "num_envs", "at least 2 to leave one out"
        )
    samples = config.num_envs * config.num_steps
    minibatches = options.get("num_minibatches", 1)
    if samples % minibatches:
        raise UsageError(
            f"--num-minibatches must divide --num-envs x --num-steps = {samples}, got "
            f"{minibatches}"
        )
    if config.shared_torso and options.get("baseline", "value") != "value":
        raise UsageError("--shared-torso needs a critic: pass --baseline value")
    if options.get("n_step") is not None and config.num_steps < options["n_step"]:
        raise UsageError(
            f"--n-step {options['n_step']} is more than --num-steps {config.num_steps}"
        )
    if config.shared_torso and config.algorithm == "trpo":
        raise UsageError(
            "--shared-torso does not go with trpo: fitting the critic would move the "
            "policy out of its trust region"
        )


def _check_option(name: str, value: Any, known: dict[str, Option]) -> None:
    option = known.get(name)
    if option is None:
        raise UsageError(f"no option {_flag(name)}; known are {', '.join(known)}")
    if value is None and option.default is None:
        return
    fits = isinstance(value, option.type) and isinstance(value, bool) == (
        option.type is bool
    )
    if not fits:
        raise UsageError(f"{_flag(name)} must be {option.type.__name__}, got {value!r}")
    if option.choices and value not in option.choices:
        raise UsageError(
            f"{_flag(name)} must be one of {', '.join(option.choices)}, got {value!r}"
        )
    if option.type in (int, float) and not _allows(name, value):
        what = _BOUNDS.get(name, "at least 1" if option.type is int else "finite")
        raise UsageError(f"{_flag(name)} must be {what}, got {value}")


# What the algorithms' own numbers must be; integers not named here are at least 1.
_BOUNDS = {
    "gamma": "in [0, 1]",
    "lam": "in [0, 1]",
    "entropy_coefficient": "0 or more",
    "value_coefficient": "0 or more",
    "max_backtracks": "0 or more",
    "clip": "positive",
    "value_clip": "positive",
    "target_kl": "positive",
    "max_kl": "positive",
    "damping": "positive",
}


def _allows(name: str, value: int | float) -> bool:
    if isinstance(value, int):
        return value >= (0 if _BOUNDS.get(name) == "0 or more" else 1)
    holds = {
        "in [0, 1]": 0.0 <= value <= 1.0,
        "0 or more": value >= 0.0,
        "positive": value > 0.0,
        "finite": True,
    }
    return math.isfinite(value) and holds[_BOUNDS.get(name, "finite")]


def _check_type(name: str, annotation: str, value: Any) -> None:
    """Raises UsageError unless the value is what the field's annotation says."""
    kind = annotation.removesuffix(" | None")
    if value is None and kind != annotation:
        return
    fits = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": _is_int(value),
        "float": _is_int(value) or isinstance(value, float),
        "tuple[int, ...]": isinstance(value, tuple) and all(map(_is_int, value)),
        "dict[str, Any]": isinstance(value, dict),
    }
    if not fits[kind]:
        raise UsageError(f"{_flag(name)} must be {annotation}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{_flag(name)} must be finite, got {value}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(holds: bool, config: Config, name: str, what: str) -> None:
    if not holds:
        raise UsageError(f"{_flag(name)} must be {what}, got {getattr(config, name)}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def to_json(config: Config) -> dict[str, Any]:
    """The config as plain JSON data."""
    return dataclasses.asdict(config)


def from_json(data: dict[str, Any]) -> Config:
    """The config that `to_json` wrote.

    Raises:
      UsageError: for keys or values that no config has.
    """
    try:
        config = Config(**{**data, "hidden": tuple(data["hidden"])})
        check_config(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"not a config of this version of pgjax: {error}") from error
    return config
