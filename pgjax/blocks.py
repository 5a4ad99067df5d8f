"""Work over a (T, N) batch, a block of time at a time.

A gradient over a large batch is bound by memory: its activations do not fit the cache.
Smaller blocks were measured up to 1.7 times as fast on a CPU where several agents are
batched, hardly faster for one agent, and blocks that are all padding can be skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.batching import any_agent, zeros_like
from pgjax.types import Array

BLOCK_SAMPLES = 512


def sum_over_time(fn: Callable[[Any], Any], batch: Any, needed: Array) -> Any:
    """The sum of `fn(block)` over blocks of time, leaf by leaf.

    Args:
      fn: maps a block, `batch` with a shorter T, to a pytree of sums over its samples.
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool; blocks without any needed sample may be skipped, so `fn` must
        be zero on samples that are not needed, zeros in all leaves among them.

    Returns:
      What `fn(batch)` would return, up to rounding.
    """
    blocks, needed_blocks = _split((batch, needed), needed.shape)

    def add(total: Any, block: Any) -> Any:
        return jax.tree.map(jnp.add, total, fn(block))

    def skip(total: Any, block: Any) -> Any:
        return total

    def step(total: Any, inputs: tuple) -> tuple[Any, None]:
        block, block_needed = inputs
        return jax.lax.cond(any_agent(block_needed), add, skip, total, block), None

    first = jax.tree.map(lambda x: x[0], blocks)
    zero = zeros_like(jax.eval_shape(fn, first))
    return jax.lax.scan(step, zero, (blocks, needed_blocks))[0]


def map_over_time(fn: Callable[[Any], Array], batch: Any, needed: Array) -> Array:
    """`fn(block)` for blocks of time, put together again; zeros where nobody needs it.

    Args:
      fn: maps a block, `batch` with a shorter T, to a (T, N, ...) array, sample by
        sample.
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool; the result is only defined where this is true.

    Returns:
      A (T, N, ...) array.
    """
    blocks, needed_blocks = _split((batch, needed), needed.shape)
    first = jax.tree.map(lambda x: x[0], blocks)
    zero = zeros_like(jax.eval_shape(fn, first))

    def step(inputs: tuple) -> Array:
        block, block_needed = inputs
        return jax.lax.cond(any_agent(block_needed), fn, lambda _: zero, block)

    rows = jax.lax.map(step, (blocks, needed_blocks))
    return rows.reshape(-1, *rows.shape[2:])[: needed.shape[0]]


def _split(tree: Any, shape: tuple[int, ...]) -> Any:
    """(T, ...) leaves to (blocks, T / blocks, ...), with zeros after the last step."""
    num_steps, num_envs = shape
    num_blocks = min(num_steps, -(-num_steps * num_envs // BLOCK_SAMPLES))
    length = -(-num_steps // num_blocks)
    padding = num_blocks * length - num_steps

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
        return x.reshape(num_blocks, length, *x.shape[1:])

    return jax.tree.map(split, tree)
