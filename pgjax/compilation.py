"""Programs that are compiled once, and used again by calls that ask for the same.

`jax.jit` knows a function by its identity, and a driver such as `evaluate` makes a new
one in each call. Here functions are known by what they do: by their code, and by all
that it refers to.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from pgjax.collectives import is_split

MAX_PROGRAMS = 128  # that are kept, with all that they refer to
MAX_PARTS = 10_000  # of a function, beyond which it is not looked at


def jit_once(fn: Callable) -> Any:
    """`jax.jit(fn)`, or the one of an earlier function that acts alike.

    Two functions act alike if their code is the same, and what it refers to: closures,
    defaults, globals by their present values, attributes of objects, and so on inwards.
    Functions of imported modules, and arrays of JAX, are known by identity. So a lambda
    that is written in a loop is compiled once, and one whose surroundings have changed
    is compiled again.

    Args:
      fn: a pure function of arrays. What it closes over should not be large, as it is
        kept: the last 128 programs are.

    Returns:
      A jitted function; `fn` itself if it closes over what is being traced, and where
      each device has a share of an agent's environments: JAX would take what it traced
      for another number of devices.
    """
    if is_split():
        return fn
    try:
        return _jitted(_Key(fn))
    except _TracedError:
        return fn
    except _TooMuchError:
        return _jit(fn)


class _TracedError(Exception):
    """A function refers to a traced value."""


class _TooMuchError(Exception):
    """A function refers to more than can be looked at."""


class _Key:
    """A function, equal to others that act alike."""

    def __init__(self, fn: Callable) -> None:
        self.fn = fn
        try:
            self.parts = _Reader().read(fn)
            self.number = hash(self.parts)
        except RecursionError:
            raise _TooMuchError from None

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.parts == other.parts


@functools.lru_cache(maxsize=MAX_PROGRAMS)
def _jitted(key: _Key) -> Callable:
    return _jit(key.fn)


def _jit(fn: Callable) -> Callable:
    # JAX keeps what it traced of a function, which may have changed since.
    def program(*arguments: Any) -> Any:
        return fn(*arguments)

    return jax.jit(program, inline=True)


class _Itself:
    """An object, equal to nothing but itself; while it is kept, its id is its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value


class _Reader:
    """Turns one object, and all that it refers to, into something that can be hashed.

    Raises:
      _TracedError: where a traced value is in it.
      _TooMuchError: where too much is in it.
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, Any]] = {}  # by id; kept, so that ids stay

    def read(self, x: Any) -> Any:
        """What `x` is, by value where it can change or be made anew."""
        if isinstance(x, jax.core.Tracer):
            raise _TracedError
        if isinstance(x, float | complex):
            return type(x), repr(x)  # 0.0 equals -0.0, and NaN not itself
        if x is None or isinstance(x, str | bytes | int | type | types.ModuleType):
            return type(x), x
        if isinstance(x, jax.Array):
            return _Itself(x)
        if id(x) in self.seen:
            return "again", self.seen[id(x)][0]
        if len(self.seen) == MAX_PARTS:
            raise _TooMuchError
        self.seen[id(x)] = len(self.seen), x
        return type(x), self._inside(x)

    def _all(self, parts: Iterable[Any]) -> tuple:
        return tuple(self.read(part) for part in parts)

    def _inside(self, x: Any) -> Any:
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, types.MethodType):
            return self._all((x.__func__, x.__self__))
        if isinstance(x, functools.partial):
            return self._all((x.func, x.args, x.keywords))
        if isinstance(x, tuple | list):
            return self._all(x)
        if isinstance(x, dict):
            return self._all(x.keys()), self._all(x.values())
        if isinstance(x, np.ndarray) and x.dtype != object:
            data = np.ascontiguousarray(x).tobytes()
            return x.shape, str(x.dtype), hashlib.sha256(data).digest()
        return self._object(x)

    def _function(self, fn: types.FunctionType) -> Any:
        if fn.__module__ != "__main__":
            module = sys.modules.get(fn.__module__)
            if getattr(module, fn.__qualname__, None) is fn:
                return _Itself(fn)
        names = sorted(_names(fn.__code__) & fn.__globals__.keys())
        return (
            fn.__code__,
            tuple(names),
            self._all(fn.__globals__[name] for name in names),
            self._all(_content(cell) for cell in fn.__closure__ or ()),
            self._all((fn.__defaults__, fn.__kwdefaults__, vars(fn))),
        )

    def _object(self, x: Any) -> Any:
        """One that says itself what it equals, or one with attributes."""
        if type(x).__hash__ not in (None, object.__hash__):
            try:
                hash(x)
            except TypeError:  # something in it has none
                pass
            else:
                return x
        attributes = getattr(x, "__dict__", {})
        return _Itself(x), self._inside(dict(attributes))


def _names(code: types.CodeType) -> set[str]:
    """Of globals, and of attributes, that a function and those within it refer to."""
    inner = (x for x in code.co_consts if isinstance(x, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None
