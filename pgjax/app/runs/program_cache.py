"""Compiled programs, kept on disk from one command to the next, whole ones only.

JAX keeps them itself; how it writes and reads an entry is replaced here. That is in its
`_src`: of the cache, its public interface (0.10) has the directory and limits of size
and time, and nothing to say how entries are written or checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import threading
from typing import Any

import jax


def keep_programs() -> None:
    """Lets JAX keep what it compiles, unless the user has said where, or not to."""
    directory = cache_directory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and directory is not None:
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    with contextlib.suppress(ImportError, AttributeError):  # another jax has it not
        from jax._src import lru_cache

        kind: Any = lru_cache.LRUCache
        if kind.put is not _put:
            _in_place.update(put=kind.put, get=kind.get)
            kind.put, kind.get = _put, _get


def cache_directory() -> pathlib.Path | None:
    """Where compiled programs are kept by default: ~/.cache/pgjax.

    XDG_CACHE_HOME counts if it is an absolute path, as its specification says. There is
    none where there is no home: the current directory never holds programs that a
    command would run.
    """
    home = pathlib.Path(os.path.expanduser("~")) / ".cache"
    given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else home
    return cache / "pgjax" if cache.is_absolute() else None


_in_place: dict[str, Any] = {}  # JAX's own
_SEAL = b"pgjax"  # and the SHA-256 of what is before it, at the end of an entry


def _is_limited_or_elsewhere(cache: Any) -> bool:
    """Whether JAX locks the cache, to keep its size, or it is on no file system."""
    return cache.eviction_enabled or "://" in str(cache.path)


def _put(cache: Any, key: str, value: bytes) -> None:
    """Adds a program under its name in full, or not at all, with its checksum.

    JAX writes it in place, and only where there is no file: what a kill has torn, or a
    disk has damaged, stays, and every later process warns and compiles anew; and one
    that reads meanwhile gets a part. JAX asks for this only when it has found no whole
    program: what is there is replaced.
    """
    if _is_limited_or_elsewhere(cache):
        return _in_place["put"](cache, key, value)
    path = pathlib.Path(cache.path) / f"{key}-cache"
    part = path.with_name(f"{os.getpid()}-{threading.get_ident()}.partial")
    try:
        part.write_bytes(value + _SEAL + hashlib.sha256(value).digest())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return None


def _get(cache: Any, key: str) -> bytes | None:
    """A program that was kept here, whole; any other is none.

    One that JAX itself has put there, without a checksum, is compiled once more: not
    every damage can be told from its bytes, and one that cannot is run.
    """
    entry = _in_place["get"](cache, key)
    if entry is None or _is_limited_or_elsewhere(cache):
        return entry
    value, seal = entry[:-_SEALED], entry[-_SEALED:]
    return value if seal == _SEAL + hashlib.sha256(value).digest() else None


_SEALED = len(_SEAL) + hashlib.sha256().digest_size
