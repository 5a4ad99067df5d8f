"""Sums over all environments of an agent, also where they are split over devices.

One agent's environments may be split over devices: each device then steps its share,
sees its share of the batch, and holds the same parameters. Whatever is a sum over
environments must be a sum over devices too. The functions here are that sum where
`split_environments` is in force, and nothing otherwise; an algorithm made of
`pgjax.weighted`, `pgjax.blocks` and `pgjax.learners` need not know.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.types import Array, Key

AXIS = "env"  # of the mesh
_NUM_SHARDS = contextvars.ContextVar("num_shards", default=1)


@contextlib.contextmanager
def split_environments(num_shards: int) -> Iterator[None]:
    """While a function is traced: each device has one of so many shares."""
    token = _NUM_SHARDS.set(num_shards)
    try:
        yield
    finally:
        _NUM_SHARDS.reset(token)


def is_split() -> bool:
    """Whether this is traced for one device's share of an agent's environments."""
    return _NUM_SHARDS.get() > 1


def share_of(num_envs: int) -> int:
    """How many of so many environments each device has.

    Raises:
      ValueError: if they cannot be split evenly.
    """
    num_shards = _NUM_SHARDS.get()
    if num_envs % num_shards:
        raise ValueError(
            f"{num_envs} environments cannot be split evenly over {num_shards} devices"
        )
    return num_envs // num_shards


def num_envs_of(x: Array) -> int:
    """How many environments there are in all, from a (T, N, ...) array of a share."""
    return x.shape[1] * _NUM_SHARDS.get()


def sum_over_devices(tree: Any) -> Any:
    """The sum of each leaf over devices; all of them get it."""
    return jax.lax.psum(tree, AXIS) if _NUM_SHARDS.get() > 1 else tree


def total(
    x: Array, axis: int | Sequence[int] | None = None, *, keepdims: bool = False
) -> Array:
    """`jnp.sum` over axes of which one is that of environments."""
    return sum_over_devices(jnp.sum(x, axis=axis, keepdims=keepdims))


def each_device(tree: Any) -> Any:
    """Leaves (D, ...): what each of D devices has of it."""
    if _NUM_SHARDS.get() == 1:
        return jax.tree.map(lambda x: x[None], tree)
    return jax.lax.all_gather(tree, AXIS)


def own_key(key: Key) -> Key:
    """A key for random numbers that each device draws for its own environments."""
    if _NUM_SHARDS.get() == 1:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(AXIS))
