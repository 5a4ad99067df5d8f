"""Many agents in one compiled program, placed on all devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec


def over_agents(
    fn: Callable[..., Any], devices: Sequence[jax.Device]
) -> Callable[..., Any]:
    """`vmap` over agents, the leading axis of every argument, split over devices.

    Each device runs its share of the agents by itself and waits for no other. On a CPU,
    one XLA device per core is faster than one device with a thread per core.

    Args:
      fn: a function of one agent.
      devices: the number of agents must be a multiple of theirs; see `pad_agents`.

    Returns:
      A function of agents, to be jitted.
    """
    batched = jax.vmap(fn)
    if len(devices) == 1:
        return batched
    spec = PartitionSpec("agent")
    mesh = Mesh(devices, ("agent",))
    # Nothing is shared between devices, so there is nothing for `check_vma` to check,
    # and loop carries that start as constants need no marking.
    return jax.shard_map(
        batched, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )


def pad_agents(count: int, devices: Sequence[jax.Device]) -> int:
    """The smallest multiple of the number of devices that holds `count` agents."""
    return -(-count // len(devices)) * len(devices)
