"""Where to find what pgjax is compared with: a revision, a directory, or SB3."""

from __future__ import annotations

import io
import pathlib
import shutil
import subprocess
import zipfile
from typing import NamedTuple

import pgjax
from pgjax.app.errors import UsageError

SB3 = ("sb3", "sb3-best")
PLAIN = "plain"
_CHOICES = (
    "give a revision of the checkout that pgjax is run from, such as HEAD~1, a "
    "directory that holds another pgjax, plain, or sb3"
)


class Target(NamedTuple):
    """Something to compare with, which has been seen to be there."""

    name: str  # for people
    directory: pathlib.Path | None = None  # that a package pgjax lies in, if it is one
    commit: str | None = None  # of that directory, rather than the files in it


def resolve(target: str) -> Target:
    """Finds a target; writes nothing.

    Args:
      target: "plain", the twin in `plain.py`; "sb3" or "sb3-best"; or a directory with
        a package pgjax in it, such as a checkout, or the site-packages of another
        environment; or else a revision of the checkout that this pgjax is imported
        from.

    Raises:
      UsageError: if there is no such thing.
    """
    if target in (PLAIN, *SB3):
        return Target(target)
    directory = pathlib.Path(target)
    if (directory / "pgjax" / "__init__.py").is_file():
        return _described(directory)
    if directory.is_dir():
        raise UsageError(
            f"no pgjax in {target}: give the directory that holds the package, such as "
            "a checkout, or a revision, such as HEAD"
        )
    return _revision(target)


def this() -> Target:
    """The pgjax that runs, with all changes that are not committed."""
    return _described(_home())


def unpack(target: Target, directory: pathlib.Path) -> None:
    """Copies the target's package pgjax into a directory: to be all there is on a path.

    Raises:
      UsageError: if that revision has no such package.
    """
    assert target.directory is not None
    source = target.directory / "pgjax"
    if target.commit is None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, directory / "pgjax", ignore=ignored)
        return
    files = _git(target.directory, "archive", "--format=zip", target.commit, "pgjax")
    if files is None:
        raise UsageError(f"there was no package pgjax at {target.name} yet")
    with zipfile.ZipFile(io.BytesIO(files)) as archive:
        archive.extractall(directory)


def _revision(revision: str) -> Target:
    home = _home()
    if _head(home) is None:
        raise UsageError(
            f"{revision!r} is not a directory, and cannot be a git revision, as this "
            f"pgjax is not run from a git checkout; {_CHOICES}"
        )
    verify = "rev-parse", "--verify", "--quiet", "--end-of-options"
    commit = _git(home, *verify, f"{revision}^{{commit}}")
    if commit is None:
        raise UsageError(
            f"{revision!r} is neither a directory nor a revision of {home}; {_CHOICES}"
        )
    name = commit.decode().strip()
    return Target(name[:10], home, name)


def _described(directory: pathlib.Path) -> Target:
    directory = directory.resolve()
    head = _head(directory)
    if head is None:
        return Target(str(directory), directory)
    changed = _git(directory, "status", "--porcelain", "--", "pgjax")
    return Target(f"{head[:10]}{' with changes' if changed else ''}", directory)


def _home() -> pathlib.Path:
    return pathlib.Path(pgjax.__file__).resolve().parent.parent


def _head(directory: pathlib.Path) -> str | None:
    """The commit that is checked out there, if git knows the package at all."""
    tracked = _git(directory, "ls-files", "--error-unmatch", "pgjax/__init__.py")
    head = tracked and _git(directory, "rev-parse", "HEAD")
    return head.decode().strip() if head else None


def _git(directory: pathlib.Path, *arguments: str) -> bytes | None:
    """What git answers; None if it refuses, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
