"""Settings under a name, by algorithm: a file for each task in pgjax/app/presets/.

`article.toml` is the preset "article", `brax/ant.toml` would be "brax:ant". A file has
a table for each algorithm that it has settings for. One without `env` is named after
its environment, which it is the default of. `--preset FILE.toml` takes a person's own.
"""

from __future__ import annotations

import contextlib
import copy
import pathlib
import tomllib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pgjax
from pgjax._internal.names import unknown_name
from pgjax.app.errors import UsageError
from pgjax.app.runs.files import read_toml
from pgjax.app.settings.notation import spelled_as_file, with_underscores

DEFAULT_ENV = "CartPole-v1"
FOLDER = pathlib.Path(__file__).parents[1] / "presets"
# What every other preset of an algorithm starts from.
GENERAL = "general"
# Arguments of `train` that say what is trained from which preset, where and how.
NO_SETTINGS = frozenset(
    {
        *("algorithm", "preset", "config", "resume", "out", "log", "quiet"),
        *("agents_at_once", "checkpoint_every", "devices", "distributed"),
        *("coordinator", "num_processes", "process_id"),
    }
)

Settings = dict[str, Any]


class PresetFile(NamedTuple):
    """A user's own preset, as it was when it was read."""

    path: str
    tables: dict[str, Settings]  # by algorithm

    def of(self, algorithm: str) -> Settings:
        """The settings that it has for an algorithm, by their names.

        Raises:
          UsageError: if it has none, or one that cannot be.
        """
        path, tables = pathlib.Path(self.path), self.tables
        if algorithm not in tables:
            has = ", ".join(f"[{name}]" for name in tables) or "nothing"
            raise UsageError(f"{path} has no settings of [{algorithm}]: it has {has}")
        return with_underscores(path, tables[algorithm])


def read_folder(folder: pathlib.Path) -> dict[str, dict[str, Settings]]:
    """Presets by algorithm and by name, "general" first."""
    paths = sorted(folder.rglob("*.toml"), key=_place)
    presets: dict[str, dict[str, Settings]] = {}
    for path in paths:
        name = ":".join(path.relative_to(folder).with_suffix("").parts)
        for algorithm, settings in tomllib.loads(path.read_text("utf-8")).items():
            presets.setdefault(algorithm, {})[name] = settings
    return presets


def _place(path: pathlib.Path) -> tuple[bool, str]:
    return path.stem != GENERAL, str(path.with_suffix(""))


PRESETS = read_folder(FOLDER)


def presets() -> dict[str, dict[str, Settings]]:
    """The settings that have a name, by algorithm and name.

    "general" is what every other one of its algorithm starts from. The rest are
    defaults; `preset` has both together.

    >>> print(*presets()["trpo"])
    general CartPole-v1
    """
    return copy.deepcopy(PRESETS)


def preset(algorithm: str = "reinforce", name: str = "default") -> Settings:
    """Every setting that `pg.app.train(algorithm, preset=name)` trains with.

    Args:
      algorithm: the name of one in `pgjax.algorithms`.
      name: of a preset; "default" for that of CartPole-v1, or else "general"; or a
        file of your own, whose name ends in .toml.

    Returns:
      Settings by name, as JSON has them: the run's and the algorithm's own.

    Raises:
      UsageError: for a name that is not known, or a file that is none.

    >>> print(preset("reinforce", "article")["hidden"])
    [128]
    """
    from pgjax.app.settings.run_settings import make_config, to_settings

    return to_settings(make_config(algorithm, name, {}))


def choose_preset(
    algorithm: str, preset: str | PresetFile, env: str | None
) -> tuple[str, dict[str, Any]]:
    """The preset's name and settings.

    Args:
      algorithm: its name.
      preset: a preset's name; "default" for the environment's own, or else "general";
        or a file of the user's own, or what was read from one.
      env: the environment that was asked for, if one was.

    Raises:
      UsageError: for a name that is not known, or a file that is none.
    """
    presets = PRESETS.get(algorithm, {})
    general = presets.get(GENERAL, {})
    if not isinstance(preset, PresetFile) and is_file(preset):
        preset = read_preset(preset)
    if isinstance(preset, PresetFile):
        return preset.path, general | preset.of(algorithm)
    if preset == "default":
        preset = env or DEFAULT_ENV
        preset = preset if preset in presets else GENERAL
    if preset == GENERAL:
        return preset, general
    if preset not in presets:
        raise UsageError(
            f"unknown preset {preset!r} of {algorithm}; choose from "
            f"{', '.join(presets)}, or a .toml file of your own"
        )
    return preset, {"env": preset, **general, **presets[preset]}


def is_file(preset: str) -> bool:
    """Whether a preset is a file of the user's own."""
    return preset.endswith(".toml")


@contextlib.contextmanager
def told_by_preset(
    preset: str, names: Collection[str], given: Collection[str]
) -> Iterator[None]:
    """Errors about what a user's own preset says name its file.

    Args:
      preset: its name.
      names: of its settings.
      given: those that were given beside it.
    """
    if is_file(preset):
        with spelled_as_file(pathlib.Path(preset), names, given):
            yield
    else:
        yield


def read_preset(name: str) -> PresetFile:
    """A user's own preset, every setting of which is one of its algorithm.

    Args:
      name: its path.

    Raises:
      UsageError: naming the file, for what is no preset, or has a value that a setting
        cannot have.
    """
    path = pathlib.Path(name)
    tables = read_toml(path)
    check_tables(path, tables)
    return PresetFile(name, tables)


def check_tables(path: pathlib.Path, tables: dict[str, Any]) -> None:
    """Sees that tables of settings are a preset.

    Args:
      path: the file that has them.
      tables: by algorithm.

    Raises:
      UsageError: naming the file, for what is no preset.
    """
    for algorithm, settings in tables.items():
        _check_table(path, algorithm, settings)
        _check_settings(path, algorithm, settings)


def _check_table(path: pathlib.Path, name: str, content: Any) -> None:
    """Raises UsageError for what is no table of an algorithm."""
    known = pgjax.algorithms.__all__
    if name in known and not isinstance(content, dict):
        raise UsageError(
            f"{path}: {name} must be a table of settings, [{name}], got {content!r}"
        )
    if not isinstance(content, dict):
        raise UsageError(
            f"{path} has {name} outside of any table: a preset's settings stand under "
            "an algorithm's name, such as [ppo]"
        )
    if name not in known:
        raise UsageError(f"{path}: {unknown_name('unknown algorithm', name, known)}")


def _check_settings(path: pathlib.Path, algorithm: str, table: Settings) -> None:
    """Raises UsageError for a setting that there is not, or that cannot be."""
    from pgjax.app.settings.run_settings import check_each

    settings = with_underscores(path, table)
    for name in settings:
        if name in NO_SETTINGS:
            raise UsageError(
                f"{path}: {name} is no setting of a preset: [{algorithm}] has settings "
                f"of the run and of {algorithm} only"
            )
    with spelled_as_file(path, settings):
        check_each(algorithm, settings)
