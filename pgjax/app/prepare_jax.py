"""JAX as the command sets it up, before its first use."""

from __future__ import annotations

import contextlib
import ctypes
import os

import jaxlib

from pgjax.app.runs.program_cache import keep_programs

WHOLE_LOOPS = (0, 11)  # the first jaxlib whose GPU was seen to run them well


def prepare_jax() -> None:
    """Settings that suit a command; what the user has set stays as it is.

    JAX reads its flags when it starts its backend, which nothing has done yet.
    """
    _keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        # One device per core: two threads inside one operation gain little.
        flags = _with_flag(flags, "xla_force_host_platform_device_count", cores)
    # Compiles in about half the time; a program may run some percent slower.
    flags = _with_flag(flags, "xla_backend_optimization_level", 1)
    if jaxlib.version.__version_info__ >= WHOLE_LOOPS:
        # A GPU then runs whole loops by itself, where the host would ask after every
        # step of complete episodes whether there is another: twice as fast.
        loops = "+WHILE,+CONDITIONAL"
        flags = _with_flag(flags, "xla_gpu_enable_command_buffer", loops)
    os.environ["XLA_FLAGS"] = flags
    keep_programs()


def _with_flag(flags: str, name: str, value: int | str) -> str:
    return flags if name in flags else f"{flags} --{name}={value}".strip()


def _keep_freed_memory() -> None:
    """Asks glibc not to give large buffers back to the system between two chunks.

    Otherwise each chunk faults its temporary buffers in anew, page by page: with
    chunks of one update, about half of the time of a run of 32 seeds.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**31 - 1)
