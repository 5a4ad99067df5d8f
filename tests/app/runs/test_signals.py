"""Signals are noted, not lost."""

import os
import signal
import threading
import time
from concurrent.futures import Future

import pytest

from pgjax.app.runs.signals import (
    Terminated,
    exit_code,
    noted,
    raise_when_ended,
    wait,
)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_is_noted_and_told_and_the_handler_comes_back(capfd):
    before = signal.getsignal(signal.SIGINT)
    with noted(signal.SIGINT, say="told\n") as received:
        assert received == []
        interrupt()
        assert received == [signal.SIGINT]
    assert capfd.readouterr().err == "told\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_raised():
    with noted(signal.SIGINT) as received:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert received == [signal.SIGINT]


def test_other_threads_leave_the_signals_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def look():
        with noted(signal.SIGINT) as received:
            seen.append((signal.getsignal(signal.SIGINT), received))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(before, [])]


def test_waiting_gives_the_result_or_its_error():
    done, failed = Future(), Future()
    done.set_result(3)
    failed.set_exception(TimeoutError("its own"))
    assert wait(done, []) == 3
    with pytest.raises(TimeoutError, match="its own"):
        wait(failed, [])


def test_waiting_ends_with_a_signal():
    with noted(signal.SIGINT) as received:
        timer = threading.Timer(0.2, interrupt)
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait(Future(), received)
        assert time.monotonic() - start < 30  # it would have waited for ever


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_program_are_raised(number, monkeypatch):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        raise_when_ended()
        with pytest.raises(Terminated) as raised:
            os.kill(os.getpid(), number)
        assert exit_code(raised.value) == 128 + number
        assert isinstance(raised.value, KeyboardInterrupt)
        with noted(number) as received:  # by whoever saves first
            os.kill(os.getpid(), number)
        assert received == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_are_ignored_stay_so(number):
    """As nohup ignores SIGHUP, and a shell SIGINT of what runs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        raise_when_ended()
        with noted(number) as received:
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert received == []
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_exit_code_of_an_interrupt():
    assert exit_code(KeyboardInterrupt()) == 130


def test_what_is_noted_within_is_noted_without():
    """Lists of the same signals are equal, and not the same."""
    with noted(signal.SIGINT) as outer:
        with noted(signal.SIGINT) as inner:
            os.kill(os.getpid(), signal.SIGINT)
            assert list(inner) == [signal.SIGINT]
        assert list(outer) == [signal.SIGINT]
        with noted(signal.SIGINT) as later:  # which is told of what came before
            assert list(later) == [signal.SIGINT]
    with noted(signal.SIGINT) as after:
        assert not after
