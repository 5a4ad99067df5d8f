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
