"""Where the random numbers of a function come from: which of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

_DRAWS = {"random_bits", "threefry2x32"}

Sources = frozenset[int]  # numbers of arguments, in the order of their leaves


class Traced(NamedTuple):
    """What a function's program says of it."""

    draws: list[Sources]  # of each place where random numbers are drawn: from what
    outputs: list[Sources]  # of each leaf of the result: what it depends on
    passed_on: dict[int, int]  # arguments that are results as they are: which ones


def trace(fn: Callable, *arguments: Any) -> Traced:
    """Follows a function's arguments through its program, without computing it."""
    program = jax.make_jaxpr(fn)(*arguments).jaxpr
    sources = [frozenset([i]) for i in range(len(program.invars))]
    draws: list[Sources] = []
    outputs = _follow(program, sources, draws)
    numbers = {id(x): i for i, x in enumerate(program.invars)}
    passed_on = {
        numbers[id(x)]: i for i, x in enumerate(program.outvars) if id(x) in numbers
    }
    return Traced(draws, outputs, passed_on)


def _follow(
    program: Any, inputs: Sequence[Sources], draws: list[Sources]
) -> list[Sources]:
    """What the outputs of a program depend on, given what its inputs do."""
    known = {id(x): of for x, of in zip(program.invars, inputs, strict=True)}

    def of(x: Any) -> Sources:
        return known.get(id(x), frozenset())  # a constant depends on nothing

    for equation in program.eqns:
        given = [of(x) for x in equation.invars]
        everything = frozenset().union(*given)
        results = [everything] * len(equation.outvars)
        if equation.primitive.name in _DRAWS:
            draws.append(everything)
        inner = [x for p in equation.params.values() for x in _programs(p)]
        exact = equation.primitive.name in ("jit", "pjit", "closed_call")
        for x in inner:
            if exact and len(x.invars) == len(given):
                results = _follow(x, given, draws)
            else:  # a loop, or a choice: anything may depend on all
                found: list[Sources] = []
                _follow(x, [everything] * len(x.invars), found)
                draws += found
        known |= {id(x): y for x, y in zip(equation.outvars, results, strict=True)}
    return [of(x) for x in program.outvars]


def _programs(parameter: Any) -> list[Any]:
    """The programs within a parameter of an equation."""
    if isinstance(parameter, tuple | list):
        return [x for part in parameter for x in _programs(part)]
    parameter = getattr(parameter, "jaxpr", parameter)  # of a closed one
    return [parameter] if hasattr(parameter, "eqns") else []
