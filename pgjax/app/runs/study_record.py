"""study.json: what a study is asked to do, in the directory of its runs.

    study.json          "algorithm", "env", "preset", "settings", "log"; of a
                        user's own preset, what it says, as "preset_tables"
    ppo-CartPole-v1/    a run, as `run_record` describes it
    ppo-Acrobot-v1/     ...

Spaces, parameters and columns of metrics differ between algorithms and environments, so
each pair has the directory of a run; `compare`, `report` and `evaluate` take them all.
"""

from __future__ import annotations

import pathlib

from pgjax.app.errors import DamagedFileError, UsageError
from pgjax.app.runs.files import misfit_told, read_json, write_json
from pgjax.app.runs.json_shapes import (
    COUNT,
    OBJECT,
    TEXT,
    check_shape,
    optional,
    or_null,
)
from pgjax.app.runs.results import STUDY, SUMMARY
from pgjax.app.settings.cells import Asked, cells_of, make_asked
from pgjax.app.settings.notation import spelled_as_file
from pgjax.app.settings.presets import check_tables, is_file
from pgjax.app.shown_names import as_argument

FORMAT = 1
_SHAPE = {
    "format": COUNT,
    "algorithm": [TEXT],
    "env": [TEXT],
    "preset": TEXT,
    "settings": OBJECT,
    "log": [TEXT],
    "agents_at_once": or_null(COUNT),
    "preset_tables": optional(OBJECT),
}


def write_asked(study: pathlib.Path, asked: Asked) -> None:
    """Writes down what a study is asked to do."""
    content = {"format": FORMAT, **asked._asdict()}
    if asked.preset_tables is None:
        del content["preset_tables"]
    write_json(study / STUDY, content)


def is_study(directory: pathlib.Path) -> bool:
    """Whether it is the directory of a study."""
    return (directory / STUDY).is_file()


def load_asked(path: pathlib.Path) -> Asked:
    """What a study is asked to do.

    Args:
      path: of its study.json.

    Raises:
      UsageError: if it is none, or one of a newer format.
    """
    content = read_json(path)
    check_shape(path, content, _SHAPE)
    if content["format"] != FORMAT:
        raise UsageError(
            f"{path} has format {content['format']}, this pgjax reads {FORMAT}; use "
            "the pgjax that wrote it"
        )
    with misfit_told(path):
        asked = Asked(*(content.get(name) for name in Asked._fields))
        if asked.preset_tables is not None:
            check_tables(path, asked.preset_tables)
        elif is_file(asked.preset):
            raise DamagedFileError(path, f"it lacks what {asked.preset} said")
        if not asked.env:
            raise DamagedFileError(path, "env has no names")
        if "env" in asked.settings:
            told = "settings has env, too: environments stand beside settings only"
            raise DamagedFileError(path, told)
        names = asked.algorithm, asked.env, asked.chosen, asked.settings
        with spelled_as_file(path, content.keys() | asked.settings.keys()):
            return make_asked(*names, asked.log, asked.agents_at_once)


def runs_of_record(study: pathlib.Path) -> list[tuple[pathlib.Path, bool]]:
    """The directory of each run that a study is asked for, and whether it is complete.

    Raises:
      UsageError: if the record is damaged.
    """
    cells = cells_of(load_asked(study / STUDY))
    runs = [study / cell.name for cell in cells]
    return [(path, (path / SUMMARY).exists()) for path in runs]


def runs_of(directory: pathlib.Path) -> list[pathlib.Path]:
    """The directories of a study's runs, all complete; of a run, its own.

    Raises:
      UsageError: if some of a study have not finished.
    """
    if not is_study(directory):
        return [directory]
    found = runs_of_record(directory)
    runs = [path for path, _ in found]
    complete = [path for path, is_complete in found if is_complete]
    if len(complete) < len(runs):
        told = f"{len(complete)} of its {len(runs)} runs are complete"
        if complete:
            told += f", such as {as_argument(complete[0])}"
        raise UsageError(
            f"{directory} has not finished: {told}; `pgjax train --resume "
            f"{as_argument(directory)}` goes on"
        )
    return runs
