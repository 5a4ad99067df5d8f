"""Many agents at once: mapped, in blocks or batches, and split over devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pgjax.batching import zeros_like


def in_batches(
    fn: Callable[..., Any],
    agents: tuple[Any, ...],
    *,
    devices: Sequence[jax.Device] | None = None,
    agents_at_once: int | None = None,
) -> Any:
    """The results of `fn` for every agent, so many at a time.

    Args:
      fn: a function of one agent.
      agents: its arguments, leaves (S, ...).
      devices: where to run; by default all that there are.
      agents_at_once: how many run side by side; by default all.

    Returns:
      What `fn` returns, leaves (S, ...).
    """
    count = len(jax.tree.leaves(agents)[0])
    size = min(count, agents_at_once or count)
    devices = (jax.devices() if devices is None else list(devices))[:size]
    size = pad_agents(size, devices)
    run = jax.jit(over_agents(fn, devices))
    # The last batch is filled up with agents that have run before.
    index = np.arange(pad_agents(count, [None] * size)) % count
    results = [
        run(*jax.tree.map(lambda x, part=part: x[part], agents))
        for part in index.reshape(-1, size)
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *results)


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
    return over_devices(jax.vmap(fn), devices)


def over_active(
    fn: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device], *, block: int
) -> Callable[..., tuple[Any, Any]]:
    """As `over_agents`, but only for agents that are still active, block by block.

    Agents that are done cost nothing, and what a block of agents touches stays in the
    cache. A block takes as long as its busiest agent, so agents with about as much to
    do share one. Who shares a block changes nobody's numbers: every block is computed
    by the same program.

    Args:
      fn: maps the state of one agent, and other inputs, to the next state and outputs.
      devices: the number of agents must be a multiple of theirs; see `pad_agents`.
      block: how many agents of a device run side by side.

    Returns:
      A function of work (S,), states (S, ...) and inputs (S, ...), to be jitted. Work
      is how much each agent is expected to do, in any unit, and 0 for agents that are
      done. It returns the states, those of agents that are done as they were, and the
      outputs, zeros for them.
    """
    batched = jax.vmap(fn)

    def run(work: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        count, size = len(work), min(block, len(work))
        # The busiest agents first; in place of those that are done comes `count`,
        # which is nobody's number.
        order = jnp.argsort(-work, stable=True)
        order = jnp.where(work[order] > 0, order, count)
        order = jnp.pad(order, (0, size), constant_values=count)
        outputs = zeros_like(jax.eval_shape(batched, state, *inputs)[1])

        def step(i: Any, results: tuple) -> tuple:
            who = jax.lax.dynamic_slice_in_dim(order, i * size, size)
            # An agent that is done may be one whose episodes are long: free places are
            # filled with one that has to run anyway, and dropped.
            runs = jnp.where(who < count, who, who[0])
            taken = jax.tree.map(lambda x: x[runs], (results[0], *inputs))
            return jax.tree.map(
                lambda whole, part: whole.at[who].set(part, mode="drop"),
                results,
                batched(*taken),
            )

        num_blocks = -(-jnp.sum(work > 0) // size)
        return jax.lax.fori_loop(0, num_blocks, step, (state, outputs))

    return over_devices(run, devices)


def over_devices(
    batched: Callable[..., Any], devices: Sequence[jax.Device]
) -> Callable[..., Any]:
    """A function of agents, leaves (S, ...), on each device for its share of them."""
    if len(devices) == 1:
        return batched
    spec = PartitionSpec("agent")
    mesh = Mesh(devices, ("agent",))
    # Nothing is shared between devices, so there is nothing for `check_vma` to check,
    # and loop carries that start as constants need no marking.
    return jax.shard_map(
        batched, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )


def pad_agents(count: int, devices: Sequence[Any]) -> int:
    """The smallest multiple of the number of devices that holds `count` agents."""
    return -(-count // len(devices)) * len(devices)
