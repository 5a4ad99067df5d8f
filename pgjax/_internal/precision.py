"""The dtype of what is computed: float32 at least. One rule for all of the mathematics.

Losses, distributions, returns, baselines, group advantages and statistics take arrays
of any floating, integer or boolean dtype, JAX's or NumPy's, also mixed, and compute in
the dtype that these promote to, but float32 at least. Their results have that dtype:

- float32 stays float32, and float64 (with jax_enable_x64) float64;
- float16 and bfloat16 are taken for the rounded numbers they are, and nothing that is
  made of them is rounded again: results are float32. (A log-prob of -7 in bfloat16 is
  known to 0.03, and a ratio of two of them to nothing that a clip of 0.2 can use.)
- integers and booleans count as JAX's default float.

Hyperparameters (`gamma`, `clip`, ...) do not count: numbers of Python or NumPy and
arrays, of whatever dtype, are taken at the precision of the arrays. So all of it runs
under jax_numpy_dtype_promotion="strict", too.

Gradients have the dtype of the argument they belong to. For float16 that ends at
65,504: scale losses accordingly.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.types import Array, Numeric


def working_dtype(*arrays: Any) -> Any:
    """The dtype to compute in: what the arrays promote to, float32 at least.

    >>> print(working_dtype(jnp.bfloat16(1.0), jnp.int32(1)))
    float32
    """
    for x in arrays:
        if isinstance(x, list | tuple):
            raise TypeError(f"an array is needed, got a {type(x).__name__}: {x!r:.60}")
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*arrays)
        if not jnp.issubdtype(dtype, jnp.floating):
            dtype = jnp.result_type(float)
        return jnp.result_type(dtype, jnp.float32)


def at_least_float32(*arrays: Any) -> tuple[Array, ...]:
    """The arrays, all in their `working_dtype`."""
    dtype = working_dtype(*arrays)
    return tuple(jnp.asarray(x, dtype) for x in arrays)


def number(hyperparameter: Numeric, dtype: Any) -> Numeric:
    """A hyperparameter that does not change the dtype of the arrays it is used with.

    Numbers of Python stay as they are, so that `1.0 - clip` is rounded once.
    """
    if isinstance(hyperparameter, int | float):
        return float(hyperparameter)  # np.float64 is one of them, and has a dtype
    return jnp.asarray(hyperparameter, dtype)


def largest_exponent(dtype: Any) -> float:
    """The largest x whose exp(x) is finite: 88.7 for float32 and bfloat16.

    >>> print(f"{largest_exponent(jnp.float16):.1f}")
    11.1
    """
    return math.log(float(jnp.finfo(dtype).max))
