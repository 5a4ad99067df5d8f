"""Settings in messages, as a person wrote them: as flags, in Python, or in a file.

Messages are written for the shell; from Python and from a TOML file the same ones come.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from pgjax.app.errors import OutOfMemoryError, UsageError

# A flag, which may turn something off, and a number after it. Not in a path or quotes.
_FLAG = re.compile(
    r"(?<![\w/.'\"-])--(?P<no>no-)?(?P<name>[a-z][a-z0-9_-]*)"
    r"(?P<value> [-+]?\d[\w+-]*(?:\.\d[\w+-]*)?(?![\w,.]*,\d))?"
)
# What goes on with a run, whose directory may be quoted; and any other command.
_RESUME = re.compile(
    r"(?P<tick>`?)pgjax (?:train|sweep) --resume "
    r"(?P<path>\$?'[^'\n]*'|[^\s`]+)(?P=tick)"
)
_COMMAND = re.compile(r"(`pgjax [^`]*`|pgjax\.app\.train\([^\n]*?\))")
# How what is printed is spelled; without any, as it is.
_writer: list[Callable[[str], str]] = []


@contextlib.contextmanager
def spelled_as_python() -> Iterator[None]:
    """Errors, and what `spelled` is asked of meanwhile, name settings as arguments."""
    _writer.append(as_python)
    try:
        yield
    except (UsageError, OutOfMemoryError) as error:
        error.args = (as_python(str(error)),)
        raise
    finally:
        _writer.pop()


def spelled(text: str) -> str:
    """A message for stderr, with settings as whoever started this writes them."""
    return _writer[-1](text) if _writer else text


@contextlib.contextmanager
def spelled_as_file(
    path: pathlib.Path, names: Collection[str], flags: Collection[str] = ()
) -> Iterator[None]:
    """Errors about what stands in a TOML file name settings as it does, and the file.

    Args:
      path: the file.
      names: of its settings.
      flags: of settings that were given as such, beside it.
    """
    try:
        yield
    except UsageError as error:
        told = str(error)
        mentioned = {x["name"].replace("-", "_") for x in _FLAG.finditer(told)}
        if mentioned & set(names) - set(flags):
            error.args = (f"{path}: {as_file(told, flags)}",)
        raise


def with_underscores(path: pathlib.Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a file by their names: in it, they may be written as flags are.

    Raises:
      UsageError: for one that is there twice.
    """
    settings: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in settings:
            raise UsageError(f"{path} has {name} twice")
        settings[name] = value
    return settings


def as_python(text: str) -> str:
    """A message with arguments in place of flags.

    >>> print(as_python("--num-envs 2 is too few: take --num-envs 4, or --no-clip"))
    num_envs=2 is too few: take num_envs=4, or clip=False
    >>> print(as_python("`pgjax train --resume runs/a` goes on, with more --seeds"))
    pgjax.app.train(resume='runs/a') goes on, with more seeds
    """
    parts = _COMMAND.split(_RESUME.sub(_call, text))
    parts[::2] = [
        _FLAG.sub(lambda found: _assigned(found, "=", "False"), part)
        for part in parts[::2]
    ]
    return "".join(parts)


def _call(found: re.Match) -> str:
    """What goes on with a run, in Python."""
    path = found["path"]
    if path.startswith("$"):  # escapes of the shell, see `quoted`
        return found[0]
    return f"pgjax.app.train(resume={shlex.split(path)[0]!r})"


def as_file(text: str, flags: Collection[str]) -> str:
    """A message with settings as a TOML file has them, but for those given as flags.

    >>> print(as_file("--seeds 2 and --seed must be positive", ["seed"]))
    seeds = 2 and --seed must be positive
    """

    def change(found: re.Match) -> str:
        name = found["name"].replace("-", "_")
        return found[0] if name in flags else _assigned(found, " = ", "false")

    return _FLAG.sub(change, text)


def _assigned(found: re.Match, equals: str, off: str) -> str:
    name, value = found["name"].replace("-", "_"), found["value"] or ""
    if found["no"]:
        return f"{name}{equals}{off}{value}"
    return f"{name}{equals}{value[1:]}" if value else name
