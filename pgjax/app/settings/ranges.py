"""Ranges of the numbers that a user may give: of any command, in one place.

What is within them can be counted and computed with; whether memory holds it is found
in `pgjax.app.settings.memory_estimates`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pgjax.app.errors import UsageError

COUNT = 2**24  # of things side by side: beyond, float32 does not count one by one
LOOPS = 10_000  # repetitions within an update, between which nothing can be stopped
MOST_OPTION = 10_000  # of an environment, such as its joints
AGENTS = 2**20  # each has a row in the summary
# Integers: the least and the most; those that are not named, 1 and `COUNT`.
_INTS = {
    "steps": (1, 2**62),  # environment steps are counted in int64
    "log_every": (1, 2**62),
    "eval_every": (1, 2**62),
    "seed": (0, 2**31 - 1),
    "agent": (0, 2**31 - 1),
    "seeds": (1, AGENTS),
    "agents_at_once": (1, AGENTS),
    "num_agents": (1, AGENTS),
    "num_epochs": (1, LOOPS),
    "cg_iterations": (1, LOOPS),
    "max_backtracks": (0, LOOPS),
    "rounds": (1, LOOPS),
    "devices": (1, 2**20),
    "env_devices": (1, 2**20),
    "num_processes": (1, 2**20),
    "process_id": (0, 2**20),
}
_UNIT_INTERVAL, _NOT_NEGATIVE, _POSITIVE = "in [0, 1]", "0 or more", "positive"
_FLOATS = {
    "gamma": _UNIT_INTERVAL,
    "lam": _UNIT_INTERVAL,
    "entropy_coefficient": _NOT_NEGATIVE,
    "value_coefficient": _NOT_NEGATIVE,
    "clip": _POSITIVE,
    "value_clip": _POSITIVE,
    "target_kl": _POSITIVE,
    "max_kl": _POSITIVE,
    "damping": _POSITIVE,
    "learning_rate": _POSITIVE,
    "adam_epsilon": _POSITIVE,
    "max_gradient_norm": _POSITIVE,
}
_HOLDS = {
    _UNIT_INTERVAL: lambda x: 0 <= x <= 1,
    _NOT_NEGATIVE: lambda x: x >= 0,
    _POSITIVE: lambda x: x > 0,
}
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def check_int(name: str, value: int) -> None:
    """Raises UsageError for an integer that is too small or too large for a setting.

    Args:
      name: of the setting, such as num_envs.
      value: what was given.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{flag(name)} must be an integer, got {value!r}")
    least, most = _INTS.get(name, (1, COUNT))
    if value < least:
        what = "0 or more" if least == 0 else f"at least {least}"
        raise UsageError(f"{flag(name)} must be {what}, got {value}")
    if value > most:
        raise UsageError(f"{flag(name)} must be at most {most}, got {_shown(value)}")


def check_float(name: str, value: float) -> None:
    """Raises UsageError for a number out of a setting's range, or of float32's."""
    kind = _FLOATS.get(name)
    if kind is not None and not _HOLDS[kind](value):
        raise UsageError(f"{flag(name)} must be {kind}, got {_shown(value)}")
    if value != value or abs(value) == math.inf:  # an int may be beyond float64
        raise UsageError(f"{flag(name)} must be finite, got {value}")
    if abs(value) > _MOST:
        raise UsageError(
            f"{flag(name)} must be at most {_MOST:.4g}, the largest float32, got "
            f"{_shown(value)}"
        )
    if 0 < abs(value) < _LEAST:
        raise UsageError(
            f"{flag(name)} {value:g} would be 0 in float32, whose least number is "
            f"{_LEAST:.4g}"
        )


def check_env_param(params: dict[str, Any]) -> None:
    """Raises UsageError for what no parameter of an environment can be."""
    for name, value in params.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"--env-param takes names and numbers, got {name!r}")
        if isinstance(value, bool):
            continue
        if not isinstance(value, int | float):
            raise UsageError(
                f"--env-param {name} must be a number, or true or false, got {value!r}"
            )
        check_float(f"env_param.{name}", value)


def check_env_arg(options: dict[str, Any]) -> None:
    """Raises UsageError for options that no environment can be made with in time.

    gymnax makes a Python object of each joint, row or bit, before anybody can say how
    much memory it takes.
    """
    for name, value in options.items():
        most = 2**31 - 1 if str(name).endswith("seed") else MOST_OPTION
        _check_option(name, value, most)


def _check_option(name: str, value: Any, most: int) -> None:
    plain = value is None or isinstance(value, bool | int | float | str | list | dict)
    if not isinstance(name, str) or not plain:
        raise UsageError(
            f"--env-arg takes names and plain values, got {name!r}: {value!r}"
        )
    if isinstance(value, dict):
        for key, x in value.items():
            _check_option(key, x, most)
    elif isinstance(value, list):
        for x in value:
            _check_option(name, x, most)
    elif isinstance(value, int) and abs(value) > most:
        raise UsageError(
            f"--env-arg {name} must be at most {most}, got {_shown(value)}"
        )
    elif isinstance(value, float):
        check_float("env_arg", value)


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    name, _, param = name.partition(".")
    return f"--{name.replace('_', '-')} {param}".rstrip()


def _shown(value: float) -> str:
    """A number for a message: no line of four hundred digits."""
    text = str(value)
    if len(text) <= 25:
        return text
    return f"{text[:6]}... ({len(text)} digits)"
