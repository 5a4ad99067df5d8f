"""Many agents at once: mapped, in blocks or batches, and split over devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pgjax._internal.compilation import jit_once
from pgjax._internal.control_flow import zeros_like
from pgjax._internal.meshes import (
    AGENT,
    AGENTS,
    ENV,
    make_mesh,
    of_agents,
    over_mesh,
    specs_of,
)


def in_batches(
    fn: Callable[..., Any],
    agents: tuple[Any, ...],
    *,
    mesh: Mesh | None = None,
    agents_at_once: int | None = None,
) -> Any:
    """The results of `fn` for every agent, so many at a time.

    Args:
      fn: a function of one agent; it is compiled once, see `jit_once`. Where the mesh
        splits environments, it is given `axis_name=`, too.
      agents: its arguments, leaves (S, ...).
      mesh: where to run; by default an axis of agents over all devices.
      agents_at_once: how many run side by side; by default all.

    Returns:
      What `fn` returns, leaves (S, ...).
    """
    count = len(jax.tree.leaves(agents)[0])
    size = min(count, agents_at_once or count)
    mesh = make_mesh() if mesh is None else mesh
    mesh = Mesh(mesh.devices[:size], mesh.axis_names)  # no device without an agent
    size = pad_agents(size, mesh.shape[AGENT])
    if mesh.shape[ENV] == 1:
        fn, out_specs = jit_once(fn), AGENTS
    else:
        one = jax.tree.map(lambda x: x[0], agents)
        out_specs = of_agents(specs_of(fn, *one, mesh=mesh))
        fn = partial(fn, axis_name=ENV)
    run = jit_once(over_mesh(jax.vmap(fn), mesh, out_specs=out_specs))
    # The last batch is filled up with agents that have run before.
    index = np.arange(pad_agents(count, size)) % count
    results = [
        run(*jax.tree.map(lambda x, part=part: x[part], agents))
        for part in index.reshape(-1, size)
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *results)


def over_active(
    fn: Callable[..., tuple[Any, Any]],
    mesh: Mesh,
    *,
    block: int,
    state_specs: Any = AGENTS,
) -> Callable[..., tuple[Any, Any]]:
    """A function of all agents, for those that are still active, block by block.

    Agents that are done cost nothing, and what a block of agents touches stays in the
    cache. A block takes as long as its busiest agent, so agents with about as much to
    do share one. Who shares a block changes nobody's numbers: every block is computed
    by the same program.

    Args:
      fn: maps the state of one agent, and other inputs, to the next state and outputs.
      mesh: the number of agents must be a multiple of its axis of agents; see
        `pad_agents`.
      block: how many agents of a device run side by side.
      state_specs: how their states are split over it.

    Returns:
      A function of work (S,), states (S, ...) and inputs (S, ...), to be jitted. Work
      is how much each agent is expected to do, in any unit, and 0 for agents that are
      done. It returns the states, those of agents that are done as they were, and the
      outputs, zeros for them.
    """
    batched = jax.jit(jax.vmap(fn), inline=True)  # traced once for shapes and steps

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

    def spread(work: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        in_specs = AGENTS, state_specs, *(AGENTS for _ in inputs)
        whole = over_mesh(run, mesh, in_specs, (state_specs, AGENTS))
        return whole(work, state, *inputs)

    return spread


def pad_agents(count: int, num_shares: int) -> int:
    """The least number of agents, `count` or more, that makes so many equal shares."""
    return -(-count // num_shares) * num_shares
