"""What JSON data must look like: a shape is a description that data is held against.

{"seed": COUNT, "name": optional(TEXT)}   an object that has these, and maybe others
[COUNT]                                   a list of any length
each(TEXT)                                an object of any keys
COUNT, NUMBER, TEXT, ...                  a value
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from pgjax.app.errors import DamagedFileError


class Value(NamedTuple):
    """A value, by what must hold of it."""

    what: str
    holds: Callable[[Any], bool]


class Optional(NamedTuple):
    """A key of an object that may be missing."""

    shape: Any


class Each(NamedTuple):
    """An object with any keys, and values of one shape."""

    shape: Any


def _is_number(x: Any) -> bool:
    return type(x) in (int, float) and abs(x) <= 1e39  # float32's


COUNT = Value("an integer from 0 on", lambda x: type(x) is int and 0 <= x < 2**63)
NUMBER = Value("a finite number", _is_number)
TEXT = Value("a text", lambda x: isinstance(x, str))
SCALAR = Value(
    "a text, number or truth value",
    lambda x: isinstance(x, str | bool) or _is_number(x),
)
LIST = Value("a list", lambda x: isinstance(x, list))
OBJECT = Value("an object", lambda x: isinstance(x, dict))


def or_null(value: Value) -> Value:
    """The value, or null."""
    return Value(f"{value.what} or null", lambda x: x is None or value.holds(x))


def optional(shape: Any) -> Optional:
    """What a key has, where it is there."""
    return Optional(shape)


def each(shape: Any) -> Each:
    """An object whose keys are anything."""
    return Each(shape)


def check_shape(path: pathlib.Path, data: Any, shape: Any) -> None:
    """Sees that the data of a file have a shape.

    Raises:
      DamagedFileError: naming the first place where they have not.
    """
    told = _misfit(data, shape, "")
    if told is not None:
        raise DamagedFileError(path, told)


def _misfit(data: Any, shape: Any, where: str) -> str | None:
    if isinstance(shape, Value):
        return None if shape.holds(data) else f"{_at(where)} is not {shape.what}"
    if isinstance(shape, list):
        if not isinstance(data, list):
            return f"{_at(where)} is not a list"
        parts = [(f"{where}[{i}]", x, shape[0]) for i, x in enumerate(data)]
    elif not isinstance(data, dict):
        return f"{_at(where)} is not an object"
    elif isinstance(shape, Each):
        parts = [(f"{where}.{name}", x, shape.shape) for name, x in data.items()]
    else:
        known = {
            name: x.shape if isinstance(x, Optional) else x
            for name, x in shape.items()
            if name in data or not isinstance(x, Optional)
        }
        missing = [name for name in known if name not in data]
        if missing:
            return f"{_at(f'{where}.{missing[0]}')} is missing"
        parts = [(f"{where}.{name}", data[name], x) for name, x in known.items()]
    found = (_misfit(x, inner, place) for place, x, inner in parts)
    return next((told for told in found if told is not None), None)


def _at(where: str) -> str:
    return where.lstrip(".") or "its content"
