"""The table of environments that `pgjax envs` prints."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

import pgjax as pg
from pgjax.lab.presets import PRESETS
from pgjax.lab.real_gymnasium import TWINS

# Those that cannot be made everywhere, and why.
NOTES = {
    "MNISTBandit-bsuite": "gymnax downloads its images whenever it is made, "
    "which needs a network",
}


def print_environments() -> int:
    """Prints every environment: its spaces, its limit, and what is tuned for it."""
    table = Table(title="environments", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("name", "observations", "actions"):
        table.add_column(column, no_wrap=True)
    table.add_column("time\nlimit", justify="right")
    table.add_column("presets of")
    table.add_column("real\nGymnasium")
    notes = dict(NOTES)
    for name in pg.env_names():
        twin = "yes" if name in TWINS else ""
        try:
            facts = _facts(name)
        except ValueError as error:  # one that a user has registered
            facts, notes[name] = ("", "", ""), str(error)
        table.add_row(name, *facts, _presets(name), twin)
    console = Console(highlight=False)
    console.print(table)
    for name, note in notes.items():
        console.print(f"{name}: {note}", soft_wrap=True)
    return 0


def _facts(name: str) -> tuple[str, str, str]:
    if name in NOTES:
        return "", "", ""
    env = pg.make_env(name)
    spaces = _describe(env.observation_space), _describe(env.action_space)
    return *spaces, f"{env.max_steps:,}"


def _describe(space: Any) -> str:
    if isinstance(space, pg.Discrete):
        return f"{space.n} choices"
    shape = " x ".join(map(str, space.shape)) or "1"
    kind = "image" if len(space.shape) == 3 else "real"
    return f"{shape} {kind}" if math.prod(space.shape) != 1 else "1 real"


def _presets(name: str) -> str:
    return " ".join(
        algorithm
        for algorithm, presets in PRESETS.items()
        if any(settings.get("env", key) == name for key, settings in presets.items())
    )
