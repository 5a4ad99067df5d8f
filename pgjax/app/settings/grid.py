"""The grid of a sweep: lists of values, as groups of agents that compile alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import option_of
from pgjax.app.settings.ranges import AGENTS, check_int
from pgjax.app.settings.run_settings import Config, config_fields
from pgjax.app.settings.signature_options import Option, algorithm_options

# Settings of a whole sweep.
ONE_VALUE = frozenset(
    {
        "seeds",
        "seed",
        "steps",
        "env",  # returns of several cannot be put side by side
        "env_arg",
        "env_devices",
        "solved_return",
        "until_solved",
        "log_every",
        "updates_per_chunk",
        "eval_episodes",
        "eval_every",
    }
)


# How a flag's value, as `label` gives it, may be written.
_FLAGS = {"True": ("true", "yes"), "False": ("false", "no")}


class Agents(NamedTuple):
    """Who is trained: for each of S agents, its seed and what sets it apart."""

    seeds: np.ndarray  # (S,) int
    values: dict[str, np.ndarray]  # (S,) float settings, mapped in one program
    labels: dict[str, np.ndarray]  # (S,) every setting of the grid, for the tables

    def take(self, part: Any) -> Agents:
        """Some of the agents."""
        return Agents(
            self.seeds[part],
            {name: x[part] for name, x in self.values.items()},
            {name: x[part] for name, x in self.labels.items()},
        )


class Group(NamedTuple):
    """Agents whose programs are the same but for numbers: one compilation."""

    config: Config
    agents: Agents


def agents_of(config: Config) -> Agents:
    """The agents of a config without a grid: its seeds."""
    return Agents(config.seed + np.arange(config.seeds), {}, {})


def make_groups(
    make_config: Callable[[dict[str, Any]], Config],
    algorithm: str,
    grid: Mapping[str, Sequence],
) -> list[Group]:
    """Every combination of the grid's values, for every seed.

    Float settings are mapped within a group; other settings, and None for a float, make
    groups of their own.

    Args:
      make_config: maps values of the settings of the grid to a config.
      algorithm: its name.
      grid: names, and values of each.

    Raises:
      UsageError: for the first combination that cannot be.
    """
    options = config_fields() | algorithm_options(algorithm)
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for combination in itertools.product(*grid.values()):
        point = dict(zip(grid, combination, strict=True))
        make_config(point)  # tells what cannot be
        apart = tuple(
            "mapped" if is_mapped(option_of(name, options), value) else (_plain(value),)
            for name, value in point.items()
        )
        groups.setdefault(apart, []).append(point)
    return [
        _group(make_config(points[0]), points, options) for points in groups.values()
    ]


def check_number(seeds: int, grid: Mapping[str, Sequence]) -> None:
    """Sees that a summary can have a row for every agent.

    Raises:
      UsageError: if they are too many.
    """
    check_int("seeds", seeds)
    points = math.prod(map(len, grid.values()))
    if points * seeds > AGENTS:
        raise UsageError(
            f"{points} combinations x --seeds {seeds} are more than {AGENTS} agents: "
            f"take --seeds {AGENTS // points} at most, or fewer values"
        )


def _group(
    config: Config, points: list[dict[str, Any]], options: dict[str, Option]
) -> Group:
    seeds = config.seed + np.arange(config.seeds)
    rows = [(point, seed) for point in points for seed in seeds]
    labels = {
        name: np.array([label(point[name]) for point, _ in rows], dtype=object)
        for name in points[0]
    }
    values = {
        name: np.array([float(point[name]) for point, _ in rows])
        for name, value in points[0].items()
        if is_mapped(option_of(name, options), value)
    }
    agents = Agents(np.array([seed for _, seed in rows]), values, labels)
    return Group(config, agents)


def is_mapped(option: Option | None, value: Any) -> bool:
    """Whether agents of other values of a setting train in the same program."""
    number = value is not None and not isinstance(value, bool)
    return option is not None and option.type is float and number


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def is_value(known: Any, wanted: Any) -> bool:
    """Whether a value of a setting, as `label` gives it, is the one that is wanted.

    Args:
      known: the value.
      wanted: as a person, or `--where`, writes it: 0.95, 9.5e-1, none, yes, 32,32.
    """
    text = str(label(wanted)).replace(",", "-")
    if isinstance(known, bool) or str(known) in ("True", "False"):
        return text.lower() in _FLAGS[str(known)]
    if str(known) == text:
        return True
    try:
        return float(str(known)) == float(text)
    except ValueError:
        return False


def label(value: Any) -> Any:
    """A setting as one cell of a table."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return value
