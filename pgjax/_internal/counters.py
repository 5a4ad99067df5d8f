"""Counts that a day on a GPU takes beyond 2^31, where JAX has 32-bit integers only."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pgjax.types import Array


class Counter(NamedTuple):
    """An exact count below 2^64, in two words: high * 2^32 + low."""

    high: Array  # () uint32
    low: Array  # () uint32


def zero_counter() -> Counter:
    """A counter that has counted nothing; its leaves share no buffer."""
    return Counter(jnp.zeros((), jnp.uint32), jnp.zeros((), jnp.uint32))


def count(counter: Counter, new: Array) -> Counter:
    """The counter after `new` more.

    Args:
      counter: so far.
      new: () integers, in [0, 2^32).

    >>> print(*count(Counter(jnp.uint32(0), jnp.uint32(2**32 - 1)), jnp.uint32(3)))
    1 2
    """
    low = counter.low + new.astype(jnp.uint32)
    carry = (low < counter.low).astype(jnp.uint32)
    return Counter(counter.high + carry, low)


def as_float(counter: Counter) -> Array:
    """() float32: the count, to 1 part in 10^7."""
    high, low = (x.astype(jnp.float32) for x in counter)
    return high * jnp.float32(2.0**32) + low


def count_up_to_limit(total: Array, new: Array) -> Array:
    """() uint32: `total + new`, or 2^32 - 1 where that is more: it never wraps.

    For counts that are only compared with small numbers.

    >>> print(count_up_to_limit(jnp.uint32(2**32 - 2), jnp.int32(5)))
    4294967295
    """
    total = total.astype(jnp.uint32)
    room = jnp.uint32(2**32 - 1) - total
    return total + jnp.minimum(new.astype(jnp.uint32), room)
