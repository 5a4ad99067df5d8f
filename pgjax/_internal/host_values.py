"""What simulators give, held against what they promised."""

from __future__ import annotations

from typing import Any

import numpy as np

# Numbers of simulators that need no further look; there are three in every step.
PLAIN = {bool: "b", np.bool_: "b", float: "f", np.float32: "f", np.float64: "f"}


def as_promised(x: Any, dtype: Any, shape: tuple[int, ...], which: Any = ...) -> Any:
    """An array, or a number, of that type: without broadcasting or loss.

    Flags must be flags, and numbers numbers. Integers must be whole, and within their
    type; floats are rounded to it.

    Args:
      x: such as an observation.
      dtype: that it must have, or fit into.
      shape: that it must have.
      which: rows that are looked at; the others' numbers may be anything.

    Raises:
      ValueError: for anything else: what it is and must be, the end of a sentence that
        says what was given.
    """
    if type(x) is np.ndarray and x.dtype == dtype and x.shape == shape:
        return x
    if shape == () and PLAIN.get(type(x)) == np.dtype(dtype).kind:
        return x
    try:
        given = np.asarray(x)
    except Exception:  # rows of several lengths; whatever an array of a user's raises
        raise ValueError(
            f"that is no array, {_told(x)}, and must give {_right(dtype, shape)}"
        ) from None
    if given.dtype == np.bool_ or np.issubdtype(given.dtype, np.number):
        if given.shape != shape:
            told = f"of shape {given.shape}"
            raise ValueError(f"{told}, and must give {_right(dtype, shape)}")
    else:
        raise ValueError(
            f"that is no number, {_told(x)}, and must give {_right(dtype, shape)}"
        )
    if given.dtype == dtype:
        return given
    with np.errstate(invalid="ignore", over="ignore"):
        cast = given.astype(dtype)
    if not _fits(given, cast, which):
        raise ValueError(
            f"of type {given.dtype}, {_told(x)}, and must give {_right(dtype, shape)}"
        )
    return cast


def _fits(given: np.ndarray, cast: np.ndarray, which: Any) -> bool:
    """Whether numbers are the same in another type, but for the rounding of floats."""
    if np.issubdtype(given.dtype, np.complexfloating) or cast.dtype == np.bool_:
        return False
    if np.issubdtype(cast.dtype, np.floating):
        return True
    return np.array_equal(given[which], cast[which])


def _right(dtype: Any, shape: tuple[int, ...]) -> str:
    kinds = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}
    kind = kinds[np.dtype(dtype).kind]
    if not shape:
        one = {"booleans": "True or False", "integers": "an integer"}
        return one.get(kind, "a number")
    exact = f" of {np.dtype(dtype)}" if kind == "integers" else ""
    return f"{kind}{exact} of shape {shape}"


def _told(x: Any) -> str:
    text = " ".join(repr(x).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
