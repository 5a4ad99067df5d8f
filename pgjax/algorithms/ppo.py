"""PPO: several epochs of minibatches on one rollout, with a clipped objective."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.blocks import instead_of_padding
from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_choice,
    check_not_negative,
    check_positive,
    check_positive_or_none,
    check_unit_interval,
)
from pgjax.algorithms.advantages import Estimates, estimate_advantages, normalized
from pgjax.algorithms.annealing import unless
from pgjax.algorithms.gradient_steps import (
    descend_over_slices,
    learner_init,
    policy_of,
    total_loss,
    value_of,
)
from pgjax.algorithms.minibatches import flatten_steps, scan_minibatches
from pgjax.losses import clipped_surrogate_loss, clipped_value_loss, kl_penalty
from pgjax.reductions import mean_weights, weighted_mean, weighted_sum
from pgjax.types import (
    Algorithm,
    Array,
    AxisName,
    Key,
    Learner,
    Metrics,
    Network,
    Numeric,
    Obs,
    Params,
    Transition,
)

Over = Literal["minibatch", "batch"]


class Samples(NamedTuple):
    """What a minibatch is made of; leaves (B, ...)."""

    obs: Obs
    action: Array
    log_prob: Array
    weight: Array
    estimates: Estimates


def ppo(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    gamma: Numeric = 0.99,
    lam: Numeric = 0.95,
    clip: Numeric = 0.2,
    num_epochs: int = 4,
    num_minibatches: int = 4,
    normalize_advantage: bool = True,
    normalize_over: Over = "minibatch",
    value_clip: Numeric | None = None,
    target_kl: Numeric | None = None,
    entropy_coefficient: Numeric = 0.0,
    value_coefficient: Numeric = 0.5,
) -> Algorithm:
    """Proximal policy optimisation, the clipped kind.

    maximise E[ min(ratio_t A_t, clip(ratio_t, 1 - clip, 1 + clip) A_t) ], with GAE
    advantages from the critic as it was before the update, a mean over steps.

    Args:
      network: an actor and a critic, separate or sharing a torso.
      optimizer: any Optax transformation that descends; the literature has Adam with
        eps 1e-5 and a learning rate that falls to 0, after clipping the global norm to
        0.5.
      gamma: discount, in [0, 1].
      lam: trace decay of GAE, in [0, 1].
      clip: half-width of the ratio's trusted interval, > 0.
      num_epochs: passes over each rollout, >= 1.
      num_minibatches: gradient steps per pass; must divide steps x environments.
      normalize_advantage: whether advantages are scaled to mean 0 and variance 1.
      normalize_over: over each "minibatch", or over the whole "batch".
      value_clip: how far V may move in an update, in units of return; without it, as
        far as it likes.
      target_kl: the rest of an update is skipped once a minibatch's estimate of
        KL(old || new) exceeds this, in nats; without it, never.
      entropy_coefficient: weight of the entropy bonus, >= 0.
      value_coefficient: weight of the critic's loss, >= 0.

    Returns:
      An algorithm for the rollout `pgjax.unroll`.

    Raises:
      TypeError: for an argument of another type.
      ValueError: for an unknown name, a number out of range, or a limit of
        later gradient steps where there is only one; from `update`, if the network has
        no critic, `num_minibatches` does not divide the number of samples, or leaves
        one for each minibatch and advantages are normalized.

    References:
      Schulman et al., Proximal Policy Optimization Algorithms, 2017.
      Huang et al., The 37 Implementation Details of PPO, 2022.
    """
    check_unit_interval(gamma=gamma, lam=lam)
    check_positive(clip=clip)
    check_positive_or_none(value_clip=value_clip, target_kl=target_kl)
    check_not_negative(
        entropy_coefficient=entropy_coefficient, value_coefficient=value_coefficient
    )
    check_choice("normalize_over", normalize_over, Over)
    num_epochs = as_count("num_epochs", num_epochs)
    num_minibatches = as_count("num_minibatches", num_minibatches)
    for name, limit in (("target_kl", target_kl), ("value_clip", value_clip)):
        if limit is not None and num_epochs * num_minibatches == 1:
            raise ValueError(
                f"{name} limits what the gradient steps after an update's first one "
                "do, and one epoch of one minibatch has no other; leave it out, or "
                "take more epochs or minibatches"
            )
    gamma, lam, clip, value_clip, target_kl = as_scalars(
        gamma=gamma, lam=lam, clip=clip, value_clip=value_clip, target_kl=target_kl
    )
    entropy_coefficient, value_coefficient = as_scalars(
        entropy_coefficient=entropy_coefficient, value_coefficient=value_coefficient
    )
    value_fn = value_of(network)

    def loss(params: Params, samples: Samples, weight: Array) -> tuple[Array, Metrics]:
        old = samples.log_prob
        value_was, returns, advantage = samples.estimates
        distribution, value = network.apply(params, samples.obs)
        log_prob = distribution.log_prob(samples.action)
        total, metrics = total_loss(
            clipped_surrogate_loss(log_prob, old, advantage, clip=clip),
            clipped_value_loss(value, value_was, returns, clip=value_clip),
            distribution.entropy(),
            weight=weight,
            value_coefficient=value_coefficient,
            entropy_coefficient=entropy_coefficient,
        )
        clipped = jnp.abs(jnp.expm1(log_prob - old)) > clip
        return total, metrics | {
            # Under the old policy, whose samples these are: KL(old || new).
            "kl": weighted_sum(kl_penalty(old, log_prob), weight),
            "clip_fraction": jnp.sum(jnp.where(clipped, weight, 0.0)),
        }

    def step(
        carry: tuple, samples: Samples, *, axis_name: AxisName
    ) -> tuple[tuple, Metrics]:
        learner, stopped = carry
        weight, advantage = samples.weight, samples.estimates.advantage
        if normalize_advantage and normalize_over == "minibatch":
            advantage = normalized(advantage, weight, axis_name)
        samples = samples._replace(
            estimates=samples.estimates._replace(advantage=advantage)
        )
        new, metrics = descend_over_slices(
            optimizer,
            learner,
            loss,
            samples,
            mean_weights(weight, axis_name=axis_name),
            num_passes=num_epochs,
            axis_name=axis_name,
        )
        if target_kl is not None:
            stopped = stopped | (metrics["kl"] > target_kl)
            new = unless(stopped, new, learner)
        return (new, stopped), metrics | {"steps_taken": ~stopped}

    def update(
        key: Key, learner: Learner, batch: Transition, axis_name: AxisName = None
    ) -> tuple[Learner, Metrics]:
        estimates = estimate_advantages(
            value_fn,
            learner.params,
            batch,
            gamma=gamma,
            lam=lam,
            normalize=normalize_advantage and normalize_over == "batch",
            axis_name=axis_name,
        )
        samples = Samples(*batch[:3], batch.weight, estimates)
        samples = instead_of_padding(samples, batch.weight > 0)
        (learner, _), metrics = scan_minibatches(
            partial(step, axis_name=axis_name),
            (learner, jnp.bool_(False)),
            key,
            flatten_steps(samples._replace(weight=batch.weight)),
            num_epochs=num_epochs,
            num_minibatches=num_minibatches,
            axis_name=axis_name,
        )
        taken = metrics.pop("steps_taken").astype(jnp.float32)
        metrics = jax.tree.map(lambda x: weighted_mean(x, taken), metrics)
        return learner, metrics | {"gradient_steps": jnp.sum(taken)}

    return Algorithm(
        learner_init(network, optimizer),
        update,
        policy_of(network),
        sums_over_devices=True,
    )
