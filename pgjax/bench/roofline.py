"""What share of a machine's ceilings a measured program reached.

A roofline: each part of a program's `hlo.Cost`, divided by the rate that the machine
reaches where nothing else limits it, is a time; the largest says what limits the
program. The parts overlap, so their sum may exceed what was measured, and a ceiling is
not always within reach: that of elementwise arithmetic is for multiply-adds in
registers, and a comparison or a division takes longer.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from pgjax.bench.hlo import Cost

# Bytes of the largest array that is taken to stay in a cache, some level of it, while a
# program uses it beside others. That is generous: memory traffic is at least what is
# counted as such. (The last cache of two cores was 32 MiB, that of an H200 is 60 MB.)
CPU_CACHED, ACCELERATOR_CACHED = 8 * 2**20, 16 * 2**20
LITTLE = 0.25  # of the time; of what all ceilings explain less, others are the limit
WORDS = {
    "matmul": "matrix products",
    "elementwise": "other arithmetic",
    "transcendentals": "exp and tanh",
    "bytes": "memory",
    "cache_bytes": "caches",
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
    cache_bytes: float
    operations: float


class Verdict(NamedTuple):
    """How near to the ceilings a program comes."""

    shares: Shares
    limit: str  # the ceiling that it is nearest to, in words; "none" if they say little
    bound: float  # how many times as fast it were if that ceiling alone were the limit


def largest_cached(device: jax.Device) -> int:
    """The bytes of the largest array that is taken to stay in a device's caches."""
    return CPU_CACHED if device.platform == "cpu" else ACCELERATOR_CACHED


def judge(cost: Cost, seconds: float, ceilings: Ceilings) -> Verdict:
    """Holds a program against the ceilings.

    Args:
      cost: of what ran in that time on all devices: `hlo.times(hlo.count(text),
        len(devices))`.
      seconds: that it took; > 0.
      ceilings: of the same devices.
    """
    # Both have a rate for each part, of the same name and in the same order.
    shares = Shares(
        *(x / rate / seconds for x, rate in zip(cost, ceilings, strict=True))
    )
    nearest = WORDS[shares._fields[shares.index(max(shares))]]
    limit = nearest if sum(shares) >= LITTLE else "none"
    return Verdict(shares, limit, 1 / max(shares))
