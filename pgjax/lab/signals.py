"""Signals that are noted and answered when it suits: at the end of a chunk, say.

Python raises KeyboardInterrupt wherever it happens to be, which may be in a callback
that loses it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent import futures
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def noted(*numbers: signal.Signals, say: str = "") -> Iterator[list[int]]:
    """A list that signals are added to; a second Ctrl-C is raised at once.

    Args:
      *numbers: which signals.
      say: what happens next, for stderr.
    """
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        with contextlib.suppress(OSError):
            # Not by print: the program may be in the middle of one.
            os.write(2, say.encode())
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not the main thread: the caller keeps the signals
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def wait(future: futures.Future[T], received: list[int]) -> T:
    """The result of a future; KeyboardInterrupt as soon as a signal is there."""
    while not received:
        if future.done():
            return future.result()
        futures.wait([future], timeout=0.1)
    raise KeyboardInterrupt
