"""What a compiled program computes, moves and dispatches, counted from its HLO text.

XLA's own `cost_analysis` counts the body of a loop once; here it counts as often as
it runs. A fusion is one operation: what it reads and writes at its boundary is traffic,
and what is inside it stays in registers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pgjax.bench.hlo_text import Computation, Instruction, elements, parse, size

_TRANSCENDENTAL = """
    acos acosh asin asinh atan2 atanh cbrt cosh cosine erf exponential
    exponential-minus-one log log-plus-one logistic power rsqrt sine sinh sqrt tan tanh
""".split()  # noqa: SIM905
_ARITHMETIC = """
    abs add and ceil clamp compare convert count-leading-zeros divide floor is-finite
    maximum minimum multiply negate not or popcnt reduce-precision remainder rng
    rng-bit-generator round-nearest-afz round-nearest-even select shift-left
    shift-right-arithmetic shift-right-logical sign subtract xor
""".split()  # noqa: SIM905
# Names for values and for their order: nothing runs.
_FREE = """
    add-dependency after-all bitcast constant domain get-tuple-element opt-barrier
    parameter partition-id replica-id tuple
""".split()  # noqa: SIM905
_READS_PART = {"slice", "dynamic-slice", "gather"}  # of their first operand
_UPDATES = {"dynamic-update-slice", "scatter"}  # a part of their first operand


class Cost(NamedTuple):
    """What one execution of a program costs, on each device that it runs on."""

    matmul_flops: float = 0.0  # of dots, 2 M N K per batch, and of convolutions
    elementwise: float = (
        0.0  # results of additions, comparisons, selections and the like
    )
    transcendentals: float = 0.0  # results of exp, tanh, sqrt and the like
    bytes: float = 0.0  # read from and written to arrays that no cache holds
    cache_bytes: float = 0.0  # likewise, where one does
    operations: float = 0.0  # executed ones, each a dispatch


class _Program(NamedTuple):
    computations: dict[str, Computation]
    loops: tuple[float, ...]  # the last one holds for all loops further in
    taken: float
    cached: int
    costs: dict[tuple, Cost]  # of the computations counted so far


def count(
    text: str,
    *,
    loops: float | Sequence[float] = (),
    taken: float = 1.0,
    cached: int = 0,
) -> Cost:
    """Counts the work of a compiled program.

    Elementwise are the results of arithmetic, floating or integer, bitwise operations,
    comparisons, selections and conversions, one per element of the result. A reduction
    costs its operator once per element of its input, or per window and element in it; a
    scatter, once per update; a sort of n, its comparator n log2 n times. Copies,
    constants and changes of shape are no arithmetic. An element inside a fusion counts
    if it is needed, once: a slice of a sum is the sum of slices. XLA may compute an
    element again for each of its uses, which the text does not tell.

    An operation reads its operands and writes its result. Of what is sliced or gathered
    from, it reads only that part; where a slice is updated or scattered into an
    operand, it reads and writes only the update. Of a loop, traffic is that of the
    operations in it.

    Conditions of loops with a known number of iterations do not run. What XLA marks as
    a small call runs as one operation.

    On a GPU, products by cuBLAS count as matrix products; those that XLA turns into
    sums, as it does where one side is a vector, count as other arithmetic; convolutions
    and other work of libraries count by their traffic alone.

    Args:
      text: `compiled.as_text()`, where `compiled = jax.jit(f).lower(...).compile()`.
      loops: iterations of every loop whose number XLA does not know; >= 0. Where such
        loops are nested, a list of numbers, from the outermost in.
      taken: how often, in [0, 1], a conditional takes its most costly branch, the one
        with the largest sum over a `Cost`; otherwise it takes the cheapest.
      cached: bytes; arrays of so many at most are taken to stay in a cache.

    Returns:
      The work of one device; see `times` for that of several.

    Raises:
      ValueError: if there is a loop of unknown length and `loops` is not given, or
        `text` is not that of a program.
    """
    computations, entry = parse(text)
    known = tuple(loops) if isinstance(loops, Sequence) else (loops,)
    return _run(_Program(computations, known, taken, cached, {}), entry)


def times(cost: Cost, factor: float) -> Cost:
    """A cost, `factor` times."""
    return Cost(*(factor * x for x in cost))


def _total(costs: Iterable[Cost]) -> Cost:
    return Cost(*map(sum, zip(Cost(), *costs, strict=True)))


# The costs of what is executed: the entry, bodies of loops, branches.


def _run(program: _Program, name: str) -> Cost:
    key = name, program.loops
    if key not in program.costs:
        computation = program.computations[name]
        steps = (_execute(program, computation, i) for i in computation.values())
        program.costs[key] = _total(steps)
    return program.costs[key]


def _execute(program: _Program, computation: Computation, i: Instruction) -> Cost:
    if i.opcode in _FREE or i.opcode.endswith("-done"):
        return Cost()
    dispatch = Cost(operations=1.0)
    if i.opcode == "while":
        return _total([dispatch, _loop(program, i)])
    if i.opcode == "conditional":
        branches = sorted((_run(program, b) for b in _branches(i)), key=sum)
        often = times(branches[-1], program.taken)
        return _total([dispatch, often, times(branches[0], 1 - program.taken)])
    if i.opcode in ("call", "async-start"):
        inside = _run(program, _named(i, "to_apply") or _named(i, "calls"))
        small = "xla_cpu_small_call" in i.attributes
        return inside._replace(operations=1.0) if small else inside
    if i.opcode in ("fusion", "fusion-start"):
        kernel = program.computations[_named(i, "calls")]
    else:
        kernel = _alone(computation, i)
    return _kernel(program, kernel)._replace(operations=1.0)


def _loop(program: _Program, i: Instruction) -> Cost:
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', i.attributes)
    if known:
        return times(_run(program, _named(i, "body")), float(known[1]))
    if not program.loops:
        raise ValueError(
            f"XLA does not know how often the loop %{i.name} runs; give its number of "
            "iterations, such as loops=100"
        )
    loops, *others = program.loops
    body = _run(program._replace(loops=tuple(others) or (loops,)), _named(i, "body"))
    condition = _run(program, _named(i, "condition"))
    return _total([times(body, loops), times(condition, loops + 1)])


def _branches(i: Instruction) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", i.attributes)
    if listed:
        return re.findall(r"%([\w.\-]+)", listed[1])
    return [_named(i, "true_computation"), _named(i, "false_computation")]


def _named(i: Instruction, attribute: str) -> str:
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", i.attributes)
    return found[1] if found else ""


def _alone(computation: Computation, i: Instruction) -> Computation:
    """An operation that is not fused, as a fusion of it alone."""
    inputs = {
        name: computation[name]._replace(opcode="parameter", operands=[], is_root=False)
        for name in i.operands
    }
    return inputs | {i.name: i._replace(is_root=True)}


# The costs of what runs as one operation.


def _kernel(program: _Program, kernel: Computation) -> Cost:
    """The arithmetic and traffic of a fusion, or of an operator such as a comparator.

    From the root back, every instruction tells its operands how many of their elements
    it needs.
    """
    root = next(i for i in kernel.values() if i.is_root)
    outputs = _outputs(kernel, root)
    in_place = [i for i in outputs if _is_in_place(kernel, i)]
    written = [(_update(kernel, i) if i in in_place else i, i) for i in outputs]
    needed = dict.fromkeys(kernel, 0.0) | {root.name: max(1.0, elements(root))}
    costs = [_traffic(program, size(part), whole) for part, whole in written]
    for i in reversed(kernel.values()):
        if not needed[i.name]:
            continue
        share = min(1.0, needed[i.name] / max(1.0, elements(i)))
        for position, name in enumerate(i.operands):
            use = share * elements(kernel[name])
            if position == 0 and i.opcode in _READS_PART:
                use = share * elements(i)
            if position == 0 and i in in_place:
                # Only a scatter combines what it writes with what was there.
                is_read = i.opcode == "scatter"
                use = elements(_update(kernel, i)) if is_read else 0.0
            needed[name] += use
        if i.opcode == "parameter":
            costs.append(_traffic(program, share * size(i), i))
        else:
            costs.append(times(_arithmetic(program, kernel, i), share))
    return _total(costs)


def _traffic(program: _Program, moved: float, whole: Instruction) -> Cost:
    """So many bytes of an array, which a cache holds or not."""
    stays = size(whole) <= program.cached
    return Cost(cache_bytes=moved) if stays else Cost(bytes=moved)


def _outputs(kernel: Computation, i: Instruction) -> list[Instruction]:
    """What a fusion writes: its root, or each of the values in it."""
    if i.opcode == "tuple":
        return [out for name in i.operands for out in _outputs(kernel, kernel[name])]
    return [_source(kernel, i)]


def _source(kernel: Computation, i: Instruction) -> Instruction:
    return _source(kernel, kernel[i.operands[0]]) if i.opcode == "bitcast" else i


def _is_in_place(kernel: Computation, i: Instruction) -> bool:
    """Whether an output is a parameter of which only a part is written."""
    if i.opcode not in _UPDATES:
        return False
    return _source(kernel, kernel[i.operands[0]]).opcode == "parameter"


def _update(kernel: Computation, i: Instruction) -> Instruction:
    # A scatter has n operands, indices, and n updates.
    position = len(i.operands) // 2 + 1 if i.opcode == "scatter" else 1
    return kernel[i.operands[position]]


def _arithmetic(program: _Program, kernel: Computation, i: Instruction) -> Cost:
    """What it takes to compute all of a result."""
    operands = [kernel[name] for name in i.operands]
    if i.opcode in _ARITHMETIC:
        return Cost(elementwise=elements(i))
    if i.opcode in _TRANSCENDENTAL:
        return Cost(transcendentals=elements(i))
    if i.opcode == "dot":
        return Cost(_product(i, operands[0]))
    if i.opcode == "convolution":
        return Cost(_convolution(i, *operands))
    if i.opcode == "custom-call" and re.search("gemm|matmul", _target(i)):
        return Cost(_product(i, operands[0]))
    operator = _named(i, "to_apply") or _named(i, "calls") or _named(i, "select")
    if not operator:
        return Cost()
    once = _kernel(program, program.computations[operator])
    once = once._replace(bytes=0.0, cache_bytes=0.0)
    return times(once, _applications(kernel, i, operands[0]))


def _applications(kernel: Computation, i: Instruction, operand: Instruction) -> float:
    """How often an instruction applies the computation that it names."""
    if i.opcode in ("reduce", "all-reduce", "all-reduce-start", "reduce-scatter"):
        return elements(operand)
    if i.opcode == "map":
        return elements(i)
    if i.opcode == "reduce-window":
        return elements(i) * math.prod(_window(i, "size"))
    if i.opcode == "select-and-scatter":
        source = kernel[i.operands[1]]
        return elements(source) * math.prod(_window(i, "size"))
    if i.opcode == "scatter":
        return elements(_update(kernel, i))
    if i.opcode == "sort":
        along = re.search(r"dimensions=\{(\d+)\}", i.attributes)
        length = i.leaves[0][1][int(along[1])] if along else 1
        return elements(i) * math.log2(max(length, 1))
    return 1.0  # a fusion or a call within a fusion


def _product(i: Instruction, left: Instruction) -> float:
    """2 M N K per batch."""
    dims = left.leaves[0][1]
    contracted = r'lhs_contracting_dim(?:s=|ensions":)[{\[]([\d,"]*)[}\]]'
    found = re.search(contracted, i.attributes)
    if found:
        inner = math.prod(dims[int(axis)] for axis in re.findall(r"\d+", found[1]))
    else:  # the default of libraries, and an outer product otherwise
        inner = dims[-1] if i.opcode == "custom-call" else 1
    return 2.0 * elements(i) * inner


def _convolution(i: Instruction, x: Instruction, filters: Instruction) -> float:
    """2 per element of the result and of the filter that made it, padding included."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", i.attributes)
    dims = filters.leaves[0][1]
    features = dims[labels[1].index("o")] if labels else dims[-1]
    holes = math.prod(_window(i, "lhs_dilate"))  # of a gradient: zeros between inputs
    return 2.0 * elements(i) * elements(filters) / features / holes


def _window(i: Instruction, field: str) -> list[int]:
    found = re.search(rf"window=\{{[^}}]*\b{field}=([\dx]+)", i.attributes)
    return [int(n) for n in found[1].split("x")] if found else [1]


def _target(i: Instruction) -> str:
    found = re.search(r'custom_call_target="([^"]*)"', i.attributes)
    return found[1] if found else ""
