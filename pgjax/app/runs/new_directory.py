"""The directory of a new run: its command's own from before the long work."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import pathlib
import shutil
from collections.abc import Iterator

from pgjax.app.errors import UsageError
from pgjax.app.runs.batches import BATCHES
from pgjax.app.runs.hosts import from_first, is_first
from pgjax.app.runs.results import CONFIG, STUDY, SUMMARY
from pgjax.app.runs.signals import NOT_BEGUN, Stopped, number_of
from pgjax.app.runs.study_record import is_study, runs_of_record
from pgjax.app.shown_names import as_argument

_RUNS = pathlib.Path("runs")
_NO_RESULT = {name for path in (CONFIG, STUDY) for name in (path, f"{path}.partial")}


@contextlib.contextmanager
def new_directory(out: str | None, name: str) -> Iterator[pathlib.Path]:
    """Makes a directory, and takes it away if an error leaves nothing in it.

    So are the directories above it that were made for it.

    Commands that are started in the same moment get directories of their own.

    Args:
      out: its path, where there must be nothing yet; runs/NAME-TIME by default.
      name: what it holds.

    Raises:
      UsageError: if it is there already, or cannot be made.
      Stopped: for KeyboardInterrupt, with what is left.
    """
    parent = (_RUNS if out is None else pathlib.Path(out).parent).absolute()
    missing = [path for path in (parent, *parent.parents) if not path.exists()]
    directory = pathlib.Path(from_first(lambda: str(_make(out, name))))
    try:
        yield directory
    except BaseException as error:
        left = directory if has_results(directory) else None
        began = (directory / BATCHES).exists()
        if is_first() and left is None:
            shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):  # others may use them by now
                for path in missing:
                    path.rmdir()
        if isinstance(error, KeyboardInterrupt):
            when = "stopped" if began else NOT_BEGUN
            raise Stopped(number_of(error), when, left) from None
        raise


def _make(out: str | None, name: str) -> pathlib.Path:
    if out is not None:
        return _made(pathlib.Path(out))
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{name}-{stamp}".replace("/", "-").replace(":", "-")
    for i in itertools.count(1):
        directory = _RUNS / (name if i == 1 else f"{name}-{i}")
        with contextlib.suppress(_TakenError):
            return _made(directory)
    raise AssertionError


class _TakenError(UsageError):
    """There is something of that name."""


def _made(directory: pathlib.Path) -> pathlib.Path:
    """Makes it; of several processes that try, one succeeds."""
    _check_text(directory)
    if directory.exists():
        raise _TakenError(_about(directory))
    parents = directory.absolute().parents
    parent = next(parent for parent in parents if parent.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise UsageError(
            f"cannot make {directory}: {parent} is not a writable directory"
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
    except FileExistsError:
        raise _TakenError(_about(directory)) from None
    except OSError as error:
        raise UsageError(f"cannot make {directory}: {error.strerror}") from None
    return directory


def _check_text(directory: pathlib.Path) -> None:
    """Raises UsageError for bytes that are no text: checkpoints cannot be there."""
    try:
        str(directory.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"cannot make {directory}: its path must be text in UTF-8; pass another "
            "--out"
        ) from None


def _about(directory: pathlib.Path) -> str:
    """What is there already, and what to do."""
    if _is_unfinished(directory):
        resume = f"`pgjax train --resume {as_argument(directory)}`"
        return f"{directory} is unfinished: {resume}"
    return f"{directory} exists already; pass another --out"


def _is_unfinished(directory: pathlib.Path) -> bool:
    """Whether it is a run or a study that can be gone on with."""
    if is_study(directory):
        try:
            return not all(is_complete for _, is_complete in runs_of_record(directory))
        except UsageError:  # it is damaged
            return False
    started = (directory / CONFIG).is_file()
    return started and not (directory / SUMMARY).is_file()


def has_results(directory: pathlib.Path) -> bool:
    """Whether there is more in it than what was asked for."""
    files = (path for path in directory.rglob("*") if not path.is_dir())
    return any(path.name not in _NO_RESULT for path in files)
