"""The tables that `pgjax envs` prints: environments, and where to get more."""

from __future__ import annotations

import importlib.metadata
import math
from typing import Any

import pgjax as pg
from pgjax._internal.installing import install
from pgjax._internal.names import unknown_name
from pgjax._internal.spaces import spaces_of
from pgjax.app import table_formats, tables
from pgjax.app.errors import UsageError
from pgjax.app.settings.presets import PRESETS
from pgjax.app.settings.run_settings import SOLVED_RETURNS
from pgjax.app.tables import Column, Format, Table
from pgjax.envs.suites import adapter, suite_names

# Those that Gymnasium has under the same name and with the same rules.
TWINS = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
)
# Those that cannot be made everywhere, and why.
NOTES = {
    "MNISTBandit-bsuite": "gymnax downloads its images whenever it is made, "
    "which needs a network",
}


def print_environments(suite: str | None = None, *, format: Format = "text") -> int:
    """Prints gymnax's environments and the other suites, or the names of a suite.

    Args:
      suite: one of the other suites; its names alone are printed.
      format: text for people; json, csv or latex, with nothing else on stdout.
    """
    if suite is None:
        found = [environments_table(), suites_table()]
    else:
        found = [names_table(suite)]
    if format == "text":
        for table in found:
            tables.print_table(table)
    else:
        table_formats.write(format, found, {"named_presets": _named()})
    return 0


def environments_table() -> Table:
    """A row for each environment."""
    rows, notes = [], dict(NOTES)
    for name in pg.env_names():
        try:
            facts = _facts(name)
        except ValueError as error:  # one that a user has registered
            facts, notes[name] = ("", "", None), str(error)
        solved = SOLVED_RETURNS.get(name)
        rows.append([name, *facts, solved, _presets(name), name in TWINS])
    columns = [
        Column("name", "name", left=True),
        Column("observations", "observations", left=True),
        Column("actions", "actions", left=True),
        Column("time_limit", "time\nlimit", ",d"),
        Column("solved_above", "solved\nabove", "g"),
        Column("presets", "presets of", left=True),
        Column("gymnasium", "real\nGym."),
    ]
    told = [f"{name}: {note}" for name, note in notes.items()]
    named = ", ".join(f"{words} ({env})" for words, env in _named().items())
    told.append(f"Presets to be asked for: {named}. Real Gym.: in Gymnasium as well.")
    return Table("environments", columns, rows, told, "environments")


def suites_table() -> Table:
    """A row for each of the other suites, whether it is installed or not."""
    rows = [[name, _version(name), install(name)] for name in suite_names()]
    columns = [
        Column("name", "suite", left=True),
        Column("version", "installed", left=True),
        Column("install", "what installs it", left=True),
    ]
    told = ["`pgjax envs SUITE` lists a suite's names; train on one as SUITE:NAME."]
    return Table("other suites", columns, rows, told, "suites")


def names_table(suite: str) -> Table:
    """A row for each environment of another suite.

    Raises:
      UsageError: for a suite that there is not, or that cannot be imported.
    """
    if suite not in suite_names():
        raise UsageError(unknown_name("unknown suite", suite, suite_names()))
    try:
        names = sorted(adapter(suite).names())
    except ImportError as error:
        raise UsageError(str(error)) from error
    rows = [[f"{suite}:{name}", _presets(f"{suite}:{name}")] for name in names]
    columns = [
        Column("name", "name", left=True),
        Column("presets", "presets of", left=True),
    ]
    return Table(f"environments of {suite}", columns, rows, [], "environments")


def _version(suite: str) -> str:
    """Of the package, which has the suite's name; or "no"."""
    try:
        return importlib.metadata.version(suite)
    except importlib.metadata.PackageNotFoundError:
        return "no"


def _facts(name: str) -> tuple[str, str, int | None]:
    if name in NOTES:
        return "", "", None
    env = pg.make_env(name)
    spaces = _describe(env.observation_space), _describe(env.action_space)
    return *spaces, env.max_steps


def _describe(space: Any) -> str:
    return ", ".join(map(_describe_one, spaces_of(space)))


def _describe_one(space: Any) -> str:
    if isinstance(space, pg.Discrete):
        return f"{space.n} choices"
    shape = "x".join(map(str, space.shape)) or "1"
    kind = "image" if len(space.shape) == 3 else "real"
    return f"{shape} {kind}" if math.prod(space.shape) != 1 else "1 real"


def _presets(name: str) -> str:
    """Which algorithms have settings for it."""
    return " ".join(of for of, presets in PRESETS.items() if name in presets)


def _named() -> dict[str, str]:
    """The environment of each preset that is to be asked for, by its flags."""
    return {
        f"{algorithm} --preset {key}": preset["env"]
        for algorithm, presets in PRESETS.items()
        for key, preset in presets.items()
        if key not in pg.env_names() and "env" in preset
    }
