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


def check_known_values(makes: Sequence[Callable], axes: Mapping[str, Any]) -> None:
    """Raises what a function raises for a name, or the first for any one of the values.

    In a program values are traced, and no check of a range sees them.

    Args:
      makes: functions of hyperparameters: the first makes an algorithm.
      axes: as `axis_of` made them.
    """
    _check_names(makes, axes)
    if _is_traced(dict(axes)):
        return
    lists = {
        name: np.asarray(x).tolist() if isinstance(x, jax.Array) else x
        for name, x in axes.items()
    }
    first = {name: values[0] for name, values in lists.items()}
    make, *others = makes
    for name, values in lists.items():
        for value in values:
            given_what_it_takes(make, first | {name: value}, alone=not others)
    for other in others:  # which traces an environment: not for each of 256 values
        given_what_it_takes(other, first)


def given_what_it_takes(
    make: Callable, values: Mapping[str, Any], *, alone: bool = False
) -> Any:
    """What a function makes of those of the hyperparameters that it names."""
    taken = None if alone else _taken(make)
    return make(**{k: x for k, x in values.items() if taken is None or k in taken})


def _taken(make: Callable) -> set[str] | None:
    """The keyword arguments of a function; None for one that takes all."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # something built in
        return None
    if any(x.kind is x.VAR_KEYWORD for x in parameters):
        return None
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return {x.name for x in parameters if x.kind in by_name}


def _check_names(makes: Sequence[Callable], names: Iterable[str]) -> None:
    named = set(names)
    taken = [_taken(make) for make in makes]
    for make, of in zip(makes, taken, strict=True):
        part = named if of is None or len(makes) == 1 else named & of
        what = "rollout" if make is not makes[0] else "make_algorithm"
        try:
            signature = inspect.signature(make)
        except ValueError:  # something built in
            continue
        try:
            signature.bind(**dict.fromkeys(part))
        except TypeError as error:
            given = ", ".join(names) or "none"
            raise TypeError(
                f"{what} takes {signature}, which the hyperparameters that were "
                f"given, {given}, do not fit: {error}"
            ) from None
    for name in names:
        if all(of is not None and name not in of for of in taken):
            raise TypeError(f"neither make_algorithm nor rollout takes {name}")


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
