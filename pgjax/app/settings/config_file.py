"""A run written as a file: TOML that a person wrote, or the config.json of a run."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.runs.files import read_toml
from pgjax.app.runs.results import STUDY
from pgjax.app.runs.run_record import read_record
from pgjax.app.settings.notation import spelled_as_file, with_underscores
from pgjax.app.settings.presets import GENERAL, NO_SETTINGS, is_file
from pgjax.app.settings.ranges import check_int

# Arguments of `train` that say where and how, and not what.
_FLAGS = NO_SETTINGS - {"algorithm", "preset", "log", "agents_at_once"}


class ConfigFile(NamedTuple):
    """What a file asks for."""

    settings: dict[str, Any]  # by name, "algorithm" and "preset" among them
    log: list[str]  # names of loggers
    agents_at_once: int | None = None
    recorded: bool = False  # whether a run wrote it, and it says every setting


def read_config(path: pathlib.Path) -> ConfigFile:
    """Reads a run's settings.

    A TOML file has them by name, with lists of values for a grid; "algorithm",
    "preset", "log" and "agents_at_once" stand beside them.

    Raises:
      UsageError: naming the file, for what is none.
    """
    if path.suffix == ".json":
        return _of_study(path) if path.name == STUDY else _of_record(path)
    if path.suffix == ".toml":
        return _of_toml(path)
    raise UsageError(f"--config takes a .toml file or a config.json, got {path}")


def _of_record(path: pathlib.Path) -> ConfigFile:
    record = read_record(path)
    algorithm, preset, settings, grid, log = record.request
    if is_file(preset):  # which may be gone; all that it said is in the record
        preset = GENERAL
    settings = {"algorithm": algorithm, "preset": preset, **settings, **grid}
    return ConfigFile(settings, log, record.agents_at_once, recorded=True)


def _of_study(path: pathlib.Path) -> ConfigFile:
    from pgjax.app.runs.study_record import load_asked

    asked = load_asked(path)
    names = {"algorithm": asked.algorithm, "env": asked.env, "preset": asked.chosen}
    return ConfigFile({**asked.settings, **names}, asked.log, asked.agents_at_once)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_toml(path: pathlib.Path) -> ConfigFile:
    settings = with_underscores(path, read_toml(path))
    for name, value in settings.items():
        if isinstance(value, dict) and name not in ("env_arg", "env_param"):
            raise UsageError(
                f"{path} has a table [{name}]: settings stand by themselves"
            )
        if name in _FLAGS:
            given = name.replace("_", "-")
            raise UsageError(f"{path}: --{given} is a flag, and no setting of a file")
    log, at_once = settings.pop("log", []), settings.pop("agents_at_once", None)
    log = [log] if isinstance(log, str) else log
    if not isinstance(settings.get("preset", ""), str):
        told = f"{path}: preset must be a name, got {settings['preset']!r}"
        raise UsageError(told)
    for name in ("algorithm", "env"):  # of which a study has several
        value = settings.get(name, "")
        if not all(isinstance(x, str) for x in _listed(value)):
            raise UsageError(f"{path}: {name} must be a name, got {value!r}")
    if not isinstance(log, list) or not all(isinstance(x, str) for x in log):
        raise UsageError(f"{path}: log must be names of loggers, got {log!r}")
    if at_once is not None:
        with spelled_as_file(path, ["agents_at_once"]):
            check_int("agents_at_once", at_once)
    return ConfigFile(settings, log, at_once)
