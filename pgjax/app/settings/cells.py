"""The cells of a study: each algorithm on each environment, with the settings it takes.

A setting is given for all cells, and goes to those in which it does something: `clip`
to PPO, `log_std` to where actions are continuous. What is not given is what the preset
of the cell says, as in a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import is_param, params_apart
from pgjax.app.settings.presets import PresetFile, is_file, read_preset
from pgjax.app.settings.ranges import check_int, flag
from pgjax.app.settings.run_settings import make_config, run_options, told_of_unknown
from pgjax.app.settings.signature_options import algorithm_factory, algorithm_options


class Asked(NamedTuple):
    """What a study is asked to do, as JSON data."""

    algorithm: list[str]
    env: list[str]
    preset: str
    settings: dict[str, Any]  # given for all cells; a list of values for a grid
    log: list[str]  # names of loggers
    agents_at_once: int | None = None
    preset_tables: dict[str, Any] | None = None  # what a user's own preset says

    @property
    def chosen(self) -> str | PresetFile:
        """The preset; of a user's own, what its file said as the study was started."""
        if self.preset_tables is None:
            return self.preset
        return PresetFile(self.preset, self.preset_tables)


class Cell(NamedTuple):
    """An algorithm on an environment."""

    name: str  # of the directory of its run
    algorithm: str
    env: str
    given: dict[str, Any]  # settings that its algorithm has, the environment among them

    def __str__(self) -> str:
        return f"{self.algorithm} on {self.env}"


def make_asked(
    algorithms: Sequence[str],
    envs: Sequence[str],
    preset: str | PresetFile,
    settings: Mapping[str, Any],
    log: Sequence[str] = (),
    agents_at_once: int | None = None,
) -> Asked:
    """What a study is asked to do.

    Args:
      algorithms: their names.
      envs: their names; if there is none, that of the preset.
      preset: as for `make_config`; a user's file is read now, and never again.
      settings: by name; a list of values for those of a grid.
      log: names of loggers.
      agents_at_once: as for `make_plan`.

    Raises:
      UsageError: for a name that is there twice, is none, or is of a setting that no
        algorithm has.
    """
    for name, values in (("algorithm", algorithms), ("env", envs)):
        _check_names(name, values)
    if not algorithms:
        raise UsageError("--algorithm needs a value")
    for algorithm in algorithms:
        algorithm_factory(algorithm)
    if agents_at_once is not None:
        check_int("agents_at_once", agents_at_once)
    for name in params_apart(settings):
        if not any(_has(algorithm, name) for algorithm in algorithms):
            raise UsageError(told_of_unknown(name, *algorithms))
    if isinstance(preset, str) and is_file(preset):
        preset = read_preset(preset)
    name, tables = preset if isinstance(preset, PresetFile) else (preset, None)
    envs = envs or [make_config(algorithms[0], preset, {}).env]
    about = list(algorithms), list(envs), name, dict(settings), list(log)
    return Asked(*about, agents_at_once, tables)


def _check_names(name: str, values: Sequence[str]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise UsageError(f"{flag(name)} takes names, got {value!r}")
        if not value.strip():
            raise UsageError(f"{flag(name)} has an empty name, {value!r}")
        if list(values).count(value) > 1:
            raise UsageError(f"{flag(name)} has {value} twice: give it once")


def _has(algorithm: str, name: str) -> bool:
    """Whether an algorithm has a setting of that name."""
    return is_param(name) or name in {*run_options(), *algorithm_options(algorithm)}


def cells_of(asked: Asked) -> Iterator[Cell]:
    """The cells, environment after environment."""
    names: set[str] = set()
    for env in asked.env:
        for algorithm in asked.algorithm:
            name = f"{algorithm}-{env}".replace("/", "-").replace(":", "-")
            while name in names:  # of environments that differ in such a character
                name += "+"
            names.add(name)
            given = params_apart(asked.settings)
            given = {key: x for key, x in given.items() if _has(algorithm, key)}
            yield Cell(name, algorithm, env, {**given, "env": env})


def with_more(asked: Asked, given: Mapping[str, Any], *, study: Any) -> Asked:
    """What a study is asked to do that gets more algorithms, environments or values.

    Whether its runs can have the values is seen by `request.extended`.

    Args:
      asked: so far.
      given: settings, "algorithm", "env", "preset" and "agents_at_once" among them;
        those left out stay as they are.
      study: its directory, for messages.

    Raises:
      UsageError: if algorithms or environments are left out, or the preset differs.
    """
    rest = dict(given)
    names = {}
    for name in ("algorithm", "env"):
        now = getattr(asked, name)
        value = rest.pop(name, now)
        names[name] = [value] if isinstance(value, str) else list(value)
        if missing := [x for x in now if x not in names[name]]:
            raise UsageError(
                f"{study} has {flag(name)} {' '.join(now)}: leave it out, or give all "
                f"of these with those to add, {' '.join(missing)} too"
            )
    preset = rest.pop("preset", asked.preset)
    if preset not in (asked.preset, "default"):
        raise UsageError(f"{study} has --preset {asked.preset}, got {preset}")
    at_once = rest.pop("agents_at_once", asked.agents_at_once)
    settings = params_apart(asked.settings) | params_apart(rest)
    about = names["algorithm"], names["env"], asked.chosen, settings, asked.log
    return make_asked(*about, at_once)


def only_somewhere(
    asked: Asked, taken: Sequence[tuple[Cell, Mapping[str, Any]]]
) -> str:
    """Which settings go to some cells only, and where; "" if none does.

    Args:
      asked: what the study is asked to do.
      taken: cells, and the settings that each takes.
    """
    told = []
    for name in params_apart(asked.settings):
        having = [cell for cell, given in taken if name in given]
        algorithms = list(dict.fromkeys(cell.algorithm for cell in having))
        if len(having) == len(taken):
            continue
        where = algorithms
        if sum(cell.algorithm in algorithms for cell, _ in taken) > len(having):
            where = [str(cell) for cell in having]
        told.append(f"{flag(name)} for {' and '.join(where)} only")
    return "; ".join(told)
