"""The axes of a sweep's grid: which values are traced, and which a program is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax.types import Array


def axis_of(name: str, values: Any) -> Any:
    """The values of one hyperparameter.

    Returns:
      (K,) float32 if they are numbers and one of them is a float; otherwise a list,
      with numbers as Python's own.

    Raises:
      ValueError: if they are none, nested, or too large for float32.
      TypeError: for integers that are traced.
    """
    array = isinstance(values, jax.Array | np.ndarray)
    if array and (values.ndim != 1 or values.size == 0):
        raise _no_list(name, f"shape {values.shape}")
    if array and jnp.issubdtype(values.dtype, jnp.floating):
        return _floats(name, values)
    if isinstance(values, jax.core.Tracer):
        raise TypeError(
            f"{name} has {values.dtype} values, for each of which there is a program: "
            "they must be known, not traced; pass a list of Python numbers"
        )
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise _no_list(name, "shape ()")
    values = [_plain(name, x) for x in values]
    if not values:
        raise _no_list(name, "shape (0,)")
    numbers = all(_is_number(x) for x in values)
    if numbers and not all(isinstance(x, int) for x in values):
        return _floats(name, values)
    return values


def check_known_values(make_algorithm: Callable, axes: Mapping[str, Any]) -> None:
    """Raises what `make_algorithm` raises for a name, or for any one of the values.

    In a program values are traced, and no check of a range sees them.
    """
    _check_names(make_algorithm, axes)
    if _is_traced(dict(axes)):
        return
    lists = {
        name: np.asarray(x).tolist() if isinstance(x, jax.Array) else x
        for name, x in axes.items()
    }
    first = {name: values[0] for name, values in lists.items()}
    for name, values in lists.items():
        for value in values:
            make_algorithm(**(first | {name: value}))


def _check_names(make_algorithm: Callable, names: Iterable[str]) -> None:
    try:
        signature = inspect.signature(make_algorithm)
    except ValueError:  # something built in
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        given = ", ".join(names) or "none"
        raise TypeError(
            f"make_algorithm takes {signature}, which the hyperparameters that were "
            f"given, {given}, do not fit: {error}"
        ) from None


def in_order(parts: Sequence[Array], axes: Mapping[str, Any], num_seeds: int) -> Array:
    """The results of all programs as one array, axes in the order of their names.

    Args:
      parts: one for each combination of values that are no floats, the last axis of
        them fastest; leaves (F, ...), combinations of floats and then seeds.
      axes: of the grid, as `axis_of` made them.
      num_seeds: the last axis.
    """
    fixed = [name for name in axes if not isinstance(axes[name], jax.Array)]
    floats = [name for name in axes if isinstance(axes[name], jax.Array)]
    sizes = [len(axes[name]) for name in [*fixed, *floats]]
    whole = jnp.stack(parts) if len(parts) > 1 else parts[0][None]
    whole = whole.reshape(*sizes, num_seeds, *whole.shape[2:])
    places = [[*fixed, *floats].index(name) for name in axes]
    return whole.transpose(*places, *range(len(places), whole.ndim))


def _floats(name: str, values: Any) -> Array:
    if not _is_traced(values):
        given = np.asarray(values, np.float64)
        if np.any(np.isfinite(given) & ~np.isfinite(given.astype(np.float32))):
            raise ValueError(f"{name} has values too large for float32: {values}")
    return jnp.asarray(values, jnp.float32)


def _plain(name: str, value: Any) -> Any:
    """Scalars of NumPy and JAX as Python's."""
    if isinstance(value, list) or (hasattr(value, "shape") and np.ndim(value)):
        raise _no_list(name, f"{value!r} within it")
    if _is_traced(value) or not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    return value.item()


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float) or _is_traced(value)
    return real and not isinstance(value, bool)


def _is_traced(tree: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def _no_list(name: str, found: str) -> ValueError:
    return ValueError(f"{name} needs a flat list of values, got {found}")
