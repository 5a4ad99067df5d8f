"""What share of a machine's ceilings a measured program reached.

A roofline: each part of a program's `hlo.Cost`, divided by the rate that the machine
reaches where nothing else limits it, is a time; the largest says what limits the
program. The parts overlap, so their sum may exceed what was measured, and a ceiling is
not always within reach: that of elementwise arithmetic is for multiply-adds in
registers, and a comparison or a division takes longer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pgjax.bench.hlo import Cost

CACHE = 16 * 2**20  # bytes; what a program touches stays in the caches if it is less
LITTLE = 0.25  # of the time; of what all ceilings explain less, others are the limit
WORDS = {
    "matmul": "matrix products",
    "elementwise": "other arithmetic",
    "transcendentals": "exp and tanh",
    "bytes": "memory",
    "operations": "dispatch",
}


class Ceilings(NamedTuple):
    """Rates per second, of all devices together."""

    matmul_flops: float  # of a large product of float32 matrices
    elementwise: float  # results of multiply-adds on what stays in registers and caches
    transcendentals: float  # results of tanh, likewise
    bytes: float  # read and written in arrays far larger than the caches
    cache_bytes: float  # likewise in arrays that stay in the caches
    operations: float  # of the smallest operations in a loop


class Shares(NamedTuple):
    """Seconds that a part of the work takes at its ceiling, by seconds measured."""

    matmul: float
    elementwise: float
    transcendentals: float
    bytes: float
    operations: float


class Verdict(NamedTuple):
    """How near to the ceilings a program comes."""

    shares: Shares
    limit: str  # the ceiling that it is nearest to, in words; "none" if they say little
    bound: float  # how many times as fast it were if that ceiling alone were the limit


def judge(
    cost: Cost, seconds: float, ceilings: Ceilings, *, working_set: float = math.inf
) -> Verdict:
    """Holds a program against the ceilings.

    Args:
      cost: of what ran in that time on all devices: `hlo.times(hlo.count(text),
        len(devices))`.
      seconds: that it took; > 0.
      ceilings: of the same devices.
      working_set: bytes that the program touches again and again, on all devices; where
        they are at most `CACHE`, traffic is held against `cache_bytes`.
    """
    traffic = ceilings.cache_bytes if working_set <= CACHE else ceilings.bytes
    shares = Shares(
        cost.matmul_flops / ceilings.matmul_flops / seconds,
        cost.elementwise / ceilings.elementwise / seconds,
        cost.transcendentals / ceilings.transcendentals / seconds,
        cost.bytes / traffic / seconds,
        cost.operations / ceilings.operations / seconds,
    )
    nearest = WORDS[shares._fields[shares.index(max(shares))]]
    limit = nearest if sum(shares) >= LITTLE else "none"
    return Verdict(shares, limit, 1 / max(shares))
