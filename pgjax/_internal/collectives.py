"""Sums over all environments of an agent, also where they are split over devices.

One agent's environments may be split over devices: each device then steps its share,
sees its share of the batch, and holds the same parameters. Whatever is a sum over
environments must be a sum over devices too. What is summed over is an argument:
`axis_name` is the name of the devices' axis, as JAX's own collectives have it, or None
where one device has all environments; then these functions exchange nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.types import Array, AxisName, Key

AXIS = "env"  # of the mesh


def named(axis_name: AxisName) -> dict[str, str]:
    """The argument by name, for functions that take one only where there are devices.

    An algorithm or a rollout of a user's own need not know of `axis_name`.
    """
    return {} if axis_name is None else {"axis_name": axis_name}


def takes_axis_name(fn: Callable) -> bool:
    """Whether a function has an argument of this name; `**others` may ignore it."""
    return "axis_name" in inspect.signature(fn).parameters


def num_devices(axis_name: AxisName) -> int:
    """How many devices share an agent's environments."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def share_of(num_envs: int, axis_name: AxisName) -> int:
    """How many of so many environments each device has.

    Raises:
      ValueError: if they cannot be split evenly.
    """
    devices = num_devices(axis_name)
    if num_envs % devices:
        raise ValueError(
            f"{num_envs} environments cannot be split evenly over {devices} devices"
        )
    return num_envs // devices


def num_envs_of(x: Array, axis_name: AxisName) -> int:
    """How many environments there are in all, from a (T, N, ...) array of a share."""
    return x.shape[1] * num_devices(axis_name)


def sum_over_devices(tree: Any, axis_name: AxisName) -> Any:
    """The sum of each leaf over devices; all of them get it."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def total(
    x: Array,
    axis: int | Sequence[int] | None = None,
    *,
    keepdims: bool = False,
    axis_name: AxisName = None,
) -> Array:
    """`jnp.sum` over axes of which one is that of environments; over all devices.

    Args:
      x: (T, N, ...), N being the environments of this device.
      axis: the axes to sum over; by default all of them.
      keepdims: whether they are kept with size 1.
      axis_name: of the devices that share the environments, as `update` is given it.
        Such a sum is not to be differentiated; see `Algorithm`.

    >>> print(total(jnp.array([[1., 2.], [3., 4.]]), axis=1))
    [3. 7.]
    """
    return sum_over_devices(jnp.sum(x, axis=axis, keepdims=keepdims), axis_name)


def each_device(tree: Any, axis_name: AxisName) -> Any:
    """Leaves (D, ...): what each of D devices has of it."""
    if axis_name is None:
        return jax.tree.map(lambda x: x[None], tree)
    return jax.lax.all_gather(tree, axis_name)


def own_key(key: Key, axis_name: AxisName) -> Key:
    """A key for random numbers that each device draws for its own environments."""
    if axis_name is None:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(axis_name))
