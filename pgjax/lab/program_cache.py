"""Compiled programs, kept on disk from one command to the next, whole ones only."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from typing import Any

import jax


def keep_programs() -> None:
    """Lets JAX keep what it compiles, unless the user has said where, or not to."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
        jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "pgjax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    with contextlib.suppress(ImportError, AttributeError):  # another jax has it not
        from jax._src import lru_cache

        kind: Any = lru_cache.LRUCache
        if kind.put is not _put:
            _put_in_place.append(kind.put)
            kind.put = _put


_put_in_place: list[Any] = []  # JAX's own


def _put(cache: Any, key: str, value: bytes) -> None:
    """Adds a program under its name in full, or not at all.

    JAX writes it in place. What a kill has torn there is never replaced: every later
    process would warn and compile anew; and one that reads meanwhile gets a part.
    """
    directory = str(cache.path)
    if cache.eviction_enabled or "://" in directory:  # locked, or no file
        return _put_in_place[0](cache, key, value)
    path = pathlib.Path(directory) / f"{key}-cache"
    if not path.exists():
        part = path.with_name(f"{os.getpid()}-{threading.get_ident()}.partial")
        part.write_bytes(value)
        part.replace(path)
    return None
