import pathlib

import pytest
from jax._src.lru_cache import LRUCache

from pgjax.lab import program_cache


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


def test_what_is_there_stays(cache):
    cache.put("one", b"program")
    cache.put("one", b"another")
    assert cache.get("one") == b"program"


def test_a_cache_of_limited_size_is_jaxs_own_business(tmp_path, monkeypatch):
    program_cache.keep_programs()
    calls = []
    own = [lambda cache, key, value: calls.append((key, value))]
    monkeypatch.setattr(program_cache, "_put_in_place", own)
    limited = type("Cache", (), {"eviction_enabled": True, "path": tmp_path})()
    elsewhere = type("Cache", (), {"eviction_enabled": False, "path": "gs://there"})()
    for cache in (limited, elsewhere):
        program_cache._put(cache, "one", b"program")
    assert calls == [("one", b"program")] * 2
    assert not list(tmp_path.iterdir())


def test_jaxs_own_is_replaced_once():
    program_cache.keep_programs()
    program_cache.keep_programs()
    assert LRUCache.put is program_cache._put
    assert len(program_cache._put_in_place) == 1
    assert program_cache._put_in_place[0] is not program_cache._put
