"""Epochs of shuffled minibatches, in one scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from pgjax._internal.checks import as_count
from pgjax._internal.collectives import own_key
from pgjax.types import Array, AxisName, Key, Metrics

Carry = TypeVar("Carry")


def flatten_steps(tree: Any) -> Any:
    """(T, N, ...) leaves to (T * N, ...): samples without an order."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def scan_minibatches(
    step: Callable[[Carry, Any], tuple[Carry, Metrics]],
    carry: Carry,
    key: Key,
    samples: Any,
    *,
    num_epochs: int,
    num_minibatches: int,
    axis_name: AxisName = None,
) -> tuple[Carry, Metrics]:
    """Scans `step` over minibatches; each epoch shuffles the samples anew.

    Where environments are split over devices, each device shuffles its own samples, and
    every minibatch has as many of each.

    Args:
      step: maps a carry and a minibatch to the next carry and metrics.
      carry: the first one.
      key: a typed key; unused with a single minibatch, which is never shuffled.
      samples: a pytree of (M, ...) arrays.
      num_epochs: passes over the samples, >= 1.
      num_minibatches: minibatches per pass; must divide M.
      axis_name: of the devices that share the environments.

    Returns:
      The last carry, and metrics with a leading axis num_epochs * num_minibatches.

    Raises:
      ValueError: if `num_minibatches` does not divide M, or a number is below 1.
    """
    num_epochs = as_count("num_epochs", num_epochs)
    num_minibatches = as_count("num_minibatches", num_minibatches)
    total = len(jax.tree.leaves(samples)[0])
    if total % num_minibatches:
        raise ValueError(
            f"{total} samples (steps x environments) cannot be split into "
            f"{num_minibatches} equal minibatches; choose a divisor of {total}"
        )
    if num_minibatches == 1:
        return jax.lax.scan(
            lambda carry, _: step(carry, samples), carry, length=num_epochs
        )
    # One draw and one sort for all epochs; equal numbers, once in 2^32, keep their
    # order.
    noise = jax.random.bits(own_key(key, axis_name), (num_epochs, total))
    order = jnp.argsort(noise, axis=1).reshape(num_epochs * num_minibatches, -1)

    def take(carry: Carry, indices: Array) -> tuple[Carry, Metrics]:
        return step(carry, jax.tree.map(lambda x: x[indices], samples))

    return jax.lax.scan(take, carry, order)
