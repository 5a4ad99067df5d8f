"""Settings that cannot be, told before any work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pgjax.lab.errors import UsageError
from pgjax.lab.options import Option

if TYPE_CHECKING:
    from pgjax.lab.config import Config

_AT_LEAST_1 = (
    "seeds",
    "num_envs",
    "num_steps",
    "log_every",
    "updates_per_chunk",
    "eval_episodes",
)
# What numbers must be; integers of an algorithm that are not named here, at least 1.
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
    "learning_rate": "positive",
    "adam_epsilon": "positive",
    "max_gradient_norm": "positive",
    "seed": "0 or more",
}


def check_config(
    config: Config, fields: dict[str, Option], own: dict[str, Option]
) -> None:
    """Raises UsageError for the first setting that cannot be.

    Args:
      config: what to check.
      fields: what each of its fields may be.
      own: what each of the algorithm's options may be.
    """
    for name, option in fields.items():
        _check_value(name, getattr(config, name), option)
    for name in (*_AT_LEAST_1, "steps"):
        most = 2**62 if name == "steps" else 2**24
        _require(getattr(config, name) >= 1, config, name, "at least 1")
        _require(getattr(config, name) <= most, config, name, f"at most {most}")
    _require(config.seed + config.seeds <= 2**31, config, "seed", "below 2**31")
    if not config.hidden or min(config.hidden) < 1:
        raise UsageError(f"--hidden needs positive widths, got {list(config.hidden)}")
    missing = own.keys() - config.algorithm_options.keys()
    if missing:
        raise UsageError(f"no value of {flag(min(missing))}")
    for name, value in config.algorithm_options.items():
        if name not in own:
            raise UsageError(f"no option {flag(name)}; known are {', '.join(own)}")
        _check_value(name, value, own[name])
        if own[name].type is int and name not in _BOUNDS and value is not None:
            _check_bound(name, value, value >= 1, "at least 1")
    _check_together(config)


def _check_together(config: Config) -> None:
    """Raises UsageError for settings that do not go with each other."""
    options = config.algorithm_options
    if config.until_solved and config.solved_return is None:
        raise UsageError(
            f"--until-solved needs --solved-return: {config.env} has no usual one"
        )
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


def _check_value(name: str, value: Any, option: Option) -> None:
    if value is None and option.optional:
        return
    values = value if option.several and isinstance(value, tuple) else [value]
    if (option.several and values is not value) or not all(
        _fits(x, option.type) for x in values
    ):
        raise UsageError(f"{flag(name)} must be {option.kind}, got {value!r}")
    if option.choices and value not in option.choices:
        raise UsageError(
            f"{flag(name)} must be one of {', '.join(option.choices)}, got {value!r}"
        )
    holds = {
        "in [0, 1]": lambda: 0 <= value <= 1,
        "0 or more": lambda: value >= 0,
        "positive": lambda: value > 0,
    }
    if name in _BOUNDS:
        _check_bound(name, value, holds[_BOUNDS[name]](), _BOUNDS[name])
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{flag(name)} must be finite, got {value}")


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


def _check_bound(name: str, value: Any, holds: bool, what: str) -> None:
    if not holds:
        raise UsageError(f"{flag(name)} must be {what}, got {value}")


def _require(holds: bool, config: Config, name: str, what: str) -> None:
    _check_bound(name, getattr(config, name), holds, what)


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")
