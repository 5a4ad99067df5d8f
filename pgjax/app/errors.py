"""What a person got wrong: told in one line, with the remedy, before any long work."""

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType


class UsageError(Exception):
    """Bad input; the command prints the message and exits with code 2."""


class MissingFileError(UsageError):
    """There is no such file."""

    def __init__(self, path: str | os.PathLike):
        super().__init__(f"{path} is missing")


class DamagedFileError(UsageError):
    """A file that does not hold what it should, and what it holds instead."""

    def __init__(self, path: str | os.PathLike, why: str):
        super().__init__(f"{path} is damaged: {why}")


class OutOfMemoryError(Exception):
    """Memory ran out; the command prints the message and exits with code 1."""


def told(error: OSError) -> str:
    """What the system says, and of which file."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Names the file that is written, where the system's error does not: a full disk's.

    It knows the file by a number only, once it is open.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def say_nothing_of_closed_loops() -> None:
    """Keeps tracebacks of TensorStore's threads off stderr.

    After a write that has failed, they speak to an event loop that is closed; Python
    prints a traceback each time. The failure itself is raised, and told in a line.
    """
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not (kind is RuntimeError and str(error) == "Event loop is closed"):
            before(kind, error, trace)

    sys.excepthook = hook
