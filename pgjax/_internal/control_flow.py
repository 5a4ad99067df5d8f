"""Control flow that stays cheap under `vmap`: questions asked of all agents at once.

`vmap` turns a `while_loop` or `cond` whose predicate differs between agents into one
that runs both branches and selects, copying every buffer at every step. Asked through
`any_agent`, the predicate is the same for all agents, and stays a real branch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pgjax.types import Array

CHUNK = 64  # elements counted by one row of a matrix product


@jax.custom_batching.custom_vmap
def any_agent(mask: Array) -> Array:
    """Whether any element is true, for this agent or any other in the same `vmap`.

    Only for skipping work whose result is masked anyway: the answer depends on who
    else is in the batch, so nothing that an agent learns may depend on it.

    >>> print(any_agent(jnp.array([False, True])))
    True
    >>> print(jax.vmap(any_agent)(jnp.array([[False, True], [False, False]])))
    [ True  True]
    """
    return jnp.any(mask)


@any_agent.def_vmap
def _any_agent_vmap(axis_size, in_batched, mask):
    del axis_size, in_batched
    return any_agent(mask), False


def zeros_like(shapes: Any) -> Any:
    """A pytree of zeros with the shapes and types that `jax.eval_shape` returned."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def count_up_to(flat: Array) -> Array:
    """(M,) how many elements are true up to each one, itself included.

    In two levels, the lower one a product with a triangle of ones: on a CPU, a tenth
    of the time that a cumulative sum takes.
    """
    chunks = jnp.pad(flat, (0, -len(flat) % CHUNK)).reshape(-1, CHUNK)
    triangle = jnp.triu(jnp.ones((CHUNK, CHUNK), jnp.float32))
    within = chunks.astype(jnp.float32) @ triangle
    within = within.astype(jnp.int32)
    before = jnp.cumsum(within[:, -1], dtype=jnp.int32) - within[:, -1]
    return (before[:, None] + within).ravel()[: len(flat)]
