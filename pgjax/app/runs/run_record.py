"""config.json: what a run was asked to do, and what has carried it out.

    "algorithm", "preset", "settings", "grid"    what `pgjax train --config` reads
    "batches"                                    who trains side by side
    "env_code"                                   SHA-256 of your environment's module
    "log", "command", "started", "versions", "python", "git", "devices", "resumed"

Beside it in the run's directory are

    metrics.csv         a row per agent and logged update
    params.npz          the parameters of all agents, one array per leaf, agents first
    params_best.npz     with --eval-every, the best of each
    evaluations.csv     likewise, a row per agent and evaluation while training
    summary.json        what each agent came to; see `pgjax.app.runs.results`
    learning_curve.png  of a run without a grid
    batches/            all that going on needs; see `pgjax.app.runs.batches`
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
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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
from pgjax.app.runs.results import CONFIG, CURVE, STUDY, SUMMARY, TABLES_AND_PARAMS
from pgjax.app.runs.revisions import revisions
from pgjax.app.settings.make_env import source_digest
from pgjax.app.settings.plan import Plan, Ranges
from pgjax.app.settings.request import Request
from pgjax.app.settings.run_settings import LATER, with_new_names
from pgjax.app.settings.signature_options import algorithm_factory

FORMAT = 2
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "gymnasium", "numpy")


class Record(NamedTuple):
    """What config.json says."""

    request: Request
    batches: list[Ranges]  # empty where a version before 0.2.0 wrote it
    agents_at_once: int | None  # that a user allowed
    content: dict[str, Any]  # all of it


def record_run(run: pathlib.Path, plan: Plan) -> None:
    """Writes down a new run's settings, and what is running them."""
    write_json(run / CONFIG, {"format": FORMAT, **_asked(plan), **_circumstances()})


def note_resumed(run: pathlib.Path, plan: Plan) -> None:
    """Adds to a run's record that another process goes on with it, and as what."""
    before = load_record(run)
    (run / SUMMARY).unlink(missing_ok=True)  # of the training before
    if before.batches != plan.ranges or before.request.grid != plan.request.grid:
        for name in (*TABLES_AND_PARAMS, CURVE):  # of other agents
            (run / name).unlink(missing_ok=True)
    record = before.content | _asked(plan)
    record["resumed"] = [*record.get("resumed", ()), _circumstances()]
    write_json(run / CONFIG, record)


def code_changed(content: Mapping[str, Any]) -> str | None:
    """What to say where the module of a run's environment is another than it was.

    Args:
      content: of config.json.
    """
    before = content.get("env_code")
    if before is None:  # no module, or a record of before 0.2
        return None
    env = content["settings"].get("env")
    if source_digest(env) in (None, before):
        return None
    return (
        f"the module of {env} has changed since the run began: what was trained before "
        "knew another"
    )


def _asked(plan: Plan) -> dict[str, Any]:
    own: dict[str, Any] = {"batches": plan.ranges}
    own["agents_at_once"] = plan.agents_at_once
    own["env_code"] = source_digest(plan.groups[0].config.env)
    return plan.request._asdict() | own


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
        "git": revisions(),
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


# What a record must hold, whatever wrote it; the settings are checked where they are
# used.
_RECORD = {
    "command": optional([TEXT]),
    "started": optional(TEXT),
    "versions": optional(each(or_null(TEXT))),
    "python": optional(TEXT),
    "git": optional(OBJECT),
    "devices": optional([TEXT]),
    "log": optional([TEXT]),
    "resumed": optional([OBJECT]),
    "env_code": optional(or_null(TEXT)),
}
_REQUEST = {
    "algorithm": TEXT,
    "preset": TEXT,
    "settings": OBJECT,
    "grid": each(LIST),
    "log": [TEXT],
    "batches": [TEXT],
    "agents_at_once": or_null(COUNT),
}
# Of versions before 0.2.0, a run and a sweep.
_RUN_BEFORE = {"config": {"algorithm_options": OBJECT}}
_SWEEP_BEFORE = {
    "sweep": {"grid": each(LIST), "log": optional([TEXT])},
    "groups": [{"algorithm_options": OBJECT}],
}


def load_record(run: pathlib.Path) -> Record:
    """What `record_run` wrote.

    Raises:
      UsageError: if the directory is not a run, or one of a newer format.
    """
    try:
        return read_record(run / CONFIG)
    except MissingFileError:
        if (run / STUDY).exists():
            runs = sorted(path.parent.name for path in run.glob(f"*/{CONFIG}"))
            raise UsageError(
                f"{run} is a study: name one of its runs, {', '.join(runs) or 'none'}"
            ) from None
        raise UsageError(
            f"{run} is not a run directory: it has no {CONFIG}; "
            "`pgjax train` and `pgjax sweep` make one"
        ) from None


def read_record(path: pathlib.Path) -> Record:
    """What a run's config.json says, wherever it is.

    Raises:
      UsageError: if it is none, or one of a newer format.
    """
    content = read_json(path)
    check_shape(path, content, {"format": COUNT, **_RECORD})
    if content["format"] not in (1, FORMAT):
        raise UsageError(
            f"{path} has format {content['format']}, this pgjax reads {FORMAT}; "
            "use the pgjax that wrote it"
        )
    if content["format"] == 1:
        return _record_before(path, content)
    check_shape(path, content, _REQUEST)
    content = content | {"settings": with_new_names(content["settings"])}
    request = Request(*(content[name] for name in Request._fields))
    request = request._replace(settings=LATER | request.settings)
    with misfit_told(path):
        _check_axes(request)
    return Record(request, content["batches"], content["agents_at_once"], content)


def _check_axes(request: Request) -> None:
    """Raises UsageError for axes without values, or that are settings as well."""
    algorithm_factory(request.algorithm)  # tells of one that there is not
    for name, values in request.grid.items():
        if not values or name in request.settings:
            raise UsageError(f"the grid's {name} is no list of values of its own")
    if type(request.settings.get("seeds")) is not int:
        raise UsageError("it does not say how many seeds")


def _record_before(path: pathlib.Path, content: dict[str, Any]) -> Record:
    """What a version before 0.2.0 wrote, whose runs are read and not resumed."""
    is_sweep = "sweep" in content
    check_shape(path, content, _SWEEP_BEFORE if is_sweep else _RUN_BEFORE)
    grid = content["sweep"]["grid"] if is_sweep else {}
    with misfit_told(path):
        config = content["groups"][0] if is_sweep else content["config"]
        options = config["algorithm_options"]
        own = "algorithm", "preset", "algorithm_options"
        settings = {k: x for k, x in config.items() if k not in own} | options
        settings = LATER | with_new_names(settings)
        settings = {name: x for name, x in settings.items() if name not in grid}
        if over := settings.pop("advantage_normalization", None):
            settings["normalize_advantage"] = over != "none"
            settings["normalize_over"] = "batch" if over == "batch" else "minibatch"
        asked = config["algorithm"], config["preset"], settings, grid
        request = Request(*asked, list(content.get("log", ())))
        _check_axes(request)
    return Record(request, [], None, content)


def algorithm_of(run: pathlib.Path) -> str:
    """The name of the algorithm of a run.

    Raises:
      UsageError: if it is none, or does not say.
    """
    return load_record(run).request.algorithm
