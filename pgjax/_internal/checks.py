"""Checks of arguments that run at trace time and cost nothing once compiled.

chex has the same assertions; these name the arguments, so that a user reads which of
their arrays is wrong.
"""

from __future__ import annotations

import inspect
import operator
import typing
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax.types import Array, Numeric


def check_arrays(**arrays: Array) -> None:
    """Raises TypeError for a list or tuple, which JAX takes for no array."""
    for name, array in arrays.items():
        if isinstance(array, list | tuple):
            raise TypeError(
                f"{name} must be an array, got a {type(array).__name__}; write "
                f"jnp.asarray({name})"
            )


def check_same_shape(**arrays: Array) -> None:
    """Raises unless all are arrays of one shape.

    Raises:
      TypeError: for a list or tuple, naming it.
      ValueError: for other shapes, with every name and shape.
    """
    check_arrays(**arrays)
    shapes = {name: jnp.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"these must have one and the same shape, got {listing}")


def check_steps(**arrays: Array) -> None:
    """Raises unless all arrays are (T,) or all (T, N, ...), T >= 1, and flags bool.

    Raises:
      ValueError: for a shape that does not fit.
      TypeError: for a list, or a `terminated` or `truncated` that is not boolean.
    """
    check_same_shape(**arrays)
    name, first = next(iter(arrays.items()))
    shape = jnp.shape(first)
    if not shape or shape[0] == 0:
        raise ValueError(f"time is the first axis and needs a step, got {name} {shape}")
    for flag in ("terminated", "truncated"):
        if flag in arrays and jnp.result_type(arrays[flag]) != jnp.bool_:
            raise TypeError(
                f"{flag} must be boolean, got {jnp.result_type(arrays[flag])}; "
                f"write {flag}.astype(bool)"
            )


def check_broadcasts(reward: Array, **coefficients: Numeric) -> None:
    """Raises ValueError unless each is a scalar or has `reward`'s rank and fits it."""
    for name, coefficient in coefficients.items():
        shape = jnp.shape(coefficient)
        fits = len(shape) == jnp.ndim(reward) and all(
            size in (1, full)
            for size, full in zip(shape, jnp.shape(reward), strict=True)
        )
        if shape and not fits:
            raise ValueError(
                f"{name} has shape {shape}, which does not broadcast against the "
                f"steps' {jnp.shape(reward)} axis by axis; pass a scalar, or axes of "
                "size 1, such as (1, N) for one number per environment"
            )


def check_takes(function: Callable, arguments: str, example: str, name: str) -> None:
    """Raises TypeError unless a function can be called with so many arguments.

    Args:
      function: what a user gave.
      arguments: their names, such as "returns, weight, value".
      example: of such a function.
      name: of the function.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that does not say
        return
    try:
        signature.bind(*arguments.split(", "))
    except TypeError as error:
        raise TypeError(
            f"{name} is called with ({arguments}), as {example} is, and this one takes "
            f"{signature}: {error}"
        ) from None


def check_is(kind: Any, example: str, **arguments: Any) -> None:
    """Raises TypeError, with an example, unless each argument is of that kind."""
    for name, argument in arguments.items():
        if not isinstance(argument, kind):
            kinds = " or ".join(x.__name__ for x in typing.get_args(kind) or (kind,))
            raise TypeError(
                f"{name} must be of type {kinds}, such as {example}, got "
                f"{type(argument).__name__}"
            )


def holds(kind: type, tree: Any) -> bool:
    """Whether a node, or a leaf, of this type is anywhere in a pytree."""

    def found(x: Any) -> bool:
        return isinstance(x, kind)

    return any(map(found, jax.tree.leaves(tree, is_leaf=found)))


def check_key(key: Any) -> None:
    """Raises TypeError unless `key` is a typed random key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed key, such as jax.random.key(0), got {key!r}"
        )


