"""First parameters of a network, all from one draw of random numbers.

A compiled program holds the code of a random number generator once for each draw; with
one for each layer, that of a small network takes seconds longer to compile.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from pgjax.types import Array, Key, Params

INITIALIZERS = ("torch", "orthogonal")


def scales_of(initializer: str, num_inputs: int, gain: float) -> dict[str, float]:
    """The scales of a linear layer's kernel and bias, for `draw`.

    Args:
      initializer: "torch", PyTorch's default for linear layers (uniform in
        +-1/sqrt(num_inputs), biases too), or "orthogonal" (zero biases).
      num_inputs: the kernel's rows.
      gain: an orthogonal kernel's singular values.
    """
    if initializer == "orthogonal":
        return {"kernel": gain, "bias": 0.0}
    bound = 1.0 / math.sqrt(num_inputs)
    return {"kernel": bound, "bias": bound}


def draw(key: Key, shapes: Params, scales: Params, initializer: str) -> Params:
    """Random parameters: each one's scale, times numbers drawn for it.

    Args:
      key: a typed key.
      shapes: a pytree of what has the parameters' shapes; kernels are matrices.
      scales: a pytree of floats like it.
      initializer: "torch": numbers are uniform in +-1; or "orthogonal": those of a
        matrix make a random one with orthonormal rows or columns.
    """
    leaves, structure = jax.tree.flatten(shapes)
    sizes = [leaf.size for leaf in leaves]
    if initializer == "orthogonal":
        numbers = jax.random.normal(key, (sum(sizes),))
    else:
        numbers = jax.random.uniform(key, (sum(sizes),), minval=-1.0, maxval=1.0)
    parts = jnp.split(numbers, np.cumsum(sizes)[:-1])
    drawn = [x.reshape(leaf.shape) for x, leaf in zip(parts, leaves, strict=True)]
    if initializer == "orthogonal":
        drawn = _orthogonalized(drawn)
    pairs = zip(jax.tree.leaves(scales), drawn, strict=True)
    scaled = [scale * x for scale, x in pairs]
    return jax.tree.unflatten(structure, scaled)


def _orthogonalized(arrays: list[Array]) -> list[Array]:
    """The polar factors of all matrices among the arrays, equal shapes together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(arrays):
        if x.ndim == 2:
            groups.setdefault((max(x.shape), min(x.shape)), []).append(i)
    result = list(arrays)
    for shape, members in groups.items():
        tall = [x if x.shape == shape else x.T for x in (arrays[i] for i in members)]
        for i, x in zip(members, polar_factor(jnp.stack(tall)), strict=True):
            result[i] = x if x.shape == arrays[i].shape else x.T
    return result


def polar_factor(tall: Array) -> Array:
    """The matrices with orthonormal columns that are nearest to (..., m, n), m >= n.

    By Newton's iteration. Of a normal matrix it is distributed as the usual QR with its
    signs mended. It is all matrix products, where LAPACK's QR, run on several CPU
    devices at once, has been seen to wait for itself for ever.
    """
    norm = jnp.sqrt(jnp.sum(jnp.square(tall), axis=(-2, -1), keepdims=True))

    def improve(x: Array, _: None) -> tuple[Array, None]:
        # Each singular value s < 1 grows by (3 - s^2) / 2, until it is 1.
        product = jnp.matmul(jnp.swapaxes(x, -1, -2), x, precision="highest")
        return 1.5 * x - 0.5 * jnp.matmul(x, product, precision="highest"), None

    return jax.lax.scan(improve, tall / norm, length=50)[0]
