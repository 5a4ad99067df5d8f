"""summary.json: what a run came to, and the checksums of the files it stands on.

It is written last, in one piece, with its own checksum: where it is, a run is complete,
and one changed digit in it, or in a file that it lists, is told by whatever reads them.
To take what was changed as it is, delete "sha256" and "files" from it. Summaries of
earlier versions have neither, and are read as they are.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from pgjax.app.errors import DamagedFileError, MissingFileError
from pgjax.app.runs.files import checksum, read_json, write_signed
from pgjax.app.runs.json_shapes import (
    COUNT,
    NUMBER,
    OBJECT,
    SCALAR,
    TEXT,
    Value,
    check_shape,
    each,
    optional,
    or_null,
)

CONFIG, METRICS, PARAMS = "config.json", "metrics.csv", "params.npz"
SUMMARY, CURVE = "summary.json", "learning_curve.png"
STUDY = "study.json"  # in the directory above those of its runs
# Of a run with evaluations while training.
EVALUATIONS, BEST_PARAMS = "evaluations.csv", "params_best.npz"
SCORES = "scores"  # a directory: what `pgjax evaluate` found
TABLES_AND_PARAMS = METRICS, PARAMS, EVALUATIONS, BEST_PARAMS
FILES = each({"bytes": COUNT, "sha256": TEXT})
_BEST = Value(
    "an object with env_steps and mean",
    lambda x: OBJECT.holds(x) and COUNT.holds(x.get("env_steps")) and "mean" in x,
)
# What is read of each agent, beside the settings of a sweep's grid.
AGENT = {
    "seed": COUNT,
    "env_steps": COUNT,
    "steps_to_solve": or_null(NUMBER),
    "greedy_return": {"mean": or_null(NUMBER)},
    "best_evaluation": optional(or_null(_BEST)),
    "best_greedy_return": optional({"mean": or_null(NUMBER)}),
    "steps_to_threshold": optional({"after": COUNT, "by": or_null(COUNT)}),
}


def write_summary(directory: pathlib.Path, summary: dict[str, Any]) -> None:
    """Writes the summary of a run or a sweep, all of whose results are there."""
    paths = [directory / name for name in (CONFIG, *TABLES_AND_PARAMS)]
    files = {path.name: checksum(path) for path in paths if path.exists()}
    write_signed(directory / SUMMARY, summary | {"files": files})


def load_summary(
    directory: pathlib.Path, names: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The summary of a run or a sweep; None if it has not finished.

    Args:
      directory: its directory.
      names: the settings of a sweep's grid.

    Raises:
      UsageError: if it is damaged.
    """
    path = directory / SUMMARY
    try:
        summary = read_json(path)
    except MissingFileError:
        return None
    agent = AGENT | dict.fromkeys(names, SCALAR)
    shape = {"solved_return": or_null(NUMBER), "agents": [agent]}
    check_shape(path, summary, shape | {"files": optional(FILES)})
    if not summary["agents"]:
        raise DamagedFileError(path, "it has no agents")
    for i, row in enumerate(summary["agents"]):
        if (row["steps_to_solve"] or 0) > row["env_steps"]:
            raise DamagedFileError(path, f"agents[{i}] has solved after its last step")
    return summary


def check_results(
    directory: pathlib.Path, summary: dict[str, Any] | None, *names: str
) -> None:
    """Sees that files of a finished run are those that it finished with.

    Raises:
      DamagedFileError: naming the first that is not.
    """
    if summary is not None and "files" in summary:
        here = "restore it; or delete sha256 and files from summary.json"
        check_files(directory, summary["files"], names, remedy=here)


def check_files(
    directory: pathlib.Path,
    files: dict[str, Any],
    names: Sequence[str],
    *,
    remedy: str,
) -> None:
    """Sees that files have the checksums that were noted of them.

    Args:
      directory: where they are.
      files: what was noted, by their names.
      names: which of them; one that was not noted must not be there.
      remedy: what to do about one that has changed.

    Raises:
      DamagedFileError: naming the first that has changed.
    """
    for name in names:
        path, noted = directory / name, files.get(name)
        if noted is None and path.exists():
            raise DamagedFileError(path, f"it was not there at the end; {remedy}")
        if noted is None:
            continue
        try:
            found = checksum(path)
        except MissingFileError:
            told = f"it is missing, and was there at the end; {remedy}"
            raise DamagedFileError(path, told) from None
        if found["bytes"] != noted["bytes"]:
            told = f"it has {found['bytes']} bytes, and had {noted['bytes']}; {remedy}"
            raise DamagedFileError(path, told)
        if found != noted:
            told = f"it was changed after it was written (sha256); {remedy}"
            raise DamagedFileError(path, told)
