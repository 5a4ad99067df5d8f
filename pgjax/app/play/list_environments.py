"""The table of environments that `pgjax envs` prints."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.table import Table

import pgjax as pg
from pgjax.app import output
from pgjax.app.settings.config import SOLVED_RETURNS
from pgjax.app.settings.presets import PRESETS
from pgjax.app.shown_names import one_line

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


def print_environments() -> int:
    """Prints every environment: its spaces, its limit, and what is tuned for it."""
    table = Table(title="environments", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("name", "observations", "actions"):
        table.add_column(column, no_wrap=True)
    table.add_column("time\nlimit", justify="right")
    table.add_column("solved\nabove", justify="right")
    table.add_column("presets of (or --preset)")
    table.add_column("real\nGymnasium")
    notes = dict(NOTES)
    for name in pg.env_names():
        twin = "yes" if name in TWINS else ""
        try:
            facts = _facts(name)
        except ValueError as error:  # one that a user has registered
            facts, notes[name] = ("", "", ""), str(error)
        solved = f"{SOLVED_RETURNS[name]:g}" if name in SOLVED_RETURNS else ""
        table.add_row(one_line(name), *facts, solved, _presets(name), twin)
    console = output.console()
    console.print(table)
    for name, note in notes.items():
        console.print(one_line(f"{name}: {note}"), soft_wrap=True)
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
    """Which algorithms have settings for it, and the names of those to ask for."""
    found = []
    for algorithm, presets in PRESETS.items():
        if name in presets:
            found.append(algorithm)
        named = [key for key, x in presets.items() if x.get("env") == name]
        found += [f"({algorithm} --preset {key})" for key in named]
    return " ".join(found)
