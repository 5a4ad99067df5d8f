"""The parts of a sweep: what each finished batch gave, until all are put together.

parts/NNN/rows.json     written last: a row per agent, the settings that they were
                        trained with, and the checksums of the other files
parts/NNN/metrics.csv
parts/NNN/params.npz
parts/damaged-NNN/      one that was not what was written, set aside and trained again
"""

from __future__ import annotations

import itertools
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

from pgjax.app.errors import DamagedFileError, MissingFileError, UsageError
from pgjax.app.runs import metrics_reader
from pgjax.app.runs.files import checksum, read_json, write_signed, write_whole
from pgjax.app.runs.json_shapes import OBJECT, SCALAR, check_shape, or_null
from pgjax.app.runs.results import AGENT, FILES, check_files
from pgjax.app.settings.grid import Agents
from pgjax.app.shown_names import as_argument

ROWS, METRICS, PARAMS = "rows.json", "metrics.csv", "params.npz"
Rows = list[dict[str, Any]]


class Part(NamedTuple):
    """Where a batch's results are, and what they must be of."""

    directory: pathlib.Path
    settings: dict[str, Any]  # of its group, as JSON data
    agents: Agents


def write_rows(part: Part, rows: Rows) -> None:
    """Says that a part is finished; its other files are there already."""
    paths = [part.directory / name for name in (METRICS, PARAMS)]
    files = {path.name: checksum(path) for path in paths if path.exists()}
    record = {"settings": part.settings, "rows": rows, "files": files}
    write_signed(part.directory / ROWS, record)


def load_rows(part: Part) -> Rows | None:
    """The rows of a part, all of whose files are as they were; None if not finished.

    Raises:
      DamagedFileError: naming the file that is not what was written, or is of other
        agents.
      UsageError: for one that cannot be read.
    """
    path = part.directory / ROWS
    try:
        record = read_json(path)
    except MissingFileError:
        return None
    names = list(part.agents.labels)
    agent = {**AGENT, "diverged": or_null(OBJECT), **dict.fromkeys(names, SCALAR)}
    check_shape(path, record, {"settings": OBJECT, "rows": [agent], "files": FILES})
    if record["settings"] != part.settings:
        raise DamagedFileError(path, "it is of other settings, or another sweep")
    keys = "seed", *names
    found = [tuple(str(row[name]) for name in keys) for row in record["rows"]]
    columns = part.agents.seeds, *part.agents.labels.values()
    expected = [tuple(map(str, agent)) for agent in zip(*columns, strict=True)]
    if found != expected:
        told = f"it has {len(found)} agents, and not the {len(expected)} of this part"
        raise DamagedFileError(path, told)
    again = "the part must be trained again"
    if PARAMS not in record["files"]:
        raise DamagedFileError(path, f"it lists no {PARAMS}")
    check_files(part.directory, record["files"], (METRICS, PARAMS), remedy=again)
    return record["rows"]


def set_aside(part: Part) -> pathlib.Path:
    """Gives a damaged part another name, so that the batch can be trained again."""
    directory = part.directory
    names = (f"damaged-{directory.name}{'+' * i}" for i in itertools.count())
    free = (directory.with_name(name) for name in names)
    aside = next(path for path in free if not path.exists())
    return directory.rename(aside)


def put_together(parts: Sequence[Part], directory: pathlib.Path) -> Rows:
    """Merges the metrics and copies the parameters; returns the rows of all agents.

    All parts are looked at before anything is written, and none is removed.

    Raises:
      UsageError: naming the file that is missing or damaged, and what to do.
    """
    rows = []
    for part in parts:
        try:
            own = load_rows(part)
            if own is None:
                raise MissingFileError(part.directory / ROWS)
        except UsageError as error:
            command = f"pgjax sweep --resume {as_argument(directory)}"
            raise UsageError(
                f"{error}; `{command}` trains that part again; nothing was removed"
            ) from error
        rows += own
    merged = [part.directory / METRICS for part in parts]
    if any(table.exists() for table in merged):  # or --log none
        metrics_reader.merge(merged, directory / METRICS)
    (directory / "params").mkdir(exist_ok=True)
    for part in parts:
        copied = directory / "params" / f"{part.directory.name}.npz"
        _copy(part.directory / PARAMS, copied)
    return rows


def _copy(path: pathlib.Path, to: pathlib.Path) -> None:
    with path.open("rb") as file:
        write_whole(to, lambda out: shutil.copyfileobj(file, out))