def check_unit_interval(**numbers: Numeric) -> None:
    """Raises unless every number is in [0, 1]; what is traced passes.

    Raises:
      TypeError: for what is no real number: a bool, None, text.
      ValueError: for a number out of range, NaN too, or an array with one such element.
    """
    _check_numbers("in [0, 1]", lambda x: (x >= 0) & (x <= 1), numbers)


def check_positive(**numbers: Numeric) -> None:
    """Likewise, unless every number is > 0, also in JAX's floating type; inf passes."""
    least = _floating().tiny  # what is less becomes 0
    _check_numbers("positive", lambda x: x >= least, numbers)


def check_positive_or_none(**numbers: Numeric | None) -> None:
    """Likewise; None passes, too."""
    check_positive(**{k: x for k, x in numbers.items() if x is not None})


def check_not_negative(**numbers: Numeric) -> None:
    """Likewise, unless every number is >= 0, and finite in JAX's floating type."""
    most = _floating().max
    _check_numbers("finite and >= 0", lambda x: (x >= 0) & (x <= most), numbers)


def check_finite(**numbers: Numeric) -> None:
    """Likewise, unless every number is finite in JAX's floating type."""
    most = _floating().max
    _check_numbers("finite", lambda x: np.abs(x) <= most, numbers)


def check_flags(**flags: Any) -> None:
    """Raises TypeError unless each is True or False, known at trace time."""
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {flag!r}")


def as_scalars(**numbers: Numeric | None) -> tuple[Any, ...]:
    """Hyperparameters that compute like Python floats, whatever they come as.

    A NumPy scalar or an array would bring its own type into what it is multiplied with.
    What is known becomes a Python float, which takes the other's type; what is traced
    stays an array, of JAX's floating type; None stays None. To be called after the
    checks.

    Raises:
      ValueError: for an array that is no scalar.
    """
    for name, number in numbers.items():
        if number is not None and jnp.ndim(number):
            raise ValueError(
                f"{name} must be one number, got an array of shape "
                f"{jnp.shape(number)}; map over several with pg.sweep or jax.vmap"
            )
    return tuple(x if x is None else _as_scalar(x) for x in numbers.values())


def as_count(name: str, number: Any, *, least: int = 1) -> int:
    """A number of things as a Python int; it must be known at trace time.

    Raises:
      TypeError: for what is no integer: 2.0, True, text, a traced value.
      ValueError: if it is below `least`, or beyond int32.
    """
    if isinstance(number, jax.core.Tracer):
        raise TypeError(
            f"{name} must be known when a program is compiled (it is a shape or a "
            "loop's length), got a traced value; pass a Python int"
        )
    try:
        if isinstance(number, bool):
            raise TypeError
        value = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {number!r}") from None
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if value >= 2**31:
        raise ValueError(f"{name} must be below 2**31, got {value}")
    return value


def _check_numbers(
    what: str, holds: Callable[[Any], Any], numbers: Mapping[str, Any]
) -> None:
    for name, number in numbers.items():
        dtype = getattr(number, "dtype", np.dtype(type(number)))
        real = jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
        if not real:
            raise TypeError(f"{name} must be a real number, got {number!r}")
        known = _known(number)
        if known is not None and not np.all(holds(known)):
            raise ValueError(f"{name} must be {what}, got {number}")


def _as_scalar(number: Numeric) -> Any:
    known = _known(number)
    return jnp.asarray(number, float) if known is None else float(known)


def _known(number: Any) -> np.ndarray | None:
    """The number in float64, or None if it is traced, or on another machine."""
    if isinstance(number, jax.core.Tracer):
        return None
    if isinstance(number, jax.Array) and not number.is_fully_addressable:
        return None
    try:
        return np.asarray(number, np.float64)
    except OverflowError:  # an int of 400 digits
        return np.asarray(np.inf if number > 0 else -np.inf)


def _floating() -> Any:
    """What JAX's floating type can hold."""
    return jnp.finfo(jnp.result_type(float))


def check_choice(name: str, value: str, literal: Any) -> None:
    """Raises ValueError, with what is known, unless `value` is in a `Literal` type."""
    known = typing.get_args(literal)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
