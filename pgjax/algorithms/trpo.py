"""TRPO, and the natural policy gradient as its simplest setting."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.blocks import instead_of_padding
from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_flags,
    check_unit_interval,
)
from pgjax._internal.collectives import sum_over_devices
from pgjax.algorithms.advantages import estimate_advantages
from pgjax.algorithms.gradient_steps import (
    critic_mask,
    descend_over_slices,
    learner_init,
    policy_of,
    value_of,
)
from pgjax.algorithms.minibatches import flatten_steps, scan_minibatches
from pgjax.losses import surrogate_loss, value_loss
from pgjax.reductions import mean_weights, weighted_sum
from pgjax.trust_region import trust_region, unless_cancelled
from pgjax.types import (
    Algorithm,
    Array,
    AxisName,
    Key,
    Learner,
    Metrics,
    Network,
    Numeric,
    Params,
    Transition,
)


def trpo(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    gamma: Numeric = 0.99,
    lam: Numeric = 0.97,
    max_kl: Numeric = 0.01,
    cg_iterations: int = 10,
    damping: Numeric = 0.1,
    max_backtracks: int = 10,
    normalize_advantage: bool = True,
    num_epochs: int = 10,
    num_minibatches: int = 4,
) -> Algorithm:
    """Trust region policy optimisation.

    maximise E[ratio_t A_t] subject to mean KL(old || new) <= max_kl: a natural gradient
    step of the length that the bound allows, shortened until bound and improvement
    hold on the batch. The critic is fitted apart, by the optimizer.

    max_backtracks = 0 is the natural policy gradient: the full step, unchecked. No step
    is taken where none that is tried keeps the bound and improves, nor where advantages
    cancel and the gradient is nothing but rounding errors.

    Args:
      network: an actor and a critic that share no parameters, so that fitting V leaves
        the policy alone.
      optimizer: any Optax transformation that descends; it trains the critic only.
      gamma: discount, in [0, 1].
      lam: trace decay of GAE, in [0, 1].
      max_kl: bound of the policy's mean change, in nats, > 0.
      cg_iterations: of conjugate gradients, at most; >= 1.
      damping: added to the Fisher matrix's diagonal, > 0.
      max_backtracks: step lengths tried after the full one, each 0.8 of the last; >= 0.
      normalize_advantage: whether A_t is scaled to mean 0 and variance 1 per batch.
      num_epochs: passes of the critic over each rollout, >= 1.
      num_minibatches: of each pass; must divide steps x environments.

    Returns:
      An algorithm for the rollout `pgjax.unroll`.

    Raises:
      TypeError: for an argument of another type.
      ValueError: for a number out of range; from `update`, if the network has no
        critic, or one that shares parameters with the actor; if `num_minibatches` does
        not divide the number of samples; if advantages of one sample are normalized.

    References:
      Schulman et al., Trust Region Policy Optimization, 2015.
      Kakade, A Natural Policy Gradient, 2001.
    """
    check_unit_interval(gamma=gamma, lam=lam)
    check_flags(normalize_advantage=normalize_advantage)
    num_epochs = as_count("num_epochs", num_epochs)
    num_minibatches = as_count("num_minibatches", num_minibatches)
    gamma, lam = as_scalars(gamma=gamma, lam=lam)
    value_fn = value_of(network)
    policy = policy_of(network)
    policy_step = trust_region(
        max_kl,
        cg_iterations=cg_iterations,
        damping=damping,
        max_backtracks=max_backtracks,
    )

    def critic_loss(
        params: Params, samples: tuple, weight: Array
    ) -> tuple[Array, Metrics]:
        obs, returns = samples
        loss = weighted_sum(value_loss(value_fn(params, obs), returns), weight)
        return loss, {"value_loss": loss}

    def fit_critic(
        learner: Learner, samples: tuple, *, axis_name: AxisName
    ) -> tuple[Learner, Metrics]:
        *targets, weight = samples
        weight = mean_weights(weight, axis_name=axis_name)
        return descend_over_slices(
            optimizer,
            learner,
            critic_loss,
            targets,
            weight,
            num_passes=num_epochs,
            axis_name=axis_name,
        )

    def update(
        key: Key, learner: Learner, batch: Transition, axis_name: AxisName = None
    ) -> tuple[Learner, Metrics]:
        estimates = estimate_advantages(
            value_fn,
            learner.params,
            batch,
            gamma=gamma,
            lam=lam,
            normalize=normalize_advantage,
            axis_name=axis_name,
        )
        is_critic = critic_mask(network, learner.params, batch.obs)
        weight = mean_weights(batch.weight, axis_name=axis_name)
        filled, estimates = instead_of_padding((batch, estimates), batch.weight > 0)
        batch = filled._replace(weight=batch.weight)
        old = jax.lax.stop_gradient(policy(learner.params, batch.obs))

        def kl_fn(params: Params) -> Array:
            return weighted_sum(old.kl(policy(params, batch.obs)), weight)

        def loss_fn(params: Params, sign: Array | float = 1.0) -> Array:
            log_prob = policy(params, batch.obs).log_prob(batch.action)
            advantage = sign * estimates.advantage
            loss = surrogate_loss(log_prob, batch.log_prob, advantage)
            return weighted_sum(loss, weight)

        summed = partial(sum_over_devices, axis_name=axis_name)
        params = learner.params
        signs = jnp.sign(estimates.advantage)
        grads, all_positive = summed(
            (jax.grad(loss_fn)(params), jax.grad(loss_fn)(params, signs))
        )
        grads = unless_cancelled(grads, all_positive)
        steps, _ = policy_step.update(
            grads,
            policy_step.init(params),
            params,
            kl_fn=kl_fn,
            loss_fn=loss_fn,
            axis_name=axis_name,
        )
        learner, metrics = scan_minibatches(
            partial(fit_critic, axis_name=axis_name),
            learner,
            key,
            flatten_steps((batch.obs, estimates.returns, batch.weight)),
            num_epochs=num_epochs,
            num_minibatches=num_minibatches,
            axis_name=axis_name,
        )
        # The optimizer may decay weights: the actor's are none of its business.
        params = jax.tree.map(
            lambda critic, fitted, old, step: fitted if critic else old + step,
            is_critic,
            learner.params,
            params,
            steps,
        )
        return learner._replace(params=params), {
            "policy_loss": summed(loss_fn(params)),
            "value_loss": jnp.mean(metrics["value_loss"]),
            "entropy": summed(weighted_sum(old.entropy(), weight)),
            "kl": summed(kl_fn(params)),
            "gradient_norm": optax.tree.norm(grads),
            "step_norm": optax.tree.norm(steps),
        }

    return Algorithm(
        learner_init(network, optimizer), update, policy, sums_over_devices=True
    )
