"""The memory that is free, and what to say when it runs out."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
from collections.abc import Callable, Iterator

import jax

from pgjax.app.errors import OutOfMemoryError

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def free_bytes(num_devices: int) -> int:
    """The memory that is free on so many devices together, all like the first."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return (stats["bytes_limit"] - stats.get("bytes_in_use", 0)) * num_devices
    free = min(_of_the_machine(), _of_the_container(), _of_the_process())
    return max(0, int(free)) * jax.process_count()


def shown(number: float) -> str:
    """Bytes for people: 3.2 GiB."""
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 2**10:.1f} KiB"


@contextlib.contextmanager
def exhaustion_told(what_to_do: Callable[[], str]) -> Iterator[None]:
    """Turns running out of memory, on the host or a device, into one line.

    Args:
      what_to_do: says what is saved, and which settings to lower.

    Raises:
      OutOfMemoryError: in place of what JAX, XLA and NumPy raise.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not _is_exhaustion(error):
            raise
        raise OutOfMemoryError(f"out of memory: {what_to_do()}") from error


def _is_exhaustion(error: Exception) -> bool:
    words = "RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "bad_alloc"
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _of_the_machine() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_the_container() -> float:
    """What its control group, version 2, has left."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        return float("inf") if limit == "max" else int(limit) - used
    except (OSError, ValueError):
        return float("inf")


def _of_the_process() -> float:
    """What `ulimit -v` has left."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    for line in _lines("/proc/self/status"):
        if line.startswith("VmSize:"):
            return limit - int(line.split()[1]) * 1024
    return limit


def _lines(path: str) -> list[str]:
    try:
        return pathlib.Path(path).read_text().splitlines()
    except OSError:
        return []
