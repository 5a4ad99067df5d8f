"""What a machine can do at most, and what share of that a measured program reached.

A roofline: each part of a program's `hlo.Cost`, divided by the rate that the machine
reaches where nothing else limits it, is a time; the largest says what limits the
program. The parts overlap, so their sum may exceed what was measured, and a ceiling is
not always within reach: that of elementwise arithmetic is for multiply-adds in
registers, and a comparison or a division takes longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pgjax.bench.hlo import Cost, count, times
from pgjax.types import Array

CACHE = 16 * 2**20  # bytes; what a program touches stays in the caches if it is less
LITTLE = (
    0.25  # a program that no ceiling explains better than that is limited by others
)
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


class _Probe(NamedTuple):
    """A loop in which one thing takes nearly all of the time."""

    step: Callable[[Array], Array]  # what an iteration makes of an array
    shape: tuple[int, ...]  # of the array, on each device
    iterations: int
    arrays: int = 1  # independent ones, in the same loop
    value: float = 1.0  # of all elements at the start


def measure_ceilings(devices: Sequence[jax.Device], *, quick: bool = False) -> Ceilings:
    """Measures each rate on all devices at once; the best of several repetitions.

    It takes about 8 seconds, or 4 if `quick`, and 64 MiB per device of a CPU, 512 MiB
    on others. What else runs on the machine meanwhile lowers the ceilings.

    Args:
      devices: of one platform; those that the program in question runs on.
      quick: to repeat less.
    """
    seconds = 0.25 if quick else 1.0
    probes = _probes(on_cpu=devices[0].platform == "cpu")
    costs = {name: _rates(probe, devices, seconds) for name, probe in probes.items()}
    return Ceilings(
        costs["matmul"].matmul_flops,
        costs["elementwise"].elementwise,
        costs["transcendentals"].transcendentals,
        costs["bytes"].bytes,
        costs["cache_bytes"].bytes,
        costs["operations"].operations,
    )


def _probes(*, on_cpu: bool) -> dict[str, _Probe]:
    """Sizes by trial on a CPU with AVX-512; for others, by what they need to be busy.

    On a CPU, an array in the caches is 512 KiB, as is the hidden layer of 1,024
    environments: of smaller ones, in a core's own cache, copies may be faster, but XLA
    leaves them to one thread where a device has several. Of longer chains, it overlaps
    too few to hide their latency. Loops over arrays of up to 512 bytes dispatch five
    times as fast, but those over a batch of environments have larger ones.
    """
    side, chain = (1024, 6) if on_cpu else (8192, 64)
    cached, large = (2**17, 2**24) if on_cpu else (2**20, 2**27)
    often = 1000 if on_cpu else 100

    def multiply_adds(x: Array) -> Array:
        for _ in range(chain):
            x = x * 0.5 + 0.5
        return x

    return {
        # Its elements stay 1 / side.
        "matmul": _Probe(lambda x: x @ x, (side, side), 1, value=1 / side),
        "elementwise": _Probe(multiply_adds, (cached,), often),
        "transcendentals": _Probe(jnp.tanh, (cached,), often // 4),
        "bytes": _Probe(lambda x: x + 1.0, (large,), 4),
        "cache_bytes": _Probe(lambda x: x + 1.0, (cached,), often),
        "operations": _Probe(lambda x: x * 0.5 + 0.5, (256,), often, arrays=16),
    }


def _rates(probe: _Probe, devices: Sequence[jax.Device], seconds: float) -> Cost:
    """All that a probe does, per second; one of the rates is a ceiling."""
    mesh = Mesh(np.array(devices), ("devices",))
    spread = PartitionSpec("devices")

    def loop(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return jax.lax.fori_loop(
            0, probe.iterations, lambda _, xs: tuple(map(probe.step, xs)), arrays
        )

    shape = (len(devices) * probe.shape[0], *probe.shape[1:])
    sharding = NamedSharding(mesh, spread)
    arrays = tuple(
        jnp.full(shape, probe.value, jnp.float32, device=sharding)
        for _ in range(probe.arrays)
    )
    mapped = jax.shard_map(loop, mesh=mesh, in_specs=(spread,), out_specs=spread)
    # Donated: pages of memory that are new at every call would cost more than a copy.
    compiled = jax.jit(mapped, donate_argnums=0).lower(arrays).compile()
    cost = times(count(compiled.as_text() or ""), len(devices))
    return times(cost, 1 / _fastest(compiled, arrays, seconds))


def _fastest(run: Callable[[Any], Any], x: Any, seconds: float) -> float:
    """The shortest time of at least 3 runs, each from the last, in about `seconds`."""
    x = jax.block_until_ready(run(x))
    end = time.perf_counter() + seconds
    durations: list[float] = []
    while len(durations) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        x = jax.block_until_ready(run(x))
        durations.append(time.perf_counter() - start)
    return min(durations)


def shares(
    cost: Cost, seconds: float, ceilings: Ceilings, *, working_set: float = math.inf
) -> Shares:
    """The share of each ceiling that a program reached.

    Args:
      cost: of what ran in that time on all devices: `hlo.times(hlo.count(text),
        len(devices))`.
      seconds: that it took; > 0.
      ceilings: of the same devices.
      working_set: bytes that the program touches again and again, on all devices; where
        they are at most `CACHE`, traffic is held against `cache_bytes`.
    """
    traffic = ceilings.cache_bytes if working_set <= CACHE else ceilings.bytes
    return Shares(
        cost.matmul_flops / ceilings.matmul_flops / seconds,
        cost.elementwise / ceilings.elementwise / seconds,
        cost.transcendentals / ceilings.transcendentals / seconds,
        cost.bytes / traffic / seconds,
        cost.operations / ceilings.operations / seconds,
    )


def limit(shares: Shares) -> str:
    """What limits a program, in words: the ceiling that it is nearest to.

    Where all of them together explain little of the time, that is what it says.
    """
    if sum(shares) < LITTLE:
        return "none"
    return WORDS[shares._fields[shares.index(max(shares))]]
