"""Work over the samples of a (T, N) batch that count, a block of samples at a time.

Complete episodes are padded to the time limit: on CartPole, most of a young agent's
batch is padding. Samples that count are therefore put side by side first, and padding
costs nothing. Smaller blocks stay in the cache, where a gradient over a large batch is
bound by memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.batching import any_agent, zeros_like
from pgjax.types import Array

BLOCK_SAMPLES = 512  # at most
# Samples of a block per environment: an agent with few environments is one of many that
# run side by side, and has few samples that count.
STEPS = 32


def sum_over_samples(fn: Callable[[Any], Any], batch: Any, needed: Array) -> Any:
    """The sum of `fn(block)` over blocks of samples, leaf by leaf.

    Args:
      fn: maps a block, leaves (B, ...), to a pytree of sums over its samples. It must
        be zero for samples that are zero in all leaves: they fill up the last block.
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool: the samples to sum over.

    Returns:
      What `fn` would return for one block of all the samples needed, up to rounding.
    """
    order, take = _blocks(batch, needed)

    def add(total: Any, index: Array) -> Any:
        return jax.tree.map(jnp.add, total, fn(take(index)))

    def skip(total: Any, index: Array) -> Any:
        return total

    def step(total: Any, index: Array) -> tuple[Any, None]:
        return jax.lax.cond(_anyone(index, needed), add, skip, total, index), None

    zero = zeros_like(jax.eval_shape(lambda index: fn(take(index)), order[0]))
    return jax.lax.scan(step, zero, order)[0]


def map_over_samples(fn: Callable[[Any], Array], batch: Any, needed: Array) -> Array:
    """`fn(block)` for blocks of samples, put together again; zeros elsewhere.

    Args:
      fn: maps a block, leaves (B, ...), to a (B, ...) array, sample by sample.
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool: the samples to map.

    Returns:
      A (T, N, ...) array, zero where a sample is not needed.
    """
    order, take = _blocks(batch, needed)
    zero = zeros_like(jax.eval_shape(lambda index: fn(take(index)), order[0]))

    def step(index: Array) -> Array:
        return jax.lax.cond(
            _anyone(index, needed), lambda i: fn(take(i)), lambda _: zero, index
        )

    rows = jax.lax.map(step, order)
    rows = rows.reshape(-1, *rows.shape[2:])
    whole = jnp.zeros((needed.size, *rows.shape[1:]), rows.dtype)
    whole = whole.at[order.ravel()].set(rows, mode="drop")
    return whole.reshape(*needed.shape, *rows.shape[1:])


def _blocks(batch: Any, needed: Array) -> tuple[Array, Callable[[Array], Any]]:
    """The numbers of the samples needed, (blocks, B), and what takes them by number.

    After the last one comes T * N, which is no sample's number; it takes zeros.
    """
    total = needed.size
    size = min(BLOCK_SAMPLES, STEPS * needed.shape[1], total)
    room = -(-total // size) * size
    order = jnp.nonzero(jnp.ravel(needed), size=room, fill_value=total)[0]
    samples = jax.tree.map(lambda x: jnp.reshape(x, (total, *x.shape[2:])), batch)

    def take(index: Array) -> Any:
        return jax.tree.map(
            lambda x: jnp.asarray(x).at[index].get(mode="fill", fill_value=0), samples
        )

    return order.reshape(-1, size), take


def _anyone(index: Array, needed: Array) -> Array:
    """Whether any agent has a sample in this block."""
    return any_agent(index[:1] < needed.size)
