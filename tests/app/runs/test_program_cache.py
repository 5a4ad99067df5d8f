import os
import pathlib
import subprocess
import sys

import pytest
from jax._src.lru_cache import LRUCache

from pgjax.app.runs import program_cache


@pytest.fixture
def cache(tmp_path):
    program_cache.keep_programs()
    return LRUCache(str(tmp_path), max_size=-1)


def test_what_is_kept_is_found(cache, tmp_path):
    cache.put("one", b"program")
    assert cache.get("one") == b"program"
    assert [path.name for path in tmp_path.iterdir()] == ["one-cache"]


def test_an_entry_is_whole_or_not_there(cache, tmp_path, monkeypatch):
    def torn(path, value):
        with open(path, "wb") as file:
            file.write(value[:3])
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", torn)
        with pytest.raises(OSError, match="full"):
            cache.put("one", b"program")
    assert cache.get("one") is None
    cache.put("one", b"program")  # and the next one is not kept from it
    assert cache.get("one") == b"program"


@pytest.mark.parametrize("bit", [0, 8 * 3 + 1, -1, -8 * 33, -8 * 40])
def test_one_bit_tells(bit, cache, tmp_path):
    cache.put("one", b"program" * 9)
    path = tmp_path / "one-cache"
    entry = int.from_bytes(path.read_bytes())
    size = path.stat().st_size
    path.write_bytes((entry ^ (1 << (bit % (8 * size)))).to_bytes(size))
    assert cache.get("one") is None
    cache.put("one", b"program")
    assert cache.get("one") == b"program"


@pytest.mark.parametrize("entry", [b"", b"p", b"pgjax", b"of JAX itself" * 9])
def test_what_has_no_checksum_counts_as_none(entry, cache, tmp_path):
    (tmp_path / "one-cache").write_bytes(entry)
    assert cache.get("one") is None


def flipped(x):
    """With another byte in its middle."""
    middle = len(x) // 2
    return x[:middle] + bytes([x[middle] ^ 255]) + x[middle + 1 :]


COMPILE = """
import warnings
import jax
from pgjax.app.runs.program_cache import keep_programs

keep_programs()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert jax.jit(lambda x: x * 3.0 + 1.0)(2.0) == 7.0
print(len([x for x in told if "cache" in str(x.message)]))
"""


@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: b"", flipped])
def test_a_damaged_entry_heals(damage, tmp_path):
    """It counts as none: JAX compiles again, unsaid, and what it keeps is whole."""

    def warnings_of_a_process():
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        done = subprocess.run(
            [sys.executable, "-c", COMPILE],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return int(done.stdout)

    assert warnings_of_a_process() == 0
    entries = {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    for path, whole in entries.items():
        path.write_bytes(damage(whole))
    assert warnings_of_a_process() == 0
    assert {path: path.read_bytes() for path in tmp_path.glob("*-cache")} == entries
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("given", "directory"),
    [
        (None, "/home/someone/.cache/pgjax"),
        ("", "/home/someone/.cache/pgjax"),
        (".", "/home/someone/.cache/pgjax"),
        ("cache", "/home/someone/.cache/pgjax"),
        ("/elsewhere", "/elsewhere/pgjax"),
    ],
)
def test_programs_are_never_kept_in_the_current_directory(
    given, directory, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/someone")
    if given is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert program_cache.cache_directory() == pathlib.Path(directory)


def test_a_cache_of_limited_size_is_jaxs_own_business(tmp_path, monkeypatch):
    program_cache.keep_programs()
    calls = []
    own = {
        "put": lambda cache, key, value: calls.append((key, value)),
        "get": lambda cache, key: b"as it is",
    }
    monkeypatch.setattr(program_cache, "_in_place", own)
    limited = type("Cache", (), {"eviction_enabled": True, "path": tmp_path})()
    elsewhere = type("Cache", (), {"eviction_enabled": False, "path": "gs://there"})()
    for cache in (limited, elsewhere):
        program_cache._put(cache, "one", b"program")
        assert program_cache._get(cache, "one") == b"as it is"
    assert calls == [("one", b"program")] * 2
    assert not list(tmp_path.iterdir())


def test_jaxs_own_is_replaced_once():
    program_cache.keep_programs()
    program_cache.keep_programs()
    assert (LRUCache.put, LRUCache.get) == (program_cache._put, program_cache._get)
    own = program_cache._in_place
    assert sorted(own) == ["get", "put"]
    assert not {program_cache._put, program_cache._get} & set(own.values())
