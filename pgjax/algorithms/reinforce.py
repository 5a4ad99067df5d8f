"""REINFORCE: the policy gradient from complete episodes, with a baseline of choice."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.checks import (
    as_scalars,
    check_broadcasts,
    check_choice,
    check_flags,
    check_not_negative,
    check_takes,
    check_unit_interval,
)
from pgjax._internal.collectives import named, takes_axis_name
from pgjax.algorithms.advantages import critic_values, normalized
from pgjax.algorithms.gradient_steps import (
    descend_over_samples,
    learner_init,
    policy_of,
    total_loss,
    value_of,
)
from pgjax.baselines import Baseline, no_baseline
from pgjax.losses import policy_gradient_loss, value_loss
from pgjax.reductions import mean_weights, moments, per_episode
from pgjax.returns import discounted_returns, lambda_returns
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

Reduction = Literal["episodes", "steps", "sum"]


VALUE_COEFFICIENT = 0.5


def reinforce(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    gamma: Numeric = 0.99,
    baseline: Baseline = no_baseline,
    reduction: Reduction = "episodes",
    discount_states: bool = False,
    normalize_advantage: bool = False,
    entropy_coefficient: Numeric = 0.0,
    value_coefficient: Numeric = VALUE_COEFFICIENT,
) -> Algorithm:
    """Gradient ascent on J(theta) = E[G_0], one update per batch of complete episodes.

    grad J = E[ sum_t grad log pi(a_t | s_t) (G_t - b_t) ], where G_t is the discounted
    return from step t and b_t a baseline.

    With a critic, a return that was cut by a time limit goes on with V(next_obs).
    Without one there is nothing to go on with: what is maximised is then the return of
    the time-limited task, whether its end is called a termination or a truncation.

    Args:
      network: the policy; with a critic, V is fitted to the returns as well.
      optimizer: any Optax transformation that descends, such as optax.adam(1e-2).
      gamma: discount, in [0, 1].
      baseline: b_t, a function from `pgjax.baselines` or your own; where devices share
        the environments, it must take `axis_name`, too.
      reduction: "episodes", the mean over episodes of the sum over their steps, as the
        theorem says; "steps", the mean over all steps; "sum", the sum, as the article.
      discount_states: whether step t is also weighted by gamma^t, as the theorem for
        the discounted objective says and most implementations do not.
      normalize_advantage: whether G_t - b_t is scaled to mean 0 and variance 1 over the
        batch. Subtracting the mean biases an unbiased baseline by O(1/N).
      entropy_coefficient: weight of the entropy bonus, reduced likewise; >= 0.
      value_coefficient: weight of the critic's loss (a mean over steps), >= 0.

    Returns:
      An algorithm for the rollout `pgjax.episodes`.

    Raises:
      TypeError: for an argument of another type.
      ValueError: for an unknown reduction or a number out of range; from `update`, for
        a baseline or `value_coefficient` whose critic is missing, a baseline that does
        not broadcast to (T, N), or if advantages of one sample are normalized.

    References:
      Williams, 1992; Sutton and Barto, 2018, sections 13.3 and 13.4.
    """
    check_unit_interval(gamma=gamma)
    check_not_negative(
        entropy_coefficient=entropy_coefficient, value_coefficient=value_coefficient
    )
    check_choice("reduction", reduction, Reduction)
    check_flags(
        discount_states=discount_states, normalize_advantage=normalize_advantage
    )
    gamma, entropy_coefficient, value_coefficient = as_scalars(
        gamma=gamma,
        entropy_coefficient=entropy_coefficient,
        value_coefficient=value_coefficient,
    )

    if not callable(baseline):
        raise ValueError(
            f"baseline must be a function, such as pg.leave_one_out, got {baseline!r}"
        )
    check_takes(baseline, "returns, weight, value", "pg.leave_one_out", name="baseline")

    value_fn = value_of(network)

    def estimate(
        params: Params, batch: Transition, axis_name: AxisName
    ) -> tuple[Array, Array]:
        """Returns G_t and advantages G_t - b_t, (T, N) each."""
        flags = batch.terminated, batch.truncated
        has_critic = jax.eval_shape(value_fn, params, batch.obs) is not None
        if has_critic:
            value, next_value = critic_values(value_fn, params, batch)
            returns = lambda_returns(batch.reward, next_value, *flags, gamma=gamma)
        else:
            _check_no_use_of_critic(value_coefficient)
            value = None
            returns = discounted_returns(batch.reward, *flags, gamma=gamma)
        _check_split(baseline, axis_name)
        expected = baseline(returns, batch.weight, value, **named(axis_name))
        check_broadcasts(returns, baseline=expected)
        return returns, returns - expected

    def update(
        key: Key, learner: Learner, batch: Transition, axis_name: AxisName = None
    ) -> tuple[Learner, Metrics]:
        del key
        returns, advantage = estimate(learner.params, batch, axis_name)
        _, variance = moments(advantage, batch.weight, axis_name=axis_name)
        if normalize_advantage:
            advantage = normalized(advantage, batch.weight, axis_name)
        step_weight = mean_weights(batch.weight, axis_name=axis_name)
        scale = {
            "episodes": per_episode(batch.weight, axis_name=axis_name),
            "steps": step_weight,
            "sum": batch.weight,
        }[reduction]
        if discount_states:
            scale = scale * gamma ** jnp.arange(len(scale), dtype=scale.dtype)[:, None]

        def loss(params: Params, block: tuple, weights: tuple) -> tuple[Array, Metrics]:
            batch, returns, advantage = block
            scale, step_weight = weights
            distribution, value = network.apply(params, batch.obs)
            return total_loss(
                policy_gradient_loss(distribution.log_prob(batch.action), advantage),
                None if value is None else value_loss(value, returns),
                distribution.entropy(),
                weight=scale,
                step_weight=step_weight,
                value_coefficient=value_coefficient,
                entropy_coefficient=entropy_coefficient,
            )

        learner, metrics = descend_over_samples(
            optimizer,
            learner,
            loss,
            (batch, returns, advantage),
            (scale, step_weight),
            batch.weight > 0,
            axis_name=axis_name,
        )
        return learner, metrics | {"advantage_variance": variance}

    return Algorithm(
        learner_init(network, optimizer),
        update,
        policy_of(network),
        complete_episodes=True,
        sums_over_devices=True,
    )


def _check_split(baseline: Baseline, axis_name: AxisName) -> None:
    """Raises ValueError for a baseline that would be that of one device's share."""
    if axis_name is None or takes_axis_name(baseline):
        return
    raise ValueError(
        "devices share an agent's environments here, and this baseline would be that "
        "of one device's share: let it take axis_name=None as well, and hand it to "
        "what reduces over environments, such as pg.total and pg.weighted_mean"
    )


def _check_no_use_of_critic(value_coefficient: Numeric) -> None:
    """Raises ValueError for the weight of a loss that does not exist."""
    known = isinstance(value_coefficient, float)
    if not known or value_coefficient not in (0.0, VALUE_COEFFICIENT):
        raise ValueError(
            f"value_coefficient={value_coefficient} weighs the loss of a critic, and "
            "this network has none: leave it out, or use a network that returns a "
            "value, such as pg.actor_critic(...)"
        )
