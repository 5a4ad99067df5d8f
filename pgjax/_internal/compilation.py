"""Programs that are compiled once, and used again by calls that ask for the same.

`jax.jit` knows a function by its identity, and a driver such as `evaluate` makes a new
one in each call. Here functions are known by what they do: by their code, and by all
that it refers to. Where that cannot be told, a function is compiled again: a program
that is out of date would be a wrong result.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

MAX_PROGRAMS = 64  # that are kept, with all that they refer to
MAX_BYTES = 2**23  # of arrays that a function refers to, beyond which it is not kept
MAX_PARTS = 10_000  # of a function, beyond which it is not looked at


def jit_once(fn: Callable) -> Any:
    """`jax.jit(fn)`, or the one of an earlier function that acts alike.

    Two functions act alike if their code is the same, and what it refers to: closures,
    defaults, globals by their present values, attributes of objects, classes and
    modules, and so on inwards. Only what belongs to JAX, its libraries, pgjax itself
    and Python is known by identity, and JAX's arrays are, which cannot change. So a
    lambda that is written in a loop is compiled once, and one whose surroundings have
    changed is compiled again; so is, at every call, one that refers to what cannot be
    looked into, or to more than 8 MiB of arrays, which would be kept.

    Args:
      fn: a pure function of arrays. The last 64 are kept, with what they refer to.

    Returns:
      A jitted function; `fn` itself if it closes over what is being traced.
    """
    try:
        return _jitted(_Key(fn))
    except _TracedError:
        return fn
    except _TooMuchError:
        return _jit(fn)


class Same:
    """A function that nobody looks into: `jit_once` knows it by this object alone.

    For one that is used for a while, and does not change meanwhile.
    """

    def __init__(self, fn: Callable):
        self._fn = fn

    def __call__(self, *arguments: Any) -> Any:
        return self._fn(*arguments)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def for_a_while(fn: Callable) -> Callable:
    """The function; `Same` of one that `jit_once` would compile at every call."""
    try:
        _Key(fn)
    except _TooMuchError:
        return Same(fn)
    return fn


class _TracedError(Exception):
    """A function refers to a traced value."""


class _TooMuchError(Exception):
    """A function refers to more than can be looked at, or should be kept."""


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
        self.bytes = 0

    def read(self, x: Any) -> Any:
        """What `x` is, by value where it can change or be made anew."""
        if isinstance(x, jax.core.Tracer):
            raise _TracedError
        if isinstance(x, float | complex):
            return type(x), repr(x)  # 0.0 equals -0.0, and NaN not itself
        if x is None or type(x) in (str, bytes, int, bool):
            return type(x), x
        if isinstance(x, type | types.ModuleType) and _is_trusted(x):
            return _Itself(x)
        if isinstance(x, jax.Array):
            self._count(x.nbytes if hasattr(x, "nbytes") else 0)
            return _Itself(x)
        if id(x) in self.seen:
            return "again", self.seen[id(x)][0]
        if len(self.seen) == MAX_PARTS:
            raise _TooMuchError
        self.seen[id(x)] = len(self.seen), x
        return type(x), self._inside(x)

    def _count(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise _TooMuchError

    def _all(self, parts: Iterable[Any]) -> tuple:
        return tuple(self.read(part) for part in parts)

    def _inside(self, x: Any) -> Any:
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, types.MethodType):
            return self._all((x.__func__, x.__self__))
        if isinstance(x, functools.partial):
            return self._all((x.func, x.args, x.keywords))
        if isinstance(x, type):
            return self._class(x)
        if type(x) in (tuple, list, collections.deque) or isinstance(x, tuple):
            return self._all(x)
        if type(x) in (set, frozenset):
            return frozenset(map(self.read, x))
        if type(x) is bytearray:
            return bytes(x)
        if type(x) is dict or type(x) is types.MappingProxyType:
            return self._all(x.keys()), self._all(x.values())
        if isinstance(x, np.ndarray | np.generic):
            return self._array(np.asarray(x))
        if isinstance(x, jax.sharding.PartitionSpec):
            return self._all(
                (*x, getattr(x, "unreduced", ()), getattr(x, "reduced", ()))
            )
        return self._object(x)

    def _array(self, x: np.ndarray) -> Any:
        if x.dtype == object:
            raise _TooMuchError
        self._count(x.nbytes)
        data = np.ascontiguousarray(x).tobytes()
        return x.shape, str(x.dtype), hashlib.sha256(data).digest()

    def _class(self, x: type) -> Any:
        """A user's class: itself, and what it and its bases have besides."""
        parts = [
            (name, value)
            for base in x.__mro__
            if not _is_trusted(base)
            for name, value in vars(base).items()
            if (not name.startswith("__") or callable(value)) and name != "_abc_impl"
        ]
        return (
            _Itself(x),
            self._all(name for name, _ in parts),
            self._all(value for _, value in parts),
        )

    def _function(self, fn: types.FunctionType) -> Any:
        module = sys.modules.get(fn.__module__ or "")
        if module is not None and _is_trusted(module):
            # What is imported, not what it makes in a call.
            top = getattr(module, fn.__qualname__, None)
            if top is fn:
                return _Itself(fn)
        names = sorted(_names(fn.__code__))
        known = [name for name in names if name in fn.__globals__]
        values = [fn.__globals__[name] for name in known]
        # Of a user's module, what the function may take from it.
        taken = [
            getattr(value, name)
            for value in values
            if isinstance(value, types.ModuleType) and not _is_trusted(value)
            for name in names
            if hasattr(value, name)
        ]
        values = [x for x in values if not isinstance(x, types.ModuleType)]
        return (
            fn.__code__,
            tuple(known),
            self._all(values),
            self._all(taken),
            self._all(_content(cell) for cell in fn.__closure__ or ()),
            self._all((fn.__defaults__, fn.__kwdefaults__, vars(fn))),
        )

    def _object(self, x: Any) -> Any:
        """One of a library that says itself what it equals, or one with attributes."""
        kind = type(x)
        if _is_trusted(kind):
            if kind.__hash__ not in (None, object.__hash__):
                try:
                    hash(x)
                except TypeError:  # something in it has none
                    pass
                else:
                    return x
            sentinel = kind is object
            if not (sentinel or hasattr(x, "__dict__") or _is_descriptor(x)):
                raise _TooMuchError  # such as an iterator, which tells nothing
            return _Itself(x), self.read(dict(getattr(x, "__dict__", {})))
        slots = {
            name: getattr(x, name)
            for base in kind.__mro__
            for name in _slots_of(base)
            if hasattr(x, name)
        }
        attributes = dict(getattr(x, "__dict__", {})) | slots
        return _Itself(x), self.read(kind), self.read(attributes)


_TRUSTED = sys.stdlib_module_names | {
    "chex",
    "flax",
    "gymnax",
    "jax",
    "jaxlib",
    "numpy",
    "optax",
    "pgjax",
}


def _is_trusted(x: Any) -> bool:
    """Whether a module, or a class, is of a library, and so stays what it is."""
    name = x.__name__ if isinstance(x, types.ModuleType) else x.__module__
    root = str(name).split(".")[0]
    return root in _TRUSTED and root != "__main__"


def _is_descriptor(x: Any) -> bool:
    """Whether it is what Python makes of a name in a class, or a built-in function."""
    return hasattr(type(x), "__get__") or isinstance(x, types.BuiltinFunctionType)


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in slots if name not in ("__dict__", "__weakref__"))


def _names(code: types.CodeType) -> set[str]:
    """Of globals, and of attributes, that a function and those within it refer to."""
    inner = (x for x in code.co_consts if isinstance(x, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None
