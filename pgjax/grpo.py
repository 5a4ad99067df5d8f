"""Policy gradients for sequence models: rewards compared within groups of samples.

A prompt is answered several times, and each answer, a sequence of tokens, is scored
once. Time comes first, as everywhere: log-probs and weights are (T, N), for N sequences
of at most T tokens, where the weight is 1 for a token that the policy chose and 0 for
prompt and padding. The N sequences are groups of `group_size` that follow each other:
the answers to the first prompt, then those to the second. Rewards are (N,), and may be
integers or booleans. Dtypes: see `pgjax._internal.precision`.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from pgjax._internal.checks import (
    as_count,
    check_choice,
    check_not_negative,
    check_positive,
    check_positive_or_none,
    check_same_shape,
)
from pgjax._internal.precision import at_least_float32, number, working_dtype
from pgjax.losses import clipped_surrogate_loss, kl_penalty
from pgjax.reductions import masked
from pgjax.types import Array, Metrics, Numeric

Reduction = Literal["sequences", "tokens", "sequence_sums"]


def rloo_advantages(reward: Array, *, group_size: int) -> Array:
    """Each reward less the mean of the *other* rewards of its group.

    Unbiased, as no sequence is part of its own baseline.

    Args:
      reward: (N,) one per sequence.
      group_size: sequences per group, at least 2; must divide N.

    Returns:
      (N,) advantages A_i = R_i - mean_{j != i} R_j.

    Raises:
      ValueError: for a group of one, or a size that does not divide N.
      TypeError: for a size that is no integer.

    References:
      Kool et al., Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019.
      Ahmadian et al., Back to Basics: Revisiting REINFORCE Style Optimization, 2024.

    >>> print(rloo_advantages(jnp.array([1., 0., 0., 3., 3., 3.]), group_size=3))
    [ 1.  -0.5 -0.5  0.   0.   0. ]
    """
    groups = _groups(reward, group_size)
    others = jnp.sum(groups, axis=1, keepdims=True) - groups
    return (groups - others / (group_size - 1)).reshape(-1)


def grpo_advantages(
    reward: Array, *, group_size: int, scale_by_std: bool = True
) -> Array:
    """Rewards normalised within their group, (R_i - mean R) / std R.

    The mean holds the sequence's own reward, which shortens the expected gradient by
    the factor 1 - 1 / group_size; dividing by the deviation weighs groups by how rarely
    their rewards differ. Neither is what `rloo_advantages` estimates.

    Args:
      reward: (N,) one per sequence.
      group_size: sequences per group, at least 2; must divide N.
      scale_by_std: whether to divide by the group's sample standard deviation; "Dr.
        GRPO" does not.

    Returns:
      (N,) advantages; 0 in a group whose rewards are equal, up to rounding (a
      deviation of 1e-6 of the largest; float64: 2e-15).

    Raises:
      ValueError: for a group of one, or a size that does not divide N.
      TypeError: for a size that is no integer.

    References:
      Shao et al., DeepSeekMath, 2024, section 4.1.2.
      Liu et al., Understanding R1-Zero-Like Training, 2025 (scale_by_std=False).

    >>> print(grpo_advantages(jnp.array([1., 2., 3., 5., 5., 5.]), group_size=3))
    [-1.  0.  1.  0.  0.  0.]
    """
    groups = _groups(reward, group_size)
    centred = groups - jnp.mean(groups, axis=1, keepdims=True)
    if scale_by_std:
        # In units of the largest deviation, whose square is finite and not 0.
        unit = jnp.max(jnp.abs(centred), axis=1, keepdims=True)
        centred = centred / jnp.where(unit > 0, unit, 1.0)
        variance = jnp.sum(jnp.square(centred), axis=1, keepdims=True)
        std = jnp.sqrt(variance / (group_size - 1))
        # Equal rewards may differ from their mean by a rounding error.
        largest = jnp.max(jnp.abs(groups), axis=1, keepdims=True)
        differ = unit * std > 8.0 * float(jnp.finfo(groups.dtype).eps) * largest
        centred = jnp.where(differ, centred / jnp.where(differ, std, 1.0), 0.0)
    return centred.reshape(-1)


def grpo_loss(
    log_prob: Array,
    old_log_prob: Array,
    reference_log_prob: Array,
    advantage: Array,
    weight: Array,
    *,
    clip: Numeric = 0.2,
    clip_high: Numeric | None = None,
    kl_coefficient: Numeric = 0.04,
    reduction: Reduction = "sequences",
) -> tuple[Array, Metrics]:
    """The clipped surrogate over tokens, with a penalty for leaving a reference policy.

    With advantages from `rloo_advantages`, clip = inf, kl_coefficient = 0 and reduction
    "sequence_sums", its gradient at the policy that sampled is RLOO's.

    Args:
      log_prob: (T, N) of the tokens, under the policy that learns; differentiable.
      old_log_prob: (T, N), under the policy that sampled them. A constant.
      reference_log_prob: (T, N), under the reference. A constant.
      advantage: (N,), the same for all tokens of a sequence; or (T, N). A constant: no
        gradient flows through it, nor through the other two log-probs.
      weight: (T, N) 1 for the policy's own tokens, 0 for prompt and padding.
      clip: the ratio is trusted in [1 - clip, 1 + clip], > 0.
      clip_high: for [1 - clip, 1 + clip_high] instead ("clip higher").
      kl_coefficient: weight of the penalty, `kl_penalty`, >= 0.
      reduction: "sequences", the mean over sequences of the mean over their tokens, as
        GRPO; "tokens", the mean over all tokens, as DAPO; "sequence_sums", the mean
        over sequences of the sum over tokens, as the policy gradient theorem (which is
        what `reinforce` calls "episodes").

    Returns:
      The scalar loss, and the metrics policy_loss, kl (to the reference, in nats,
      reduced like the loss) and clip_fraction (over tokens).

    Raises:
      ValueError: if the shapes differ, for an unknown reduction, or a number that is
        out of range.

    References:
      Shao et al., DeepSeekMath, 2024, eq. 3; Yu et al., DAPO, 2025, eq. 8.

    >>> log_prob, weight = jnp.log(jnp.array([[.5, .2], [.5, .9]])), jnp.ones((2, 2))
    >>> loss, metrics = grpo_loss(
    ...     log_prob, log_prob, log_prob, jnp.array([1., -1.]), weight)
    >>> print(loss, metrics["kl"])
    0.0 0.0
    """
    check_choice("reduction", reduction, Reduction)
    check_positive(clip=clip)
    check_positive_or_none(clip_high=clip_high)
    check_not_negative(kl_coefficient=kl_coefficient)
    if jnp.shape(advantage) == jnp.shape(log_prob)[1:]:
        advantage = jnp.broadcast_to(jnp.asarray(advantage)[None], jnp.shape(log_prob))
    elif jnp.shape(advantage) != jnp.shape(log_prob):
        raise ValueError(
            "advantage must be one number per sequence, (N,), or per token, (T, N), "
            f"got {jnp.shape(advantage)} for log_prob {jnp.shape(log_prob)}"
        )
    check_same_shape(
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        reference_log_prob=reference_log_prob,
        advantage=advantage,
        weight=weight,
    )
    # Padding may hold anything, -inf among it, which times 0 is NaN.
    arrays = log_prob, old_log_prob, reference_log_prob, advantage, weight
    dtype = working_dtype(*arrays)
    weight = jnp.asarray(weight, dtype)
    log_prob, old_log_prob, reference_log_prob, advantage = (
        masked(x, weight)
        for x in (log_prob, old_log_prob, reference_log_prob, advantage)
    )
    num_tokens = jnp.maximum(jnp.sum(weight), 1.0)
    per_token = {
        "sequences": weight
        / jnp.maximum(jnp.sum(weight, axis=0, keepdims=True), 1.0)
        / weight.shape[1],
        "tokens": weight / num_tokens,
        "sequence_sums": weight / weight.shape[1],
    }[reduction]
    surrogate = clipped_surrogate_loss(
        log_prob, old_log_prob, advantage, clip=clip, clip_high=clip_high
    )
    penalty = kl_penalty(log_prob, reference_log_prob)
    policy_loss = jnp.sum(per_token * jnp.asarray(surrogate, dtype))
    kl = jnp.sum(per_token * jnp.asarray(penalty, dtype))
    old, new = at_least_float32(old_log_prob, jax.lax.stop_gradient(log_prob))
    ratio = jnp.exp(new - old)
    low = number(clip, ratio.dtype)
    high = low if clip_high is None else number(clip_high, ratio.dtype)
    clipped = (ratio < 1.0 - low) | (ratio > 1.0 + high)
    return policy_loss + number(kl_coefficient, dtype) * kl, {
        "policy_loss": policy_loss,
        "kl": kl,
        "clip_fraction": jnp.sum(jnp.where(clipped, weight, 0.0)) / num_tokens,
    }


def _groups(reward: Array, group_size: int) -> Array:
    """(N,) to (groups, group_size)."""
    group_size = as_count("group_size", group_size, least=2)
    if jnp.ndim(reward) != 1 or len(reward) % group_size:
        raise ValueError(
            f"rewards must be (N,), one per sequence, in groups of {group_size}; got "
            f"shape {jnp.shape(reward)}"
        )
    return at_least_float32(reward)[0].reshape(-1, group_size)
