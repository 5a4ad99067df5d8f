"""Work over the samples of a (T, N) batch that count, a block of samples at a time.

Complete episodes are padded to the time limit: on CartPole, most of a young agent's
batch is padding. Samples that count are therefore put side by side first, and padding
costs nothing but the rest of the last block. On a CPU, small blocks stay in the cache,
where a gradient over a large batch is bound by memory; an accelerator wants large ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pgjax._internal.collectives import sum_over_devices
from pgjax._internal.control_flow import any_agent, count_up_to, zeros_like
from pgjax._internal.xla import on_cpu
from pgjax.types import Array, AxisName

# Samples of a block, at most. On an accelerator, blocks of images have fewer: their
# layers' outputs are some ten times their own size, and have to fit into its memory. So
# have those of wide layers, of which nothing is known here: with 4,096 units, a block
# of 2**20 is 16 GiB for each of them, and ACCELERATOR_SAMPLES should be set to less,
# before the first training step: programs that are compiled are kept.
CPU_SAMPLES, ACCELERATOR_SAMPLES = 512, 2**20
ACCELERATOR_NUMBERS = 2**26
# Samples of a block per environment: an agent with few environments is one of many that
# run side by side, and has few samples that count.
STEPS = 32


def most_samples(numbers: int) -> int:
    """How many samples, of so many numbers each, a block has at most."""
    if on_cpu():
        return CPU_SAMPLES
    fitting = ACCELERATOR_NUMBERS // max(1, numbers)
    return max(1, min(ACCELERATOR_SAMPLES, fitting))


def sum_over_samples(
    fn: Callable[[Any, Any], Any],
    batch: Any,
    weights: Any,
    needed: Array,
    *,
    axis_name: AxisName = None,
) -> Any:
    """The sum of `fn(block, weights)` over blocks of samples, leaf by leaf.

    Blocks are of one size. What is left of the last one is filled up with a sample that
    is needed, once more, of weight 0: no network meets observations or actions that no
    environment gave, where it may have no legal action, and 0 times what it says is 0.

    Args:
      fn: maps a block and its weights, leaves (B, ...), to a pytree of sums over the
        samples, in proportion to their weights: 0 for a sample whose weights are 0.
      batch: a pytree of (T, N, ...) arrays.
      weights: a pytree of (T, N) arrays.
      needed: (T, N) bool: the samples to sum over.
      axis_name: of the devices that share the environments; the sum is then over the
        samples of all of them.

    Returns:
      What `fn` would return for one block of all the samples needed, up to rounding.
    """
    order = _blocks((batch, weights), needed)

    def take(index: Array) -> Any:
        return fn(*_take((batch, weights), index, order[0, 0]))

    sums = _sum(take, order, lambda index: any_agent(index[0] < needed.size))
    # Where no sample is needed, blocks are of anything: its sum is 0 and not NaN.
    some = order[0, 0] < needed.size
    sums = jax.tree.map(lambda x: jnp.where(some, x, jnp.zeros_like(x)), sums)
    return sum_over_devices(sums, axis_name)


def sum_over_slices(
    fn: Callable[[Any, Any], Any],
    samples: Any,
    weights: Any,
    *,
    axis_name: AxisName = None,
) -> Any:
    """The sum of `fn(block, weights)` over blocks of samples that follow each other.

    Args:
      fn: as for `sum_over_samples`; the last sample is what fills up the last block.
      samples: a pytree of (M, ...) arrays; all of them count.
      weights: a pytree of (M,) arrays.
      axis_name: as for `sum_over_samples`.
    """
    total = len(jax.tree.leaves(samples)[0])
    size = min(most_samples(_numbers((samples, weights), 1)), total)
    missing = -total % size

    def split(x: Array, **filler: Any) -> Array:
        widths = ((0, missing),) + ((0, 0),) * (x.ndim - 1)
        return jnp.pad(x, widths, **filler).reshape(-1, size, *x.shape[1:])

    blocks = (
        jax.tree.map(partial(split, mode="edge"), samples),
        jax.tree.map(split, weights),
    )
    return sum_over_devices(_sum(lambda block: fn(*block), blocks), axis_name)


def instead_of_padding(batch: Any, needed: Array) -> Any:
    """The batch with the first sample that is needed in place of all that are not.

    For what looks at all samples, and gives padding the weight 0: see
    `sum_over_samples`.

    Args:
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool.
    """
    first = jnp.argmax(jnp.ravel(needed))

    def fill(x: Array) -> Array:
        x = jnp.asarray(x)
        sample = x.reshape(-1, *x.shape[2:])[first]
        mask = needed.reshape(needed.shape + (1,) * (x.ndim - 2))
        return jnp.where(mask, x, sample[None, None])

    return jax.tree.map(fill, batch)


def map_over_samples(fn: Callable[[Any], Array], batch: Any, needed: Array) -> Array:
    """`fn(block)` for blocks of samples, put together again; zeros elsewhere.

    Args:
      fn: maps a block, leaves (B, ...), to a (B, ...) array, sample by sample.
      batch: a pytree of (T, N, ...) arrays.
      needed: (T, N) bool: the samples to map.

    Returns:
      A (T, N, ...) array, zero where a sample is not needed.
    """
    order = _blocks(batch, needed)

    def rows_of(index: Array) -> Array:
        return fn(_take((batch, ()), index, order[0, 0])[0])

    row = jax.eval_shape(rows_of, order[0])
    whole = jnp.zeros((needed.size, *row.shape[1:]), row.dtype)

    def step(whole: Array, index: Array) -> tuple[Array, None]:
        def write(whole: Array) -> Array:
            return whole.at[index].set(rows_of(index), mode="drop")

        used = any_agent(index[0] < needed.size)
        return jax.lax.cond(used, write, lambda whole: whole, whole), None

    whole, _ = jax.lax.scan(step, whole, order)
    return whole.reshape(*needed.shape, *row.shape[1:])


def _sum(
    fn: Callable[[Any], Any],
    blocks: Any,
    used: Callable[[Any], Array] = lambda _: jnp.bool_(True),
) -> Any:
    """The sum of `fn` over the blocks that are used by any agent."""
    first = jax.tree.map(lambda x: x[0], blocks)
    if len(jax.tree.leaves(blocks)[0]) == 1:
        return fn(first)

    def add(sums: Any, block: Any) -> Any:
        return jax.tree.map(jnp.add, sums, fn(block))

    def step(sums: Any, block: Any) -> tuple[Any, None]:
        return jax.lax.cond(used(block), add, lambda sums, _: sums, sums, block), None

    zero = zeros_like(jax.eval_shape(fn, first))
    return jax.lax.scan(step, zero, blocks)[0]


def _numbers(samples: Any, axes: int) -> int:
    """How many numbers one sample has, where so many axes are those of samples."""
    return sum(math.prod(x.shape[axes:]) for x in jax.tree.leaves(samples))


def _blocks(batch: Any, needed: Array) -> Array:
    """The numbers of the samples needed, (blocks, B), in order.

    After the last one comes T * N, which is no sample's number.
    """
    total = needed.size
    most = most_samples(_numbers(batch, 2))
    size = min(most, STEPS * needed.shape[1], total)
    room = -(-total // size) * size
    flat = jnp.ravel(needed)
    place = jnp.where(flat, count_up_to(flat) - 1, room)
    order = jnp.arange(total, dtype=jnp.int32)
    numbers = jnp.full(room, total, jnp.int32).at[place].set(order, mode="drop")
    return numbers.reshape(-1, size)


def _take(batch: Any, index: Array, filler: Array) -> Any:
    """The samples, and weights, that have these numbers, which rise.

    A slice, where none is missing. The number T * N takes the sample whose number is
    `filler`, and weights of 0.
    """
    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[2:])), batch)
    total, size = len(jax.tree.leaves(flat)[0]), len(index)
    some_missing = (index[-1] != index[0] + size - 1) | (index[-1] == total)

    def slices(index: Array) -> Any:
        return jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, index[0], size), flat
        )

    def gather(index: Array) -> Any:
        samples, weights = flat
        filled = jnp.where(index < total, index, filler)
        return (
            jax.tree.map(lambda x: jnp.asarray(x).at[filled].get(mode="clip"), samples),
            jax.tree.map(
                lambda x: jnp.asarray(x).at[index].get(mode="fill", fill_value=0),
                weights,
            ),
        )

    return jax.lax.cond(any_agent(some_missing), gather, slices, index)
