"""What a machine can do at most: each rate where nothing else limits it.

What else runs on a shared machine lowers a ceiling that is measured meanwhile, and a
program that is then held against it looks better than it is. So ceilings are measured
again and again, between the programs, and the best is what counts. Nor is a ceiling
less than what one of the programs reached, whatever its probe found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pgjax.bench.hlo import Cost, count, times
from pgjax.bench.roofline import WORDS, Ceilings, largest_cached
from pgjax.networks.products import product
from pgjax.types import Array

SECONDS = 0.2  # of each probe, in each measurement


class Gauges:
    """The gauges of the first so many devices, each made when it is first asked for."""

    def __init__(self, devices: Sequence[jax.Device]):
        self._devices = devices
        self._made: dict[int, Gauge] = {}

    def of(self, count: int) -> Gauge:
        """That of the first `count` devices."""
        if count not in self._made:
            self._made[count] = Gauge(self._devices[:count])
        return self._made[count]

    def made(self) -> list[Gauge]:
        """All there are, by their number of devices."""
        return [self._made[count] for count in sorted(self._made)]


class _Probe(NamedTuple):
    """A loop in which one thing takes nearly all of the time."""

    step: Callable[[Array], Array]  # what an iteration makes of an array
    shape: tuple[int, ...]  # of the array, on each device
    iterations: int
    arrays: int = 1  # independent ones, in the same loop
    value: float = 1.0  # of all elements at the start


class Gauge:
    """The ceilings of some devices, which every measurement may raise.

    A measurement takes about 2 seconds, and 64 MiB per device of a CPU, 512 MiB on
    others.

    Args:
      devices: of one platform; those that the programs in question run on.

    Attributes:
      num_devices: how many they are.
      measured: what each measurement found; the first one is made at once.
      reached: the best rates of the programs that were held against the ceilings.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        probes = _probes(on_cpu=devices[0].platform == "cpu")
        self._loops = {name: _Loop(probe, devices) for name, probe in probes.items()}
        self.num_devices = len(devices)
        self.measured: list[Ceilings] = []
        self.reached = Ceilings(*[0.0] * len(Ceilings._fields))
        self.measure()

    def measure(self, seconds: float = SECONDS) -> None:
        """Measures each rate on all devices at once, for so many seconds each."""
        rates = {name: loop.rates(seconds) for name, loop in self._loops.items()}
        found = Ceilings(
            rates["matmul"].matmul_flops,
            rates["elementwise"].elementwise,
            rates["transcendentals"].transcendentals,
            rates["bytes"].bytes,
            rates["cache_bytes"].cache_bytes,
            rates["operations"].operations,
        )
        self.measured.append(found)

    def raise_to(self, cost: Cost, seconds: float) -> None:
        """Takes note of a float32 program that did so much in so many seconds."""
        rates = (part / seconds for part in cost)
        self.reached = Ceilings(*map(max, self.reached, rates))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: the ceilings, and all that was measured of each."""
        measured = {
            name: [getattr(found, name) for found in self.measured]
            for name in Ceilings._fields
        }
        best = self.ceilings._asdict()
        return {
            "devices": self.num_devices,
            **best,
            "measured": measured,
            "reached": self.reached._asdict(),
        }

    @property
    def raised(self) -> list[str]:
        """The ceilings, in words, that are what a program reached and no probe."""
        probed = map(max, zip(*self.measured, strict=True))
        parts = zip(WORDS.values(), self.reached, probed, strict=True)
        return [words for words, reached, best in parts if reached > best]

    @property
    def ceilings(self) -> Ceilings:
        """The best of all measurements, or of what programs reached."""
        return Ceilings(*map(max, zip(*self.measured, self.reached, strict=True)))


def _probes(*, on_cpu: bool) -> dict[str, _Probe]:
    """Sizes by trial on a CPU with AVX-512, and on an H200.

    On a CPU, an array in the caches is 512 KiB, as is the hidden layer of 1,024
    environments: of smaller ones, in a core's own cache, copies may be faster, but XLA
    leaves them to one thread where a device has several. Of longer chains, it overlaps
    too few to hide their latency. Loops over arrays of up to 512 bytes dispatch five
    times as fast, but those over a batch of environments have larger ones.

    On a GPU every operation is a launch, which takes as long as megabytes of work: so
    arrays are larger and chains longer. Its loop of small operations is fused into one
    operation, and what a loop costs beside is a part of it: programs with more of them
    in a loop dispatch more than twice as fast.
    """
    side, chain, tanhs = (1024, 6, 1) if on_cpu else (8192, 512, 32)
    stays, large = (2**17, 2**24) if on_cpu else (2**22, 2**27)
    often = 1000 if on_cpu else 100

    def multiply_add(x: Array) -> Array:
        return x * 0.5 + 0.5

    def in_turn(step: Callable[[Array], Array], times: int) -> Callable[[Array], Array]:
        def steps(x: Array) -> Array:
            for _ in range(times):
                x = step(x)
            return x

        return steps

    return {
        # Its elements stay 1 / side.
        "matmul": _Probe(lambda x: product(x, x), (side, side), 1, value=1 / side),
        "elementwise": _Probe(in_turn(multiply_add, chain), (stays,), often),
        "transcendentals": _Probe(in_turn(jnp.tanh, tanhs), (stays,), often // 4),
        "bytes": _Probe(lambda x: x + 1.0, (large,), 4),
        "cache_bytes": _Probe(lambda x: x + 1.0, (stays,), often),
        "operations": _Probe(multiply_add, (256,), often, arrays=16),
    }


class _Loop:
    """A probe, compiled for some devices."""

    def __init__(self, probe: _Probe, devices: Sequence[jax.Device]):
        mesh = Mesh(np.array(devices), ("devices",))
        spread = PartitionSpec("devices")

        def loop(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            return jax.lax.fori_loop(
                0, probe.iterations, lambda _, xs: tuple(map(probe.step, xs)), arrays
            )

        self._probe = probe
        self._shape = (len(devices) * probe.shape[0], *probe.shape[1:])
        self._sharding = NamedSharding(mesh, spread)
        mapped = jax.shard_map(loop, mesh=mesh, in_specs=(spread,), out_specs=spread)
        # Donated: pages of memory that are new at every call cost more than a copy.
        jitted = jax.jit(mapped, donate_argnums=0)
        self._compiled = jitted.lower(self._arrays()).compile()
        cost = count(self._compiled.as_text() or "", cached=largest_cached(devices[0]))
        self._cost = times(cost, len(devices))

    def rates(self, seconds: float) -> Cost:
        """All that the probe does, per second, in the fastest of at least 3 runs."""
        arrays = jax.block_until_ready(self._compiled(self._arrays()))
        end = time.perf_counter() + seconds
        durations: list[float] = []
        while len(durations) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            arrays = jax.block_until_ready(self._compiled(arrays))
            durations.append(time.perf_counter() - start)
        return times(self._cost, 1 / min(durations))

    def _arrays(self) -> tuple[Array, ...]:
        shape, value = self._shape, self._probe.value
        return tuple(
            jnp.full(shape, value, jnp.float32, device=self._sharding)
            for _ in range(self._probe.arrays)
        )
