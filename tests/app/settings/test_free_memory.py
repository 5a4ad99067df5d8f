"""Memory: how much is free, and what is said when there is too little."""

import jax
import pytest

from pgjax.app.errors import OutOfMemoryError
from pgjax.app.settings import free_memory


class Device:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


def test_a_device_says_how_much_it_has(monkeypatch):
    stats = {"bytes_limit": 1000, "bytes_in_use": 100}
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(stats)])
    assert free_memory.free_bytes(4) == 3600


def test_on_a_host_the_least_of_all_limits_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(None)])
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(free_memory.resource, "getrlimit", lambda _: (-1, -1))
    whole = free_memory.free_bytes(1)
    assert whole > 2**20
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.free_bytes(2) > 2**20
    (tmp_path / "memory.max").write_text("5300\n")
    assert free_memory.free_bytes(2) == 5000  # of all devices, which share it
    monkeypatch.setattr(free_memory.resource, "getrlimit", lambda _: (2**20, -1))
    assert free_memory.free_bytes(1) == 0  # the process has more than that already


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 TiB"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9"),
        jax.errors.JaxRuntimeError("INTERNAL: std::bad_alloc"),
    ],
)
def test_exhaustion_is_one_line(error):
    with (
        pytest.raises(OutOfMemoryError, match=r"^out of memory: do this$"),
        free_memory.exhaustion_told(lambda: "do this"),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INVALID"),
        free_memory.exhaustion_told(lambda: "do this"),
    ):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no")


def test_bytes_are_shown_for_people():
    assert [free_memory.shown(x) for x in (2048, 3 * 2**20, 5 * 2**40)] == [
        "2.0 KiB",
        "3.0 MiB",
        "5.0 TiB",
    ]
