"""Observations as floats: the one place that says what networks make of each leaf."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.spaces import beside_spaces, spaces_of
from pgjax.types import Array, Box, Discrete, Obs, Space


def encode(space: Any, obs: Obs, *, dtype: Any = None) -> Array:
    """Observations as vectors of floats, all leaves of a tree side by side.

    `pg.mlp_policy` and `pg.actor_critic` see this, but that images (height, width,
    channels) go through a convolution first; `pg.flatten_observations` gives it to
    networks of any kind. Leaves come in the order of `jax.tree.leaves`, which is that
    of the keys for a dict, and of the fields for a NamedTuple. Each is flattened, and

    - floats are as they are;
    - the choices of a `Discrete` become one-hot;
    - bytes, that is uint8 of a `Box` from 0 to 255, are divided by 255;
    - other integers, and booleans, become floats of the same value.

    Args:
      space: such as `env.observation_space`, a tree of spaces.
      obs: a tree like it, of arrays (..., *shape) with any leading axes.
      dtype: of what is no float; by default that of the floats beside it.

    Returns:
      (..., d) floats.

    Raises:
      ValueError: for a tree of another structure; a choice that is a float; uint8 of a
        `Box` whose bounds are traced, as jnp.full within `jax.jit` is.

    >>> space = {"speed": Box(-1.0, 1.0, (2,)), "gear": Discrete(3)}
    >>> obs = {"speed": jnp.array([[0.5, 0.0]]), "gear": jnp.array([2])}
    >>> print(encode(space, obs))
    [[0.  0.  1.  0.5 0. ]]
    """
    parts = encoded(space, obs, dtype=dtype)
    shapes = map(encoded_shape, spaces_of(space))
    return side_by_side(
        [flattened(x, shape) for x, shape in zip(parts, shapes, strict=True)]
    )


def encoded(space: Any, obs: Obs, *, dtype: Any = None) -> list[Array]:
    """The leaves as floats that keep their shape; see `encode`.

    Floats keep their types; to be put side by side, they are of one.
    """
    leaves = [jnp.asarray(x) for x in beside_spaces(space, obs)]
    dtype = _common_float([x.dtype for x in leaves]) or dtype or float
    pairs = zip(spaces_of(space), leaves, strict=True)
    return [_encoded_leaf(of, x, dtype) for of, x in pairs]


def encoded_shape(space: Space) -> tuple[int, ...]:
    """Of one observation of a space, encoded."""
    return (space.n,) if isinstance(space, Discrete) else space.shape


def encoded_bounds(space: Space, dtype: Any) -> tuple[Any, Any]:
    """The least and the greatest of an encoded observation that comes in this type."""
    if isinstance(space, Discrete) or _is_of_bytes(space, dtype):
        return 0.0, 1.0
    return space.low, space.high


def is_image(space: Space) -> bool:
    """Whether it is (height, width, channels), with room for a filter of 3 x 3."""
    shape = encoded_shape(space)
    return len(shape) == 3 and min(shape[:2]) >= 3


def flattened(x: Array, shape: tuple[int, ...]) -> Array:
    """(..., *shape) to (..., d)."""
    return x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))


def side_by_side(parts: list[Array]) -> Array:
    """(..., d) arrays as one, along the last axis."""
    if len(parts) == 1:
        return parts[0]
    dtype = _common_float([x.dtype for x in parts])
    return jnp.concatenate([x.astype(dtype) for x in parts], axis=-1)


def _encoded_leaf(space: Space, x: Array, dtype: Any) -> Array:
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    if isinstance(space, Discrete):
        if floating:
            raise ValueError(
                f"a choice among {space.n} comes as {x.dtype}, and only integers can "
                "become one-hot; what normalizes observations, or changes their type, "
                "must leave it out"
            )
        return jax.nn.one_hot(x.astype(jnp.int32), space.n, dtype=dtype)
    if floating:
        return x
    if _is_of_bytes(space, x.dtype):
        return x.astype(dtype) / 255.0
    return x.astype(dtype)


def _is_of_bytes(space: Box, dtype: Any) -> bool:
    """Whether numbers of this type are from 0 to 255.

    Raises:
      ValueError: for uint8 between traced bounds: the answer decides what the program
        is, and must be the same wherever it is compiled.
    """
    if dtype != jnp.uint8:
        return False
    bounds = space.low, space.high
    if any(isinstance(x, jax.core.Tracer) for x in bounds):
        raise ValueError(
            "an observation of uint8 has a pg.Box whose bounds are traced by JAX, as "
            "jnp.full within jax.jit, jax.vmap or pg.sweep is, so whether it goes from "
            "0 to 255 cannot be known; write the bounds as numbers, such as "
            f"pg.Box(0, 255, {space.shape}), or with NumPy"
        )
    low, high = bounds
    return bool(np.all(np.equal(low, 0)) and np.all(np.equal(high, 255)))


def _common_float(dtypes: list[Any]) -> Any:
    """The type that holds all of those that are floats; None without one."""
    floats = [x for x in dtypes if jnp.issubdtype(x, jnp.floating)]
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*floats) if floats else None
