"""Standard streams that cannot end a program: what they cannot write is dropped.

A reader that has seen enough (`| head`), a full disk, a terminal that was closed: none
of them is a reason to lose what was computed. Whoever needs to know asks `failure`.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

STDOUT, STDERR = 1, 2


class _Dropping(io.FileIO):
    """A file whose first failure to write is noted; what comes after it is dropped."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while self.failure is None and written < len(view):
            try:
                count = super().write(view[written:])
                if count is None:  # somebody has made it non-blocking, and it is full
                    select.select([], [self], [])
                written += count or 0
            except OSError as error:
                self.failure = error
        return len(view)


def open_closed() -> set[int]:
    """Opens /dev/null as each standard stream that is closed; returns their numbers.

    Otherwise the next file that is opened becomes standard output, say, and what any
    library prints is written into it.
    """
    closed = set()
    for number in (0, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            flags = os.O_WRONLY if number else os.O_RDONLY
            opened = os.open(os.devnull, flags)
            os.dup2(opened, number)  # child processes inherit it
            if opened != number:
                os.close(opened)
            else:
                os.set_inheritable(number, True)
    return closed


def guard() -> None:
    """Makes standard output and error ones that drop what they cannot write.

    Also a character that the encoding lacks is no error: it is written as an escape.
    """
    closed = open_closed()
    sys.stdout = _guarded(sys.stdout, STDOUT, STDOUT in closed)
    sys.stderr = _guarded(sys.stderr, STDERR, STDERR in closed)


def _guarded(stream: Any, number: int, closed: bool) -> io.TextIOWrapper:
    file = _Dropping(number, "w", closefd=False)
    if closed:
        file.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=number == STDERR or getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def failure(stream: Any) -> OSError | None:
    """Why something that was written to a stream did not arrive; None if all did."""
    stream.flush()
    file = getattr(getattr(stream, "buffer", None), "raw", None)
    return file.failure if isinstance(file, _Dropping) else None
