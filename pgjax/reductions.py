"""Statistics of the samples that count, where a weight of 0 marks padding.

Padding may hold anything, NaN included. Sums are made in float32 at least (see
`pgjax._internal.precision`), whose squares end at samples of 1e19; deviations below
1e-8 are none to `standardize`.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from pgjax._internal.collectives import each_device, num_envs_of, total
from pgjax._internal.precision import at_least_float32
from pgjax.types import Array, AxisName


def masked(x: Array, weight: Array) -> Array:
    """The samples, with 0 for those that do not count: NaN times 0 would be NaN."""
    return jnp.where(weight > 0, x, jnp.zeros_like(x))


def weighted_mean(
    x: Array,
    weight: Array,
    axis: int | None = None,
    *,
    axis_name: AxisName = None,
) -> Array:
    """The mean of the samples that count; 0 where there are none.

    Args:
      x: (...) samples.
      weight: like `x`, >= 0.
      axis: the axis to reduce, which is kept with size 1; by default all of them.
      axis_name: of the devices that share what is reduced, where they do: the mean is
        then over all of them. Not with an axis of time alone. Such a mean is not to be
        differentiated; see `Algorithm`.

    >>> print(weighted_mean(jnp.array([1., 3., 9.]), jnp.array([1., 1., 0.])))
    2.0
    """
    x, weight = at_least_float32(x, weight)
    keep = axis is not None
    add = partial(total, axis=axis, keepdims=keep, axis_name=axis_name)
    return add(weight * masked(x, weight)) / _positive(add(weight))


def weighted_sum(x: Array, weight: Array) -> Array:
    """sum_i weight_i x_i, over the samples of this device.

    >>> print(weighted_sum(jnp.array([1., 3.]), jnp.array([1., 0.5])))
    2.5
    """
    x, weight = at_least_float32(x, weight)
    return jnp.sum(weight * x)


def mean_weights(weight: Array, *, axis_name: AxisName = None) -> Array:
    """Weights that turn a sum into the mean over the samples that count.

    Args:
      weight: (...) >= 0, one for each sample; 0 for padding.
      axis_name: of the devices that share the samples; the sum is then over all of
        them, too.

    >>> print(mean_weights(jnp.array([1., 1., 0.])))
    [0.5 0.5 0. ]
    """
    (weight,) = at_least_float32(weight)
    return weight / _positive(total(weight, axis_name=axis_name))


def per_episode(weight: Array, *, axis_name: AxisName = None) -> Array:
    """(T, N) weights that turn a sum into the mean over N episodes of their sums."""
    (weight,) = at_least_float32(weight)
    return weight / num_envs_of(weight, axis_name)


def moments(
    x: Array, weight: Array, *, axis_name: AxisName = None
) -> tuple[Array, Array]:
    """Mean and sample variance of samples of weight 0 or 1; 0 for fewer than two.

    >>> print(*moments(jnp.array([1., 3., 9.]), jnp.array([1., 1., 0.])))
    2.0 2.0
    """
    x, weight = at_least_float32(x, weight)
    x = masked(x, weight)
    count = jnp.sum(weight)
    mean = jnp.sum(weight * x) / _positive(count)
    # What the first sum has rounded away.
    mean = mean + jnp.sum(weight * (x - mean)) / _positive(count)
    squares = jnp.sum(weight * jnp.square(x - mean))
    # One exchange, where environments are split over devices.
    counts, means, squares = each_device(jnp.stack([count, mean, squares]), axis_name).T
    count = jnp.sum(counts)
    pivot = means[jnp.argmax(counts)]  # of one device, it is the mean, to the bit
    mean = pivot + jnp.sum(counts * (means - pivot)) / _positive(count)
    between = counts * jnp.square(means - mean)
    return mean, jnp.sum(squares + between) / jnp.maximum(count - 1.0, 1.0)


def standardize(x: Array, weight: Array, *, axis_name: AxisName = None) -> Array:
    """The samples, shifted and scaled to mean 0 and variance 1 over those that count.

    A single sample, or equal ones, become 0, and padding something finite. Under
    `vmap` each agent has its own moments.

    >>> print(standardize(jnp.array([1., 3., 9.]), jnp.array([1., 1., 0.]))[:2])
    [-0.70710677  0.70710677]
    """
    x, weight = at_least_float32(x, weight)
    x = masked(x, weight)
    mean, variance = moments(x, weight, axis_name=axis_name)
    return (x - mean) / (jnp.sqrt(variance) + 1e-8)


def _positive(weight: Array) -> Array:
    """A total of weights, or 1 where it is 0 and there is nothing to divide."""
    return jnp.where(weight > 0, weight, 1.0)
