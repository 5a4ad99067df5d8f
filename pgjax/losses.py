"""Elementwise losses: every function returns one number per step; the caller reduces.

Losses are to be *minimised*: gradient descent on `policy_gradient_loss` is gradient
ascent on the expected return. Advantages, targets and old log-probs are constants to
every loss here: their gradients are stopped, so they may come straight from a critic.

Log-probs are to be finite, and old ones above all: -inf says that an action which was
taken could not be. Whatever their size, a ratio of probabilities and its gradient stay
finite, and the gradient keeps its sign: beyond e^29.6 = 7e12 (float32 and bfloat16; 40
in float16, 3e102 in float64) the exponential goes on as its tangent. In float32 that
leaves room for log-ratios of 1e4 times advantages of 1e20. Squared errors are finite up
to 1e19. Dtypes: see `pgjax._internal.precision`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from pgjax._internal.checks import (
    check_positive,
    check_positive_or_none,
    check_same_shape,
)
from pgjax._internal.precision import at_least_float32, largest_exponent, number
from pgjax.types import Array, Numeric


def policy_gradient_loss(log_prob: Array, advantage: Array) -> Array:
    """The score-function loss, -log pi(a_t | s_t) A_t.

    Args:
      log_prob: (...) log pi(a_t | s_t) of the actions taken, differentiable.
      advantage: like `log_prob`; returns, or returns less a baseline. A constant.

    Returns:
      Losses, shaped like `log_prob`. Summed over an episode's steps and averaged over
      episodes, their gradient is the policy gradient, negated.

    Raises:
      ValueError: if the shapes differ; (N,) against (N, 1) would silently pair every
        action with every advantage.

    References:
      Williams, Simple Statistical Gradient-Following Algorithms, 1992.
      Sutton and Barto, 2018, section 13.3.

    >>> print(policy_gradient_loss(jnp.array([-1., -2.]), jnp.array([3., -1.])))
    [ 3. -2.]
    """
    check_same_shape(log_prob=log_prob, advantage=advantage)
    log_prob, advantage = at_least_float32(log_prob, advantage)
    return -log_prob * jax.lax.stop_gradient(advantage)


def surrogate_loss(log_prob: Array, old_log_prob: Array, advantage: Array) -> Array:
    """TRPO's objective as a loss, -ratio A, ratio = exp(log_prob - old_log_prob).

    At ratio 1 its gradient is that of `policy_gradient_loss`.

    Args:
      log_prob: (...) log pi(a_t | s_t) under the policy that learns, differentiable.
      old_log_prob: like `log_prob`, under the policy that acted. A constant.
      advantage: like `log_prob`. A constant.

    Returns:
      Losses, shaped like `log_prob`.

    Raises:
      ValueError: if the shapes differ.

    References:
      Schulman et al., Trust Region Policy Optimization, 2015, eq. 14.

    >>> old, new = jnp.log(jnp.array([.5, .5])), jnp.log(jnp.array([.9, .3]))
    >>> print(surrogate_loss(new, old, jnp.array([1., 1.])))
    [-1.8 -0.6]
    """
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    limit = _exponent_limit(log_prob)
    arrays = at_least_float32(log_prob, old_log_prob, advantage)
    log_prob, old_log_prob, advantage = arrays
    ratio = _ratio(log_prob, old_log_prob, limit)
    return -ratio * jax.lax.stop_gradient(advantage)


def clipped_surrogate_loss(
    log_prob: Array,
    old_log_prob: Array,
    advantage: Array,
    *,
    clip: Numeric,
    clip_high: Numeric | None = None,
) -> Array:
    """PPO's loss, -min(ratio A, clip(ratio, 1 - clip, 1 + clip_high) A).

    The ratio is exp(log_prob - old_log_prob). Where it has left the interval in the
    direction that the advantage favours, the gradient is zero.

    Args:
      log_prob: (...) log pi(a_t | s_t) under the policy that learns, differentiable.
      old_log_prob: like `log_prob`, under the policy that acted. A constant.
      advantage: like `log_prob`. A constant.
      clip: half-width of the trusted interval, > 0; 0.2 in the paper.
      clip_high: its upper half-width, where that is to differ ("clip higher").

    Returns:
      Losses, shaped like `log_prob`.

    Raises:
      ValueError: if the shapes differ, or for a clip that is not positive.

    References:
      Schulman et al., Proximal Policy Optimization Algorithms, 2017, eq. 7.
      Yu et al., DAPO, 2025, section 3.1 (clip_high).

    >>> old, new = jnp.log(jnp.array([.5, .5])), jnp.log(jnp.array([.9, .3]))
    >>> print(clipped_surrogate_loss(new, old, jnp.array([1., 1.]), clip=0.25))
    [-1.25 -0.6 ]
    """
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    check_positive(clip=clip)
    check_positive_or_none(clip_high=clip_high)
    limit = _exponent_limit(log_prob)
    arrays = at_least_float32(log_prob, old_log_prob, advantage)
    log_prob, old_log_prob, advantage = arrays
    advantage = jax.lax.stop_gradient(advantage)
    ratio = _ratio(log_prob, old_log_prob, limit)
    low = number(clip, ratio.dtype)
    high = low if clip_high is None else number(clip_high, ratio.dtype)
    clipped = jnp.clip(ratio, 1.0 - low, 1.0 + high)
    return -jnp.minimum(ratio * advantage, clipped * advantage)


def value_loss(value: Array, target: Array) -> Array:
    """Half the squared error of a critic, (V(s_t) - target_t)^2 / 2.

    Args:
      value: (...) V(s_t), differentiable.
      target: like `value`; returns. A constant.

    Returns:
      Losses, shaped like `value`, in squared units of return.

    Raises:
      ValueError: if the shapes differ; (N,) against (N, 1) above all.

    References:
      Sutton and Barto, 2018, eq. 9.1 (with equal weights).

    >>> print(value_loss(jnp.array([1., 3.]), jnp.array([2., 1.])))
    [0.5 2. ]
    """
    check_same_shape(value=value, target=target)
    value, target = at_least_float32(value, target)
    return 0.5 * jnp.square(value - jax.lax.stop_gradient(target))


def clipped_value_loss(
    value: Array, old_value: Array, target: Array, *, clip: Numeric | None
) -> Array:
    """The larger of two `value_loss`es: of V, and of V kept within `clip` of its old.

    Args:
      value: (...) V(s_t), differentiable.
      old_value: like `value`, before the update. A constant.
      target: like `value`; returns. A constant.
      clip: how far V may move from its old value, > 0, in units of return; None for as
        far as it likes, which is `value_loss`.

    Returns:
      Losses, shaped like `value`, in squared units of return.

    Raises:
      ValueError: if the shapes differ, or for a clip that is not positive.

    References:
      Huang et al., The 37 Implementation Details of PPO, 2022, detail 9, where it is
      found not to help.

    >>> old, target = jnp.array([1., 1.]), jnp.array([2., 0.])
    >>> print(clipped_value_loss(jnp.array([2., 2.]), old, target, clip=0.5))
    [0.125 2.   ]
    """
    check_same_shape(value=value, old_value=old_value, target=target)
    check_positive_or_none(clip=clip)
    if clip is None:
        return value_loss(value, target)
    value, old_value, target = at_least_float32(value, old_value, target)
    old_value = jax.lax.stop_gradient(old_value)
    clip = number(clip, value.dtype)
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return jnp.maximum(value_loss(value, target), value_loss(near, target))


def entropy_loss(entropy: Array) -> Array:
    """The negated entropy, for a policy that should keep exploring.

    Args:
      entropy: (...) H(pi(. | s_t)) in nats, as `distribution.entropy()` returns it.

    Returns:
      Losses, shaped like `entropy`; add them times a small positive coefficient.

    References:
      Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, 2016, sec. 4.

    >>> print(entropy_loss(jnp.array([0.5, 0.1])))
    [-0.5 -0.1]
    """
    (entropy,) = at_least_float32(entropy)
    return -entropy


def kl_penalty(log_prob: Array, reference_log_prob: Array) -> Array:
    """A KL(pi || reference) estimate from one action each: exp(-x) - 1 + x >= 0.

    x = log pi(a_t) - log ref(a_t). For actions drawn from pi, the mean is the
    divergence, without bias; near the reference its variance is far below that of the
    plain x. ("k3".)

    Args:
      log_prob: (...) log pi(a_t | s_t), differentiable.
      reference_log_prob: like `log_prob`, under the reference policy. A constant.

    Returns:
      Penalties in nats, each >= 0, shaped like `log_prob`. The gradient is that of the
      penalty at fixed actions, as GRPO uses it, which is not the KL's own gradient.

    Raises:
      ValueError: if the shapes differ.

    References:
      Schulman, Approximating KL Divergence, 2020.
      Shao et al., DeepSeekMath, 2024, eq. 4.

    >>> print(kl_penalty(jnp.log(jnp.array([.5, .5])), jnp.log(jnp.array([.5, 1.]))))
    [0.         0.30685282]
    """
    check_same_shape(log_prob=log_prob, reference_log_prob=reference_log_prob)
    limit = _exponent_limit(log_prob)
    log_prob, reference_log_prob = at_least_float32(log_prob, reference_log_prob)
    x = log_prob - jax.lax.stop_gradient(reference_log_prob)
    return jnp.expm1(jnp.minimum(-x, limit)) + x + _tangent(-x, limit)


def _ratio(log_prob: Array, old_log_prob: Array, limit: float) -> Array:
    """exp(log_prob - old_log_prob); old_log_prob is a constant."""
    x = log_prob - jax.lax.stop_gradient(old_log_prob)
    return jnp.exp(jnp.minimum(x, limit)) + _tangent(x, limit)


def _tangent(x: Array, limit: float) -> Array:
    """What exp(x) grows by beyond the limit, where it goes on as its tangent.

    A mere bound would have no gradient, and `kl_penalty` one of the wrong sign.
    """
    return math.exp(limit) * jnp.maximum(x - limit, 0.0)


def _exponent_limit(log_prob: Any) -> float:
    """How large a log-ratio may be, for gradients that have the log-prob's dtype.

    A third of what the dtype holds: an optimizer sums the squares of gradients, which
    are ratios times advantages.
    """
    dtype = jnp.result_type(log_prob)
    floating = jnp.issubdtype(dtype, jnp.floating)
    return largest_exponent(dtype if floating else jnp.float32) / 3.0
