"""What every algorithm with a network and an optimizer does alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.blocks import sum_over_samples, sum_over_slices
from pgjax._internal.checks import check_is
from pgjax._internal.collectives import sum_over_devices
from pgjax._internal.contract import init_network
from pgjax._internal.precision import at_least_float32, number
from pgjax._internal.user_parts import accepted
from pgjax.algorithms.annealing import check_counts
from pgjax.losses import entropy_loss
from pgjax.reductions import weighted_sum
from pgjax.types import (
    Array,
    AxisName,
    Key,
    Learner,
    Metrics,
    Network,
    Numeric,
    Obs,
    Params,
    PolicyFn,
)


def learner_init(
    network: Network, optimizer: optax.GradientTransformation
) -> Callable[[Key, Obs], Learner]:
    """The `init` of an algorithm: fresh parameters and a fresh optimizer state.

    Raises:
      TypeError: if one of the two is something else.
    """
    check_is(Network, "pg.actor_critic(env)", network=network)
    check_is(
        optax.GradientTransformation,
        "optax.adam(1e-3), or optax.MultiSteps(...).gradient_transformation()",
        optimizer=optimizer,
    )

    def init(key: Key, obs: Obs) -> Learner:
        params = init_network(network, key, obs)
        with jax.numpy_dtype_promotion("standard"):
            learner = Learner(params, optimizer.init(params))
        check_counts(learner.opt_state)
        _check_arguments(optimizer, learner)
        return learner

    return init


def _check_arguments(optimizer: optax.GradientTransformation, learner: Learner) -> None:
    """Raises TypeError unless `descend` gives the optimizer all that it needs."""
    step = partial(
        descend, optimizer, value=jnp.zeros(()), num_samples=jnp.uint32(1), num_passes=1
    )
    try:
        jax.eval_shape(lambda learner: step(learner, learner.params), learner)
    except Exception as error:
        raise TypeError(
            "this optimizer cannot be used here. Its `update` is given the gradient, "
            "its state, the parameters, and by name `value`, the loss, `grad`, "
            "`num_samples` and `num_passes` (see pg.anneal); which serves all of Optax "
            "but what evaluates the loss by itself (line searches, such as optax.lbfgs "
            "with its default one; optax.contrib.sophia) or wants a gradient for each "
            f"sample. It ended in: {error}"
        ) from error


def policy_of(network: Network) -> PolicyFn:
    """The `policy` of an algorithm: the network's action distribution."""

    def policy(params: Params, obs: Obs):
        return network.apply(params, obs)[0]

    return policy


def value_of(network: Network) -> Callable[[Params, Obs], Any]:
    """The network's critic: (params, obs) -> V(s), or -> None without one."""

    def value(params: Params, obs: Obs) -> Any:
        return network.apply(params, obs)[1]

    return value


def descend(
    optimizer: optax.GradientTransformation,
    learner: Learner,
    grads: Params,
    value: Array,
    *,
    num_samples: Array,
    num_passes: int,
) -> Learner:
    """One step of the optimizer, which may ask for more than the gradient.

    Args:
      optimizer: takes what it needs of the following, by name.
      learner: the parameters, and the optimizer's state.
      grads: `grad` by name.
      value: () the loss.
      num_samples: () uint32, how many samples the gradient is of, over all devices.
      num_passes: how many times each sample is used, in all gradient steps.
    """
    known = {"value": value, "grad": grads}
    known |= {"num_samples": num_samples, "num_passes": num_passes}
    extra = accepted(optimizer.update, known)
    with jax.numpy_dtype_promotion("standard"):  # Optax knows no other
        updates, opt_state = optimizer.update(
            grads, learner.opt_state, learner.params, **extra
        )
        return Learner(optax.apply_updates(learner.params, updates), opt_state)


def descend_over_samples(
    optimizer: optax.GradientTransformation,
    learner: Learner,
    loss: Callable[[Params, Any, Any], tuple[Array, Metrics]],
    batch: Any,
    weights: Any,
    needed: Array,
    *,
    axis_name: AxisName = None,
) -> tuple[Learner, Metrics]:
    """One step along the gradient of a loss that is a sum over samples of a batch.

    Args:
      optimizer: what turns the gradient into a step.
      learner: the parameters, and the optimizer's state.
      loss: maps parameters, a block of `batch` and its weights to its share of the
        loss, and metrics that are sums as well.
      batch: a pytree of (T, N, ...) arrays.
      weights: a pytree of (T, N) arrays: how much each sample counts.
      needed: (T, N) bool; see `sum_over_samples`.
      axis_name: likewise.

    Returns:
      The next learner, and the metrics with gradient_norm.
    """
    grad = partial(jax.value_and_grad(loss, has_aux=True), learner.params)
    (value, metrics), grads = sum_over_samples(
        grad, batch, weights, needed, axis_name=axis_name
    )
    metrics |= {"gradient_norm": optax.tree.norm(grads)}
    num_samples = _number_of(needed, axis_name)
    learner = descend(
        optimizer, learner, grads, value, num_samples=num_samples, num_passes=1
    )
    return learner, metrics


