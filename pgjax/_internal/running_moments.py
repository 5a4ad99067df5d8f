"""Mean and variance of a stream of samples, batch by batch, with little rounding.

A float32 mean of 10,000 is known to 0.001, which may be more than the samples deviate;
and after 10^9 samples, what a batch adds to a float32 is rounded away. Mean and
variance therefore are sums of two numbers each, and samples are counted exactly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.collectives import each_device, total
from pgjax._internal.counters import Counter, as_float, count, zero_counter
from pgjax.types import Array, AxisName


class Moments(NamedTuple):
    """Mean and variance of all samples so far; 0 and 1 before the first."""

    num_samples: Counter
    mean: Array  # (...)
    variance: Array  # (...) mean squared deviation
    mean_rest: Array  # (...) what rounding has taken from `mean`
    variance_rest: Array  # (...) likewise


def no_moments(shape: tuple[int, ...], dtype: Any) -> Moments:
    """Those of no sample of this shape; no two leaves share a buffer."""
    zero, rest, other_rest = (jnp.zeros(shape, dtype) for _ in range(3))
    return Moments(zero_counter(), zero, jnp.ones(shape, dtype), rest, other_rest)


def update_moments(
    moments: Moments, x: Array, weight: Array, *, axis_name: AxisName = None
) -> Moments:
    """The moments with more samples taken in.

    Args:
      moments: of the samples so far, each of shape E.
      x: (T, N, *E) new samples, of any real type. Those that count must be finite.
      weight: (T, N) 1 for samples that count, 0 for padding, which may hold anything.
      axis_name: of the devices that share the environments.

    References:
      Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
      Sample Variances, 1979.
      Dekker, A Floating-Point Technique for Extending the Available Precision, 1971
      (numbers in two parts).
    """
    dtype, before = moments.mean.dtype, moments.num_samples
    counts = weight > 0
    new = total(counts.astype(jnp.uint32), axis_name=axis_name)
    num_samples = count(before, new)
    share = (new.astype(jnp.float32) / jnp.maximum(as_float(num_samples), 1.0)).astype(
        dtype
    )
    divisor = jnp.maximum(new, 1).astype(dtype)
    x = x.astype(dtype)
    mask = counts.reshape(counts.shape + (1,) * (x.ndim - counts.ndim))

    def mean_of(y: Array) -> Array:
        y = jnp.where(mask, y, 0.0)
        return total(y, axis=(0, 1), axis_name=axis_name) / divisor

    # Distances from a number nearby are exact where plain sums would be rounded.
    known = as_float(before) > 0.0
    first = _first_sample(x, counts, axis_name)
    base = jnp.where(known, moments.mean, first)
    variance = jnp.where(known, moments.variance, 0.0)
    distance = (x - base[None, None]) - moments.mean_rest[None, None]
    shift = mean_of(distance)
    distance = distance - shift[None, None]
    correction = mean_of(distance)  # what the first sum has rounded away
    spread = mean_of(jnp.square(distance - correction[None, None]))
    between = share * (1.0 - share) * jnp.square(shift + correction)
    growth = share * ((spread - variance) - moments.variance_rest) + between
    mean, mean_rest = _add(base, moments.mean_rest, share * shift)
    mean, mean_rest = _add(mean, mean_rest, share * correction)
    variance, variance_rest = _add(variance, moments.variance_rest, growth)
    updated = Moments(num_samples, mean, variance, mean_rest, variance_rest)
    return jax.tree.map(lambda x, old: jnp.where(new > 0, x, old), updated, moments)


def _first_sample(x: Array, counts: Array, axis_name: AxisName) -> Array:
    """The first sample that counts, of the first device that has one; or anything."""
    samples = x.reshape(-1, *x.shape[counts.ndim :])
    own = samples[jnp.argmax(counts)], jnp.any(counts)
    first, some = each_device(own, axis_name)
    return first[jnp.argmax(some)]


def _add(value: Array, rest: Array, x: Array) -> tuple[Array, Array]:
    """value + rest + x, in two parts again."""
    x = x + rest
    rounded = value + x
    return rounded, x - (rounded - value)
