"""Signals that are noted and answered when it suits: at the end of a chunk, say.

Python raises KeyboardInterrupt wherever it happens to be, which may be in a callback
that loses it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any, TypeVar

T = TypeVar("T")

# How a person, the system or a batch queue ends a program; a closed terminal hangs up.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FINISHING = "finishing this chunk, then saving (again: stop at once, unsaved) ...\n"

NOT_BEGUN = "stopped before anything was trained"


class Terminated(KeyboardInterrupt):
    """A signal that ends the program: `number` says which."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Stopped(Terminated):
    """A command that trains was stopped at once.

    Args:
      number: of the signal.
      when: in words: "stopped", and how far it had come.
      directory: to go on from; None where nothing was saved.
    """

    def __init__(self, number: int, when: str, directory: pathlib.Path | None = None):
        super().__init__(number)
        self.when, self.directory = when, directory

    def told(self, go_on: str) -> str:
        """What was stopped, and how to go on: by `go_on`, with the directory in it."""
        if self.directory is None:
            return f"{self.when}; nothing was saved"
        return f"{self.when}; to go on: {go_on}"


def number_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal."""
    return getattr(interrupt, "number", signal.SIGINT)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """128 + the number of the signal, as shells have it."""
    return 128 + number_of(interrupt)


def _raise(number: int, frame: Any) -> None:
    raise Terminated(number)


def raise_when_ended() -> None:
    """From now on Ctrl-C, SIGTERM and SIGHUP raise, where they are not noted.

    A signal that the program was started to ignore, as by nohup, stays ignored.
    """
    _handle(dict.fromkeys(ENDING, _raise))


def end_at_once() -> None:
    """From now on these signals end the process without a word: all is done."""
    _handle(dict.fromkeys(ENDING, signal.SIG_DFL))


def _handle(handlers: dict[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Sets handlers of signals that are not ignored; returns those before."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # it keeps the signals
    heard = {x: y for x, y in handlers.items() if signal.getsignal(x) != signal.SIG_IGN}
    return {number: signal.signal(number, y) for number, y in heard.items()}


_NOTING: list[Received] = []  # by `noted`, the outermost first


class Received(list[int]):
    """The signals that were noted.

    Args:
      say: what the next one is answered with, on stderr; the program may change it.
    """

    def __init__(self, say: str = ""):
        super().__init__()
        self.say = say


@contextlib.contextmanager
def noted(*numbers: signal.Signals, say: str = "") -> Iterator[Received]:
    """A list that signals are added to; a second Ctrl-C is raised at once.

    Where one is within another, both note, and what was noted before counts within.

    Signals that are ignored stay so: nohup ignores SIGHUP, and a shell makes a job in
    the background ignore SIGINT.

    Args:
      *numbers: which signals.
      say: what happens next, for stderr.
    """
    received = Received(say)
    received += _NOTING[-1] if _NOTING else []

    def handle(number: int, frame: Any) -> None:
        for each in _NOTING:
            each.append(number)
        with contextlib.suppress(OSError):
            # Not by print: the program may be in the middle of one.
            os.write(2, received.say.encode())
        _handle({signal.SIGINT: _raise})

    _NOTING.append(received)
    previous = _handle(dict.fromkeys(numbers, handle))
    try:
        yield received
    finally:
        _handle(previous)
        _NOTING[:] = [x for x in _NOTING if x is not received]  # lists may be equal


def wait(future: futures.Future[T], received: list[int]) -> T:
    """The result of a future; `Terminated` as soon as a signal is there."""
    while not received:
        if future.done():
            return future.result()
        futures.wait([future], timeout=0.1)
    raise Terminated(received[0])
