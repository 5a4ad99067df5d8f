"""Several processes meet before JAX does, and know that all of them are there.

JAX answers an address that is none with an IndexError, a crash or a minute of silence,
and ends the process, with a page of C++, where another one does not come.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

from pgjax.app.errors import UsageError

PATIENCE = 10.0  # seconds for a name to be resolved, or a port to become free
_HELLO = 2.0  # seconds for whoever has connected to say who it is
_LONGEST = 2**16  # bytes of a message


def _check_place(num_processes: int, process_id: int) -> None:
    """Raises UsageError unless 0 <= process_id < num_processes."""
    if num_processes < 1:
        raise UsageError(f"--num-processes must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise UsageError(
            f"--process-id must be from 0 to {num_processes - 1}, got {process_id}"
        )


def meet(
    coordinator: str,
    num_processes: int,
    process_id: int,
    *,
    wait: float,
    patience: float = PATIENCE,
) -> None:
    """Returns, in every process, once all of them have come to the first one.

    Args:
      coordinator: HOST:PORT of the first process.
      num_processes: how many there are.
      process_id: which one this is.
      wait: seconds to wait for the others.
      patience: seconds to wait for the host's name to be resolved, or for the port,
        which is in use for a moment after another run has stopped.

    Raises:
      UsageError: for an address where no process can be met, for processes that do
        not come, or say that they are others than are expected.
    """
    _check_place(num_processes, process_id)
    host, port = parse_address(coordinator)
    if not _resolved(host, port, patience):
        raise UsageError(
            f"--coordinator {coordinator}: the host {host!r} is not known here"
        )
    if process_id:
        problem = _ask_first(host, port, num_processes, process_id, wait)
    else:
        problem = _await_others(port, num_processes, wait, patience)
    if problem:
        raise UsageError(f"cannot join the other processes: {problem}")


def parse_address(coordinator: str) -> tuple[str, int]:
    """The host and the port.

    Raises:
      UsageError: for anything else than HOST:PORT.

    >>> parse_address("localhost:1234"), parse_address("[::1]:80")
    (('localhost', 1234), ('::1', 80))
    """
    host, _, port = coordinator.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not bare or not digits or (":" in host and bare == host):
        raise UsageError(
            "--coordinator must be HOST:PORT of the first process, such as "
            f"localhost:1234, got {coordinator!r}"
        )
    if not 1 <= int(port) <= 65535:
        raise UsageError(
            f"--coordinator needs a port from 1 to 65535, got {coordinator!r}"
        )
    return bare, int(port)


def _resolved(host: str, port: int, patience: float) -> list:
    """What the host's name stands for; nothing, if it is not known soon enough."""
    found: list = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):  # UnicodeError: no name at all
            return

    # The system may take a minute to say no; a thread that waits is nobody's burden.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(patience)
    return list(found)


def _await_others(port: int, num_processes: int, wait: float, patience: float) -> str:
    """Has the others come, and tells them what is wrong, if anything, as it returns."""
    end, there = time.monotonic() + wait, {0}
    problem, connections = "", []
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(port, patience))
        while len(there) < num_processes and not problem:
            if time.monotonic() >= end:
                missing = ", ".join(map(str, sorted({*range(num_processes)} - there)))
                problem = f"number {missing} did not come within {wait:g} s"
                break
            listener.settimeout(max(end - time.monotonic(), 0.01))
            with contextlib.suppress(TimeoutError):
                connection = stack.enter_context(listener.accept()[0])
                hello = _received(connection, _HELLO)
                if hello is not None:  # of one of ours
                    connections.append(connection)
                    problem = _problem_with(hello, num_processes, there)
                    there.add(hello["process_id"])
        for connection in connections:
            with contextlib.suppress(OSError):
                _send(connection, {"problem": problem})
    return problem


def _problem_with(hello: dict[str, Any], num_processes: int, there: set[int]) -> str:
    """Why a process cannot be one of these, if so."""
    process_id, of = hello["process_id"], hello["num_processes"]
    if of != num_processes:
        return (
            f"--num-processes is {num_processes} in process 0 and {of} in process "
            f"{process_id}"
        )
    return f"two of them have --process-id {process_id}" if process_id in there else ""


def _ask_first(
    host: str, port: int, num_processes: int, process_id: int, wait: float
) -> str:
    """Comes to the first process, and returns what it says is wrong, if anything."""
    end = time.monotonic() + wait
    hello = {"process_id": process_id, "num_processes": num_processes}
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            with socket.create_connection((host, port), timeout=_HELLO) as connection:
                _send(connection, hello)
                answer = _received(connection, wait + _HELLO)  # it waits, too
            if answer is not None:  # or it is another program, for now
                return answer["problem"]
        time.sleep(0.1)
    return f"the first one did not answer at {host}:{port} within {wait:g} s"


def _listener(port: int, patience: float) -> socket.socket:
    """A socket that listens at the port, once it can be had.

    Raises:
      UsageError: if another program keeps it.
    """
    end = time.monotonic() + patience
    while True:
        try:
            if socket.has_dualstack_ipv6():
                family = socket.AF_INET6
                return socket.create_server(
                    ("", port), family=family, dualstack_ipv6=True
                )
            return socket.create_server(("", port))
        except OSError as error:
            if time.monotonic() >= end:
                raise UsageError(
                    f"port {port} of --coordinator cannot be used: {error.strerror}; "
                    "choose another, or wait for the program that has it"
                ) from None
            time.sleep(0.2)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(["pgjax", message]).encode() + b"\n")


def _received(connection: socket.socket, timeout: float) -> dict[str, Any] | None:
    """A message, or None where it is none of ours."""
    connection.settimeout(max(timeout, 0.01))
    try:
        with connection.makefile("rb") as file:
            name, message = json.loads(file.readline(_LONGEST))
    except (OSError, ValueError, TypeError):
        return None
    return message if name == "pgjax" and isinstance(message, dict) else None
