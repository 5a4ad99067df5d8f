"""A directory that takes the place of another one, so that one of them is always there.

No call of the operating system exchanges two directories everywhere. The new one is
made beside the old one, and then both are renamed. Who looks between the two renamings
finds the new one under the name that it was made with, and complete; see `present`.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import jax

MARK = "_CHECKPOINT_METADATA"  # a file that every checkpoint has


def replace(path: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
    """Makes a checkpoint at `path`, where one may be already.

    Args:
      path: of the checkpoint.
      write: makes one where there is nothing, all of it or none.

    Raises:
      FileExistsError: if what is there is no checkpoint.
    """
    path = path.resolve()  # what a link points to, rather than the link
    new, old = _new(path), _old(path)
    if path.exists() and not (path / MARK).is_file():
        raise FileExistsError(f"{path} is no checkpoint, and is not replaced")
    if _first_process():
        if path.exists():
            _remove(new)  # complete, but never put into place: nobody was told of it
        elif new.exists():
            os.rename(new, path)
    _wait("cleared")
    write(new)
    if _first_process():
        _remove(old)
        if path.exists():
            os.rename(path, old)
        os.rename(new, path)
        _remove(old)
    _wait("replaced")


def present(path: pathlib.Path) -> pathlib.Path:
    """Where the checkpoint of that name is: there, or where it was just made."""
    new = _new(path.resolve())
    return path if path.exists() or not (new / MARK).is_file() else new


def _new(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.pgjax-new")


def _old(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.pgjax-old")


def _remove(path: pathlib.Path) -> None:
    if path.exists():
        (path / MARK).unlink(missing_ok=True)  # first: half of it is no checkpoint
        shutil.rmtree(path)


def _first_process() -> bool:
    return jax.process_index() == 0


def _wait(name: str) -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"pgjax checkpoint {name}")
