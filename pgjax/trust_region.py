"""Natural gradients and trust regions, as Optax transformations.

Chained, they are TRPO's policy step: F^-1 g by conjugate gradients, scaled to the
largest step that the KL bound allows, then shortened until the bound holds in truth.
Their `update` takes functions of the parameters as extra arguments, as Optax's own line
searches do. Where environments are split over devices, these functions give the share
of a device's own samples, and the argument `axis_name` says what is added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_finite,
    check_not_negative,
    check_positive,
)
from pgjax._internal.collectives import sum_over_devices
from pgjax._internal.precision import number, working_dtype
from pgjax.types import Array, AxisName, Numeric, Params

KLFn = Callable[[Params], Array]  # params -> mean KL(old || params), 0 at the old ones
LossFn = Callable[[Params], Array]


def fisher_vector_product(
    kl_fn: KLFn,
    params: Params,
    vector: Params,
    *,
    damping: Numeric = 0.0,
    axis_name: AxisName = None,
) -> Params:
    """(F + damping I) v, where F is the Hessian of the KL divergence at its minimum.

    Forward over reverse, a jvp of the gradient: F itself is never formed.

    Args:
      kl_fn: params -> mean KL(old || params), in nats.
      params: where the Hessian is taken: the old parameters.
      vector: v, a pytree like `params`.
      damping: added to the diagonal, >= 0.
      axis_name: of devices, of which each has a share of the samples; `kl_fn` gives its
        part of the mean, and the product is the sum over all of them.

    References:
      Schulman et al., Trust Region Policy Optimization, 2015, appendix C.1.

    >>> kl_fn = lambda params: 2.0 * params[0] ** 2 + params[0] * params[1]
    >>> print(fisher_vector_product(kl_fn, jnp.zeros(2), jnp.array([1.0, 0.0])))
    [4. 1.]
    """
    check_not_negative(damping=damping)
    _, product = jax.jvp(jax.grad(kl_fn), (params,), (vector,))
    product = sum_over_devices(product, axis_name)
    return jax.tree.map(lambda x, v: x + number(damping, x.dtype) * v, product, vector)


def scale_by_inverse_fisher(
    *, iterations: int = 10, damping: Numeric = 0.1
) -> optax.GradientTransformationExtraArgs:
    """Turns gradients g into natural gradients, (F + damping I)^-1 g.

    `update` needs the extra argument `kl_fn`. Parameters that the policy does not
    depend on, those of a separate critic, have no gradient and keep none.

    Args:
      iterations: of conjugate gradients, at most.
      damping: added to F's diagonal, > 0: F is singular wherever parameters are not
        identified.

    References:
      Kakade, A Natural Policy Gradient, 2001.
      Schulman et al., 2015, appendix C.
    """

    iterations = as_count("iterations", iterations)
    check_positive(damping=damping)
    check_finite(damping=damping)
    (damping,) = as_scalars(damping=damping)

    def update(
        updates: Params,
        state: Any,
        params: Params = None,
        *,
        kl_fn: KLFn,
        axis_name: AxisName = None,
        **_: Any,
    ) -> tuple[Params, Any]:
        dtype = working_dtype(*jax.tree.leaves(updates))

        def product(vector: Params) -> Params:
            vector = _cast_like(vector, params)
            vector = fisher_vector_product(
                kl_fn, params, vector, damping=damping, axis_name=axis_name
            )
            return optax.tree.cast(vector, dtype)

        direction, _ = jax.scipy.sparse.linalg.cg(
            product, optax.tree.cast(updates, dtype), maxiter=iterations, tol=1e-10
        )
        return _cast_like(direction, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def scale_to_kl(
    max_kl: Numeric, *, damping: Numeric = 0.1
) -> optax.GradientTransformationExtraArgs:
    """Scales a direction s to the step -sqrt(2 max_kl / s^T (F + damping I) s) s.

    To second order that is the longest descent step within the bound. `update` needs
    the extra argument `kl_fn`.

    Args:
      max_kl: bound of the mean KL divergence, in nats, > 0.
      damping: as for `scale_by_inverse_fisher`.

    References:
      Schulman et al., 2015, appendix C.
    """

    check_positive(max_kl=max_kl, damping=damping)
    check_finite(max_kl=max_kl, damping=damping)
    max_kl, damping = as_scalars(max_kl=max_kl, damping=damping)

    def update(
        updates: Params,
        state: Any,
        params: Params = None,
        *,
        kl_fn: KLFn,
        axis_name: AxisName = None,
        **_: Any,
    ) -> tuple[Params, Any]:
        product = fisher_vector_product(
            kl_fn, params, updates, damping=damping, axis_name=axis_name
        )
        curvature = _inner_product(updates, product)
        flat = curvature <= 0.0  # no direction, or none that the policy feels
        length = jnp.sqrt(2.0 * max_kl / jnp.where(flat, 1.0, curvature))
        return _scaled(jnp.where(flat, 0.0, -length), updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def backtrack_to_kl(
    max_kl: Numeric, *, max_backtracks: int = 10, decay: Numeric = 0.8
) -> optax.GradientTransformationExtraArgs:
    """Shortens a step until KL <= max_kl and the loss is no higher; or takes none.

    `update` needs the extra arguments `kl_fn` and `loss_fn`.

    Args:
      max_kl: bound of the mean KL divergence, in nats, > 0.
      max_backtracks: the shortest step tried is decay^max_backtracks of the full one.
      decay: factor between two steps, in (0, 1).

    References:
      Schulman et al., 2015, appendix C.
    """

    max_backtracks = as_count("max_backtracks", max_backtracks, least=0)
    check_positive(max_kl=max_kl, decay=decay)
    check_positive(**{"1 - decay": 1 - decay})
    check_finite(max_kl=max_kl)
    max_kl, decay = as_scalars(max_kl=max_kl, decay=decay)

    def update(
        updates: Params,
        state: Any,
        params: Params = None,
        *,
        kl_fn: KLFn,
        loss_fn: LossFn,
        axis_name: AxisName = None,
        **_: Any,
    ) -> tuple[Params, Any]:
        loss = sum_over_devices(loss_fn(params), axis_name)

        def acceptable(scale: Array) -> Array:
            new = optax.apply_updates(params, _scaled(scale, updates))
            new_kl, new_loss = sum_over_devices((kl_fn(new), loss_fn(new)), axis_name)
            return (new_kl <= max_kl) & (new_loss <= loss)

        def going_on(carry: tuple) -> Array:
            count, _, accepted = carry
            return ~accepted & (count <= max_backtracks)

        def shorten(carry: tuple) -> tuple:
            count, scale, _ = carry
            return count + 1, decay * scale, acceptable(decay * scale)

        first = jnp.ones_like(loss)
        carry = jnp.int32(1), first, acceptable(first)
        _, scale, accepted = jax.lax.while_loop(going_on, shorten, carry)
        # Not a product with 0, which would keep a NaN.
        step = jax.tree.map(
            lambda x: jnp.where(accepted, x, jnp.zeros_like(x)),
            _scaled(scale, updates),
        )
        return step, state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def trust_region(
    max_kl: Numeric = 0.01,
    *,
    cg_iterations: int = 10,
    damping: Numeric = 0.1,
    max_backtracks: int = 10,
    decay: Numeric = 0.8,
) -> optax.GradientTransformationExtraArgs:
    """TRPO's step, the three transformations in a chain.

    With max_backtracks = 0 it is the natural policy gradient: the full step, unchecked.
    `update` needs the extra arguments `kl_fn` (params -> mean KL(old || params), 0 at
    the old ones) and, for the line search, `loss_fn` (params -> the loss), and
    `axis_name` where devices share the environments: the functions then give a device's
    part, and the gradient is the sum over all of them. A gradient
    that is nothing but rounding errors is scaled to a step like any other.

    Args:
      max_kl: bound of the mean KL divergence, in nats, > 0.
      cg_iterations: of conjugate gradients, at most.
      damping: added to the Fisher matrix's diagonal, > 0.
      max_backtracks: steps tried after the full one; if none holds, no step is taken.
        0 for no line search.
      decay: factor between two steps, in (0, 1).

    Raises:
      TypeError: for an argument of another type.
      ValueError: for a number out of range.

    >>> transformation = trust_region(0.5, damping=0.01)
    >>> params, grads = jnp.zeros(1), jnp.ones(1)  # the gradient of a loss
    >>> step, _ = transformation.update(
    ...     grads, transformation.init(params), params,
    ...     kl_fn=lambda params: 0.5 * jnp.sum(params**2),
    ...     loss_fn=lambda params: params[0])
    >>> print(f"{step[0]:.3f}")
    -0.995
    """
    cg_iterations = as_count("cg_iterations", cg_iterations)
    max_backtracks = as_count("max_backtracks", max_backtracks, least=0)
    steps = [
        scale_by_inverse_fisher(iterations=cg_iterations, damping=damping),
        scale_to_kl(max_kl, damping=damping),
    ]
    if max_backtracks > 0:
        steps.append(
            backtrack_to_kl(max_kl, max_backtracks=max_backtracks, decay=decay)
        )
    return optax.with_extra_args_support(optax.chain(*steps))


def unless_cancelled(grads: Params, all_positive: Params) -> Params:
    """The gradient, or zeros if it is what rounding has left of terms that cancel.

    A trust region would make a step of it, as long as any. Normalised advantages cancel
    where all samples have the same score: where everybody saw and did the same. The
    gradient is then nothing beside that of the advantages' absolute values.

    Args:
      grads: of the surrogate loss.
      all_positive: the same with the absolute values of the advantages.
    """
    left, whole = (jnp.sqrt(_inner_product(x, x)) for x in (grads, all_positive))
    return jax.tree.map(lambda x: jnp.where(left > 1e-5 * whole, x, 0.0), grads)


def _inner_product(x: Params, y: Params) -> Array:
    """Over all leaves, whatever their types."""
    dtype = working_dtype(*jax.tree.leaves((x, y)))
    return optax.tree.vdot(optax.tree.cast(x, dtype), optax.tree.cast(y, dtype))


def _scaled(scale: Array, tree: Params) -> Params:
    """The tree times a number; leaves keep their types."""
    return jax.tree.map(lambda x: scale.astype(x.dtype) * x, tree)


def _cast_like(tree: Params, other: Params) -> Params:
    return jax.tree.map(lambda x, y: x.astype(y.dtype), tree, other)
