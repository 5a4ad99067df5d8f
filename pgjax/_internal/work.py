"""How much work a function is: counted from what JAX traces, nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

# Operations for each number drawn: threefry is 20 rounds of five or so.
RANDOM = 100
_DRAWS = {"random_bits", "random_split", "random_fold_in", "threefry2x32"}


def work_of(fn: Callable, *args: Any) -> int:
    """About how many numbers `fn` computes on its way.

    A loop whose length is not known counts as one pass. A choice counts as its longest
    branch.

    Args:
      fn: a function that JAX can trace.
      *args: what it is traced with: arrays, or shapes.

    >>> work_of(lambda x: x * x + 1.0, jax.ShapeDtypeStruct((8,), "float32"))
    16
    """
    return _work(jax.make_jaxpr(fn)(*args).jaxpr)


def _work(jaxpr: Any) -> int:
    return sum(_work_of_equation(equation) for equation in jaxpr.eqns)


def _work_of_equation(equation: Any) -> int:
    inner = [_work(x) for x in _programs(equation.params)]
    name = equation.primitive.name
    if name == "scan":
        return equation.params["length"] * sum(inner)
    if inner:
        return max(inner) if name == "cond" else sum(inner)
    numbers = sum(math.prod(x.aval.shape) for x in equation.outvars)
    if name in _DRAWS:
        return RANDOM * numbers
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return numbers * math.prod(shape[axis] for axis in contracted)
    return numbers


def _programs(params: dict[str, Any]) -> list[Any]:
    """The programs within an operation: bodies of loops, branches, functions."""
    values = [
        x
        for value in params.values()
        for x in (value if isinstance(value, list | tuple) else [value])
    ]
    programs = [getattr(x, "jaxpr", x) for x in values]
    return [x for x in programs if hasattr(x, "eqns")]
