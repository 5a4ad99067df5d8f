"""A2C: one gradient step per rollout, on advantages from a critic."""

from __future__ import annotations

import optax

from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_flags,
    check_not_negative,
    check_unit_interval,
)
from pgjax.algorithms.advantages import estimate_advantages
from pgjax.algorithms.gradient_steps import (
    descend_over_samples,
    learner_init,
    policy_of,
    total_loss,
    value_of,
)
from pgjax.losses import policy_gradient_loss, value_loss
from pgjax.reductions import mean_weights
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


def a2c(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    gamma: Numeric = 0.99,
    lam: Numeric = 1.0,
    n_step: int | None = None,
    normalize_advantage: bool = False,
    entropy_coefficient: Numeric = 0.01,
    value_coefficient: Numeric = 0.5,
) -> Algorithm:
    """Advantage actor-critic: the policy gradient with V(s) as baseline and bootstrap.

    grad J = E[ grad log pi(a_t | s_t) A_t ], A_t = G_t - V(s_t), a mean over steps.

    With lam = 1, G_t sums the rewards to the end of the rollout and goes on with V, as
    in the paper; with lam < 1 it is the lambda return, and A_t is GAE; with `n_step`,
    every G_t looks n rewards ahead.

    Args:
      network: an actor and a critic, separate or sharing a torso.
      optimizer: any Optax transformation that descends; the literature has RMSProp, or
        Adam with eps 1e-5, after clipping the global norm to 0.5.
      gamma: discount, in [0, 1].
      lam: trace decay of GAE, in [0, 1]; not with `n_step`.
      n_step: rewards before the bootstrap, from 1 to the rollout's steps; without it,
        GAE.
      normalize_advantage: whether A_t is scaled to mean 0 and variance 1 per batch.
      entropy_coefficient: weight of the entropy bonus, >= 0.
      value_coefficient: weight of the critic's loss, >= 0.

    Returns:
      An algorithm for the rollout `pgjax.unroll`.

    Raises:
      TypeError: for an argument of another type.
      ValueError: for a number out of range, or both `lam` and `n_step`; from `update`,
        if the network has no critic, `n_step` exceeds the rollout's steps, or
        advantages of one sample are normalized.

    References:
      Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, 2016.
    """
    check_unit_interval(gamma=gamma, lam=lam)
    check_not_negative(
        entropy_coefficient=entropy_coefficient, value_coefficient=value_coefficient
    )
    check_flags(normalize_advantage=normalize_advantage)
    gamma, lam, entropy_coefficient, value_coefficient = as_scalars(
        gamma=gamma,
        lam=lam,
        entropy_coefficient=entropy_coefficient,
        value_coefficient=value_coefficient,
    )
    if n_step is not None:
        n_step = as_count("n_step", n_step)
        if not isinstance(lam, float) or lam != 1.0:
            raise ValueError(
                f"lam is the decay of lambda returns, and n_step={n_step} takes others "
                f"instead; leave out one of the two, got lam={lam}"
            )
    value_fn = value_of(network)

    def update(
        key: Key, learner: Learner, batch: Transition, axis_name: AxisName = None
    ) -> tuple[Learner, Metrics]:
        del key
        if n_step is not None and n_step > len(batch.reward):
            raise ValueError(
                f"n_step={n_step} looks further ahead than the rollout's "
                f"{len(batch.reward)} steps; take more steps, or leave n_step out: "
                "returns then look ahead to the rollout's end"
            )
        estimates = estimate_advantages(
            value_fn,
            learner.params,
            batch,
            gamma=gamma,
            lam=lam,
            n_step=n_step,
            normalize=normalize_advantage,
            axis_name=axis_name,
        )

        def loss(params: Params, block: tuple, weight: Array) -> tuple[Array, Metrics]:
            batch, estimates = block
            distribution, value = network.apply(params, batch.obs)
            log_prob = distribution.log_prob(batch.action)
            return total_loss(
                policy_gradient_loss(log_prob, estimates.advantage),
                value_loss(value, estimates.returns),
                distribution.entropy(),
                weight=weight,
                value_coefficient=value_coefficient,
                entropy_coefficient=entropy_coefficient,
            )

        return descend_over_samples(
            optimizer,
            learner,
            loss,
            (batch, estimates),
            mean_weights(batch.weight, axis_name=axis_name),
            batch.weight > 0,
            axis_name=axis_name,
        )

    return Algorithm(
        learner_init(network, optimizer),
        update,
        policy_of(network),
        sums_over_devices=True,
    )