def descend_over_slices(
    optimizer: optax.GradientTransformation,
    learner: Learner,
    loss: Callable[[Params, Any, Any], tuple[Array, Metrics]],
    samples: Any,
    weights: Array,
    *,
    num_passes: int,
    axis_name: AxisName = None,
) -> tuple[Learner, Metrics]:
    """As `descend_over_samples`, for a minibatch, a pytree of (M, ...) arrays.

    Its samples are used in so many gradient steps, this one among them.
    """
    grad = partial(jax.value_and_grad(loss, has_aux=True), learner.params)
    (value, metrics), grads = sum_over_slices(
        grad, samples, weights, axis_name=axis_name
    )
    metrics |= {"gradient_norm": optax.tree.norm(grads)}
    num_samples = _number_of(weights > 0, axis_name)
    learner = descend(
        optimizer,
        learner,
        grads,
        value,
        num_samples=num_samples,
        num_passes=num_passes,
    )
    return learner, metrics


def _number_of(samples: Array, axis_name: AxisName) -> Array:
    """() uint32: how many are marked, over all devices."""
    number = jnp.sum(samples, dtype=jnp.uint32)
    return sum_over_devices(number, axis_name)


def total_loss(
    policy_loss: Array,
    value_loss: Array | None,
    entropy: Array,
    *,
    weight: Array,
    step_weight: Array | None = None,
    value_coefficient: Numeric,
    entropy_coefficient: Numeric,
) -> tuple[Array, Metrics]:
    """Policy, value and entropy losses, reduced to the number that is minimised.

    sum_t weight_t (policy_t - c_e H_t) + c_v sum_t step_weight_t value_t

    Args:
      policy_loss: (...) elementwise.
      value_loss: like `policy_loss`, or None without a critic.
      entropy: like `policy_loss`; H(pi(. | s_t)) in nats.
      weight: like `policy_loss`; how much each step's policy loss and entropy count.
      step_weight: like `policy_loss`; how much each step's value loss and the metrics
        count, by default as `weight` says.
      value_coefficient: c_v >= 0.
      entropy_coefficient: c_e >= 0.

    Returns:
      The loss, and the metrics policy_loss, entropy and, with a critic, value_loss.
    """
    step_weight = weight if step_weight is None else step_weight
    policy_loss, entropy = at_least_float32(policy_loss, entropy)
    entropy_coefficient = number(entropy_coefficient, entropy.dtype)
    actor = policy_loss + entropy_coefficient * entropy_loss(entropy)
    total = weighted_sum(actor, weight)
    metrics = {
        "policy_loss": weighted_sum(policy_loss, weight),
        "entropy": weighted_sum(entropy, step_weight),
    }
    if value_loss is not None:
        loss = metrics["value_loss"] = weighted_sum(value_loss, step_weight)
        total = total + number(value_coefficient, loss.dtype) * loss
    return total, metrics


def critic_mask(network: Network, params: Params, obs: Obs) -> Params:
    """Which parameters are the critic's: a pytree of Python bools like `params`.

    Raises:
      ValueError: if actor and critic share parameters; it names them.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    actor, critic = (
        _leaves_used(fn, params, obs) for fn in (policy_of(network), value_of(network))
    )
    if actor & critic:
        shared = ", ".join(
            jax.tree_util.keystr(leaves[i][0], simple=True, separator="/")
            for i in sorted(actor & critic)
        )
        raise ValueError(
            "this algorithm needs an actor and a critic without common parameters, "
            f"and they share {shared}; use pg.actor_critic(env) without shared_torso "
            "(or a network that is not wrapped whole, in jax.checkpoint or the like)"
        )
    return jax.tree.unflatten(structure, [i in critic for i in range(len(leaves))])


def _leaves_used(fn: Callable, params: Params, obs: Obs) -> set[int]:
    """Which leaves of `params` the result of fn(params, obs) depends on."""
    jaxpr = jax.make_jaxpr(fn)(params, obs).jaxpr
    count = len(jax.tree.leaves(params))
    return {i for i in inputs_used(jaxpr, jaxpr.outvars) if i < count}


def inputs_used(jaxpr: Any, outputs: Any) -> set[int]:
    """The numbers of the inputs that the given outputs of a program depend on."""
    needed = {id(out) for out in outputs}
    for equation in reversed(jaxpr.eqns):
        wanted = [i for i, out in enumerate(equation.outvars) if id(out) in needed]
        if not wanted:
            continue
        inputs = equation.invars
        if equation.primitive.name in ("jit", "pjit"):  # look inside
            inner = equation.params["jaxpr"].jaxpr
            used = inputs_used(inner, [inner.outvars[i] for i in wanted])
            inputs = [inputs[i] for i in used]
        needed |= {id(x) for x in inputs}
    return {i for i, x in enumerate(jaxpr.invars) if id(x) in needed}
