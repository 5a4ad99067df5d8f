"""Processes meet before JAX does; what cannot be is told in a line, by all of them."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgjax.app.errors import UsageError
from pgjax.app.runs import rendezvous
from pgjax.app.runs.rendezvous import meet, parse_address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "localhost",
        "",
        ":",
        ":1234",
        "localhost:",
        "127.0.0.1:abc",
        "127.0.0.1:-1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:99999",
        "127.0.0.1:4294967297",
        "127.0.0.1:1e3",
        "127.0.0.1: 80",
        "127.0.0.1:٣",
        "::1:80",
        "localhost:80:90",
    ],
)
def test_addresses_that_are_none_are_refused(address):
    with pytest.raises(UsageError, match=r"--coordinator .* got "):
        meet(address, 2, 1, wait=0.1)


def test_addresses_are_read():
    assert parse_address("host.example:1") == ("host.example", 1)
    assert parse_address("[::1]:65535") == ("::1", 65535)
    assert parse_address("10.0.0.1:8080") == ("10.0.0.1", 8080)


@pytest.fixture(scope="module", autouse=True)
def no_long_waits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendezvous, "_HELLO", 0.3)
        yield


@pytest.mark.parametrize("host", ["no.such.host.invalid", "no such host", "x" * 300])
def test_a_host_that_nobody_knows_is_refused(host):
    with pytest.raises(UsageError, match="is not known here"):
        meet(f"{host}:1234", 2, 1, wait=60.0, patience=5.0)


def test_a_name_that_takes_long_to_resolve_is_not_waited_for(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait() and [])
    with pytest.raises(UsageError, match="is not known here"):
        meet("somewhere:1234", 2, 1, wait=60.0, patience=0.1)
    never.set()


@pytest.mark.parametrize(("number", "place"), [(0, 0), (-1, 0), (2, 2), (2, -1)])
def test_places_that_are_none_are_refused(number, place):
    with pytest.raises(UsageError, match=r"--(num-processes|process-id) must be"):
        meet("127.0.0.1:1234", number, place, wait=0.1)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def outcomes(port, places, wait=20.0, patience=0.2):
    """What processes come to that meet in threads: "" or what they were told."""

    def outcome(place):
        number, process_id = place
        try:
            meet(f"127.0.0.1:{port}", number, process_id, wait=wait, patience=patience)
        except UsageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(outcome, places))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_all_meet_whoever_comes_first(number, port):
    places = [(number, i) for i in reversed(range(number))]
    assert outcomes(port, places) == [""] * number


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ([(2, 0), (3, 1)], "--num-processes is 2 in process 0 and 3 in process 1"),
        ([(2, 0), (3, 2)], "--num-processes is 2 in process 0 and 3 in process 2"),
        ([(3, 0), (2, 1)], "--num-processes is 3 in process 0 and 2 in process 1"),
        ([(3, 0), (3, 1), (3, 1)], "two of them have --process-id 1"),
    ],
)
def test_all_are_told_who_is_not_one_of_them(places, says, port):
    for told in outcomes(port, places):
        assert told == f"cannot join the other processes: {says}"


def test_who_does_not_come_is_named(port):
    first, third = outcomes(port, [(4, 0), (4, 2)], wait=1.0)
    assert first == third
    assert "number 1, 3 did not come within 1 s" in first


def test_a_first_one_that_does_not_come_is_told(port):
    (told,) = outcomes(port, [(2, 1)], wait=0.3)
    assert f"the first one did not answer at 127.0.0.1:{port} within 0.3 s" in told


def test_a_port_that_is_in_use_is_told():
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        (told,) = outcomes(port, [(1, 0)])
    assert f"port {port} of --coordinator cannot be used" in told


def test_a_port_that_becomes_free_is_waited_for(monkeypatch):
    other = socket.create_server(("", 0))
    port, waits = other.getsockname()[1], []

    def sleep(seconds):
        waits.append(seconds)
        other.close()

    monkeypatch.setattr(rendezvous.time, "sleep", sleep)
    assert outcomes(port, [(1, 0)], patience=30.0) == [""]
    assert len(waits) == 1


def test_a_stranger_is_no_process(port):
    """Neither one who comes, nor one who was there before, as after a stop."""
    stop = threading.Event()

    def knock():
        words = b"GET / HTTP/1.1\r\n\r\n", b"", b"[1]\n", b'["pgjax", 1]\n'
        while not stop.is_set():
            for word in words:
                try:
                    with socket.create_connection(("127.0.0.1", port), 0.2) as guest:
                        guest.sendall(word)
                except OSError:
                    pass

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        assert outcomes(port, [(2, 0), (2, 1)]) == ["", ""]
    finally:
        stop.set()
        thread.join()


def test_a_program_that_has_the_port_for_now_is_not_taken_for_the_first(port):
    with ThreadPoolExecutor(2) as pool:
        other = socket.create_server(("127.0.0.1", port))
        second = pool.submit(meet, f"127.0.0.1:{port}", 2, 1, wait=30.0)
        connection, _ = other.accept()  # it came while the last run's was there
        connection.sendall(json.dumps({"not": "ours"}).encode() + b"\n")
        connection.close()
        other.close()
        first = pool.submit(meet, f"127.0.0.1:{port}", 2, 0, wait=30.0)
        assert (first.result(60), second.result(60)) == (None, None)
