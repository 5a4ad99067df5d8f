"""The text of a compiled program, read: its computations and their instructions."""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Instruction(NamedTuple):
    """One line of a computation: `%name = f32[2,3]{1,0} opcode(%operand), ...`."""

    name: str
    leaves: list[tuple[str, tuple[int, ...]]]  # dtype and dimensions
    opcode: str
    operands: list[str]
    attributes: str  # what follows the operands
    is_root: bool


Computation = dict[str, Instruction]  # in order: operands come before their users


def elements(i: Instruction) -> float:
    """Of an array; of a tuple, those of its first: a reduction's are alike."""
    return float(math.prod(i.leaves[0][1])) if i.leaves else 0.0


def size(i: Instruction) -> float:
    """The bytes of an array, or of all those of a tuple."""
    return sum(math.prod(dims) * _width(dtype) for dtype, dims in i.leaves)


def _width(dtype: str) -> float:
    """Bytes of an element; those of fewer than 8 bits are packed."""
    bits = re.search(r"\d+", dtype)  # bf16, f8e4m3fn, s4
    return int(bits[0]) / 8 if bits else float(dtype == "pred")


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations by name, and the name of the one that runs."""
    computations: dict[str, Computation] = {}
    entry = ""
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            current: Computation = {}
            computations[header[2]] = current
            entry = header[2] if header[1] else entry
        elif computations and re.match(r"\s+(ROOT )?%?[\w.\-]+ = ", line):
            instruction = _instruction(line.strip())
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("this is no HLO text: give compiled.as_text()")
    return computations, entry


def _instruction(line: str) -> Instruction:
    """Parses `ROOT %name = f32[2,3]{1,0} opcode(%a, %b), attributes`."""
    left, right = line.split(" = ", 1)
    end = _closing(right, 0) if right.startswith("(") else right.index(" ")
    shape, rest = right[:end], right[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    leaves = [
        (dtype, tuple(map(int, re.findall(r"\d+", dims))))
        for dtype, dims in re.findall(r"(\w+)\[([^\]]*)\]", shape)
    ]
    return Instruction(
        name=left.removeprefix("ROOT ").removeprefix("%"),
        leaves=leaves,
        opcode=rest[:opening],
        operands=re.findall(r"%([\w.\-]+)", rest[opening:closing]),
        attributes=rest[closing:],
        is_root=left.startswith("ROOT "),
    )


def _closing(text: str, opening: int) -> int:
    """The place after the bracket that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place + 1
    raise ValueError(f"a bracket is not closed in {text!r}")
