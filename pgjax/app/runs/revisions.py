"""The revision of the code: the git commit of pgjax's clone, and of the user's own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from typing import Any

import pgjax

SECONDS = 2.0  # for all that is asked of git


def revisions() -> dict[str, dict[str, Any]]:
    """What git says of the code that runs; nothing where there is no git.

    Returns:
      "pgjax": the clone that pgjax is imported from, if it is one; "directory": that of
        the current directory, if it is another. Of each, "commit", and "dirty", whether
        a file that git knows was changed since; null if that took too long to say.
    """
    until = time.monotonic() + SECONDS
    package = pathlib.Path(pgjax.__file__).parent
    found: dict[str, dict[str, Any]] = {}
    tops: set[str] = set()
    # A package installed within somebody's repository is no part of it.
    ask = ["ls-files", "--error-unmatch", "__init__.py"]
    if _git(package, ask, until) is not None:
        _add(found, "pgjax", package, tops, until)
    _add(found, "directory", pathlib.Path(), tops, until)
    return found


def _add(
    found: dict[str, dict[str, Any]],
    name: str,
    directory: pathlib.Path,
    tops: set[str],
    until: float,
) -> None:
    """Adds a repository that is not among those at `tops`."""
    told = _git(directory, ["rev-parse", "--show-toplevel", "HEAD"], until)
    top, _, commit = (told or "").rpartition("\n")
    if not top or top in tops:
        return
    tops.add(top)
    status = ["status", "--porcelain", "--untracked-files=no"]
    changes = _git(directory, status, until)
    dirty = None if changes is None else bool(changes)
    found[name] = {"commit": commit, "dirty": dirty}


def _git(directory: pathlib.Path, arguments: list[str], until: float) -> str | None:
    """What git prints; None where it fails, is not there, or takes too long."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=max(until - time.monotonic(), 0.0),
            check=True,
            # It takes no lock that others would wait for, and asks nothing.
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.decode(errors="replace").strip()
