"""The run directory: what a run leaves behind, in formats that any tool reads.

config.json   every setting, and the versions and devices that ran it
metrics.csv   one row per seed and update; env_steps and episodes are totals so far
checkpoints/  the whole state of training, for `pgjax train --resume`
params.npz    the parameters of all agents, one array per leaf, seeds first
summary.json  results per seed
learning_curve.png
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.metadata
import os
import pathlib
import platform
import sys
from collections.abc import Iterator
from typing import Any

import jax

import pgjax as pg
from pgjax.app.errors import MissingFileError, UsageError
from pgjax.app.runs.files import misfit_told, read_json, write_json
from pgjax.app.runs.hosts import from_first
from pgjax.app.runs.json_shapes import (
    COUNT,
    LIST,
    OBJECT,
    TEXT,
    check_shape,
    each,
    optional,
    or_null,
)
from pgjax.app.runs.results import SUMMARY
from pgjax.app.settings.config import Config, from_json
from pgjax.app.settings.signature_options import algorithm_factory

FORMAT = 1
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "gymnasium", "numpy")


def record_run(run: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes down a new run's settings, and what is running them."""
    record = {"format": FORMAT, **settings, **_circumstances()}
    write_json(run / "config.json", record)


def note_resumed(run: pathlib.Path, settings: dict[str, Any]) -> None:
    """Adds to a run's record that another process goes on with it, and as what."""
    record = load_record(run) | settings
    record["resumed"] = [*record.get("resumed", ()), _circumstances()]
    (run / SUMMARY).unlink(missing_ok=True)  # of the training before
    write_json(run / "config.json", record)


@contextlib.contextmanager
def locked(run: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from writing into a directory; they are refused.

    The lock goes with the process, however it ends.

    Raises:
      UsageError: if another process has it, or there is no such directory.
    """
    if not run.is_dir():
        raise UsageError(f"{run} is not a run directory: there is no such directory")
    directory = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(directory)
        raise UsageError(
            f"{run} is being written by another process; wait for it, or stop it"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(directory)


def locked_by_first(run: pathlib.Path) -> contextlib.ExitStack:
    """`locked`, by the first of several processes; all are told if it cannot be."""
    stack = contextlib.ExitStack()
    from_first(lambda: stack.enter_context(locked(run)))
    return stack


def _circumstances() -> dict[str, Any]:
    return {
        "command": ["pgjax", *sys.argv[1:]],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "python": platform.python_version(),
        "devices": [str(device.device_kind) for device in jax.devices()],
    }


def versions() -> dict[str, str | None]:
    """The versions of what results depend on; None for what is not installed."""
    return {"pgjax": pg.__version__} | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def load_config(run: pathlib.Path) -> Config:
    """The config of a run of `pgjax train`.

    Raises:
      UsageError: if the directory is not such a run, or one of a newer format.
    """
    record = load_record(run)
    if "sweep" in record:
        raise UsageError(f"{run} is a sweep, and this needs a run of `pgjax train`")
    with misfit_told(run / "config.json"):
        return from_json(record["config"])


# What a record must hold, whatever wrote it; the settings are checked where they are
# used.
_RECORD = {
    "command": optional([TEXT]),
    "started": optional(TEXT),
    "versions": optional(each(or_null(TEXT))),
    "python": optional(TEXT),
    "devices": optional([TEXT]),
    "log": optional([TEXT]),
    "resumed": optional([OBJECT]),
}
_OF_A_RUN = _RECORD | {"config": OBJECT}
_OF_A_SWEEP = _RECORD | {
    "sweep": {"grid": each(LIST), "log": optional([TEXT])},
    "groups": [OBJECT],
}


def load_record(run: pathlib.Path) -> dict[str, Any]:
    """What `record_run` wrote.

    Raises:
      UsageError: if the directory is not a run, or one of a newer format.
    """
    path = run / "config.json"
    try:
        record = read_json(path)
    except MissingFileError:
        raise UsageError(
            f"{run} is not a run directory: it has no config.json; "
            "`pgjax train` and `pgjax sweep` make one"
        ) from None
    check_shape(path, record, {"format": COUNT})
    if record["format"] != FORMAT:
        raise UsageError(
            f"{path} has format {record['format']}, this pgjax reads {FORMAT}; "
            "use the pgjax that wrote it"
        )
    check_shape(path, record, _OF_A_SWEEP if "sweep" in record else _OF_A_RUN)
    return record


def algorithm_of(run: pathlib.Path) -> str:
    """The name of the algorithm of a run or a sweep.

    Raises:
      UsageError: if it is none, or does not say.
    """
    record = load_record(run)
    place = "sweep" if "sweep" in record else "config"
    with misfit_told(run / "config.json"):
        algorithm = record[place]["algorithm"]
        algorithm_factory(algorithm)  # tells of one that there is not
    return algorithm
