"""The batches of a run: agents that train side by side, in a directory of their own.

batches/NNN/checkpoints/  the whole state of their training
batches/NNN/metrics.csv   a row per agent, by its place in the batch, and logged update
batches/NNN/params.npz    their parameters, when training was stopped or complete
batches/NNN/params_best.npz, evaluations.csv   with --eval-every: the best of each, and
                          a row per evaluation
batches/NNN/rows.json     written last: a row per agent, what they were trained with,
                          and the checksums of the other files
batches/damaged-NNN/      one that was not what was written, set aside, trained again

They stay, so that a run can be given more seeds, values and steps. Whoever deletes them
keeps its results, and can only read it.
"""

from __future__ import annotations

import itertools
import pathlib
from typing import Any, NamedTuple

from pgjax.app.errors import DamagedFileError, MissingFileError, UsageError
from pgjax.app.runs.files import checksum, read_json, write_signed
from pgjax.app.runs.json_shapes import NUMBER, OBJECT, check_shape, optional, or_null
from pgjax.app.runs.results import (
    AGENT,
    BEST_PARAMS,
    EVALUATIONS,
    FILES,
    METRICS,
    PARAMS,
    TABLES_AND_PARAMS,
    check_files,
)
from pgjax.app.settings.run_settings import LATER

BATCHES, ROWS, CHECKPOINTS = "batches", "rows.json", "checkpoints"


class Store(NamedTuple):
    """Where a batch is recorded, and what it must be of."""

    directory: pathlib.Path
    settings: dict[str, Any]  # as of `agent_descriptions.trained_with`
    seeds: list[int]  # of its agents

    @property
    def metrics(self) -> pathlib.Path:
        """Its table."""
        return self.directory / METRICS

    @property
    def params(self) -> pathlib.Path:
        """Its parameters."""
        return self.directory / PARAMS

    @property
    def best_params(self) -> pathlib.Path:
        """The best of its parameters."""
        return self.directory / BEST_PARAMS

    @property
    def evaluations(self) -> pathlib.Path:
        """Its table of evaluations while training."""
        return self.directory / EVALUATIONS

    @property
    def needed(self) -> tuple[str, ...]:
        """The files of results that it has in any case."""
        evaluated = self.settings["config"].get("eval_every") is not None
        return (PARAMS, BEST_PARAMS) if evaluated else (PARAMS,)

    @property
    def has_checkpoints(self) -> bool:
        """Whether training can go on where it was."""
        found = (self.directory / CHECKPOINTS).glob("*")
        return any(path.name.isdigit() for path in found)


class Spent(NamedTuple):
    """Seconds that processes have spent on a run, one after the other."""

    age: float = 0.0  # since each was started
    compiling: float = 0.0  # what training needs

    def at_least(self, other: Spent) -> Spent:
        """The later of two."""
        return Spent(*map(max, self, other))


class Finished(NamedTuple):
    """What a batch came to."""

    rows: list[dict[str, Any]]  # of its agents, as `summary.agent_rows`
    seconds: float  # spent training, by all processes that did
    # Until then, by all processes, for the whole run.
    age: float
    compiling: float = 0.0
    evaluating: float = 0.0  # seconds of evaluations while training, of this batch


def write_finished(store: Store, finished: Finished) -> None:
    """Says that a batch is finished; its other files are there already."""
    paths = [store.directory / name for name in TABLES_AND_PARAMS]
    files = {path.name: checksum(path) for path in paths if path.exists()}
    record = {"settings": store.settings, **finished._asdict(), "files": files}
    write_signed(store.directory / ROWS, record)


def load_finished(store: Store) -> Finished | None:
    """What a batch came to; None if it is not finished, or is to train further.

    Raises:
      DamagedFileError: naming the file that is not what was written, or is of other
        agents.
      UsageError: for one that cannot be read.
    """
    path = store.directory / ROWS
    try:
        record = read_json(path)
    except MissingFileError:
        return None
    agent = {**AGENT, "diverged": or_null(OBJECT)}
    shape = {"settings": OBJECT, "rows": [agent], "files": FILES}
    shape |= {"seconds": NUMBER, "age": NUMBER}
    shape |= dict.fromkeys(("compiling", "evaluating"), optional(NUMBER))
    check_shape(path, record, shape)
    then, now = (_without_steps(x) for x in (record["settings"], store.settings))
    if then != now:
        raise DamagedFileError(path, "it is of other settings, or another run")
    if [row["seed"] for row in record["rows"]] != store.seeds:
        told = f"it has {len(record['rows'])} agents, and not the {len(store.seeds)} of"
        raise DamagedFileError(path, f"{told} this batch")
    steps = (x["config"]["steps"] for x in (record["settings"], store.settings))
    if len(set(steps)) > 1:  # its tables may have grown by now
        return None
    for name in store.needed:
        if name not in record["files"]:
            raise DamagedFileError(path, f"it lists no {name}")
    again = "the batch must be trained again"
    check_files(store.directory, record["files"], TABLES_AND_PARAMS, remedy=again)
    spent = (record.get(name, 0.0) for name in ("compiling", "evaluating"))
    return Finished(record["rows"], record["seconds"], record["age"], *spent)


def spent_until(store: Store) -> Spent:
    """What a run had taken at the end of a batch; nothing if it has none."""
    try:
        record = read_json(store.directory / ROWS)
        age, compiling = record["age"], record.get("compiling", 0.0)
        return Spent(max(0.0, float(age)), max(0.0, float(compiling)))
    except (UsageError, AttributeError, KeyError, TypeError, ValueError):
        return Spent()


def _without_steps(settings: dict[str, Any]) -> dict[str, Any]:
    config = settings.get("config")
    if not isinstance(config, dict):
        return settings
    config = {name: x for name, x in config.items() if name != "steps"}
    return settings | {"config": LATER | config}


def set_aside(store: Store) -> pathlib.Path:
    """Gives a damaged batch another name, so that it can be trained again."""
    directory = store.directory
    names = (f"damaged-{directory.name}{'+' * i}" for i in itertools.count())
    free = (directory.with_name(name) for name in names)
    aside = next(path for path in free if not path.exists())
    return directory.rename(aside)
