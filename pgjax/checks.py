"""Checks of arguments that run at trace time and cost nothing once compiled.

chex has the same assertions; these name the arguments, so that a user reads which of
their arrays is wrong.
"""

from __future__ import annotations

import typing
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.types import Array, Numeric


def check_same_shape(**arrays: Array) -> None:
    """Raises ValueError, with every name and shape, unless all shapes are equal."""
    shapes = {name: jnp.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"these must have one and the same shape, got {listing}")


def check_steps(**arrays: Array) -> None:
    """Raises unless all arrays are (T,) or all (T, N, ...), T >= 1, and flags bool.

    Raises:
      ValueError: for a shape that does not fit.
      TypeError: for a `terminated` or `truncated` that is not boolean.
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


def check_is(kind: Any, example: str, **arguments: Any) -> None:
    """Raises TypeError, with an example, unless each argument is of that kind."""
    for name, argument in arguments.items():
        if not isinstance(argument, kind):
            raise TypeError(
                f"{name} must be of type {kind.__name__}, such as {example}, got "
                f"{type(argument).__name__}"
            )


def check_key(key: Any) -> None:
    """Raises TypeError unless `key` is a typed random key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed key, such as jax.random.key(0), got {key!r}"
        )


def check_unit_interval(**numbers: Numeric) -> None:
    """Raises ValueError for a Python number outside [0, 1]; arrays pass."""
    for name, number in numbers.items():
        if isinstance(number, int | float) and not 0 <= number <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {number}")


def check_positive(**numbers: Numeric | None) -> None:
    """Raises ValueError for a Python number that is not positive; None passes."""
    for name, number in numbers.items():
        if isinstance(number, int | float) and not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")


def check_choice(name: str, value: str, literal: Any) -> None:
    """Raises ValueError, with what is known, unless `value` is in a `Literal` type."""
    known = typing.get_args(literal)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(known)}")
