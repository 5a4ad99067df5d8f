"""Action distributions: pytrees of arrays, so that they are batches of distributions.

Each one has `sample`, `log_prob`, `entropy`, `kl` and `mode`; see `types.Distribution`.
`sample` is `noise`, which is random and does not depend on the distribution but for its
shape, and then `from_noise`: a rollout draws the noise of all its steps at once.

Whatever the dtype of a distribution's arrays, noise, probabilities and continuous
actions are float32 at least, and so are log-probs, entropies and divergences: see
`pgjax._internal.precision`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.checks import check_same_shape
from pgjax._internal.precision import at_least_float32, largest_exponent, working_dtype
from pgjax.types import Array, Key


class Categorical(NamedTuple):
    """A choice among K actions, pi(a) = softmax(logits)_a.

    Logits need not be normalised; an action of logit -inf is never taken. At least one
    must be above -inf.

    Actions are drawn with one uniform number of 23 bits, of 52 for float64 logits: each
    frequency is off by about 2^-23 = 1.2e-7, so that of an action less probable than
    that may be 0, or as much.

    >>> policy = Categorical(jnp.array([2.0, 1.0, 0.5]))
    >>> print(*(f"{p:.2f}" for p in policy.probs))
    0.63 0.23 0.14
    >>> print(policy.mode(), f"{policy.log_prob(jnp.array(0)):.3f}")
    0 -0.464
    """

    logits: Array  # (..., K)

    @property
    def probs(self) -> Array:
        """(..., K) probabilities."""
        return jax.nn.softmax(self._logits)

    def sample(self, key: Key) -> Array:
        """(...) int32 actions."""
        return self.from_noise(self.noise(key))

    def noise(self, key: Key) -> Array:
        """(...) what `from_noise` needs; it depends on shapes only.

        One uniform number per action, where the Gumbel trick needs K.
        """
        dtype = working_dtype(self.logits)
        return jax.random.uniform(key, self.logits.shape[:-1], dtype)

    def from_noise(self, uniform: Array) -> Array:
        """(...) int32 actions, by inverting the cumulative distribution."""
        if self.logits.shape[-1] == 2:
            return (uniform >= jax.nn.sigmoid(self._margin())).astype(jnp.int32)
        # The sum is rounded, so it may rise, or fall, where a probability is zero: only
        # actions that can happen are looked at, and the last of them ends at the total.
        probs = self.probs
        possible = probs > 0
        cumulative = jnp.where(possible, jnp.cumsum(probs, axis=-1), 0.0)
        total = jnp.max(cumulative, axis=-1, keepdims=True)
        reached = possible & (cumulative > uniform[..., None] * total)
        return jnp.argmax(reached, axis=-1).astype(jnp.int32)

    def log_prob(self, action: Array) -> Array:
        """(...) log pi(a) of integer actions in [0, K-1], in nats.

        Raises:
          ValueError: if the actions' shape is not the batch shape. (Their range is not
            checked: an action outside of it gives a number that means nothing.)
        """
        action = jnp.asarray(action)
        if jnp.shape(action) != self.logits.shape[:-1]:
            raise ValueError(
                f"actions of shape {jnp.shape(action)} do not fit a batch of "
                f"distributions of shape {self.logits.shape[:-1]} (logits "
                f"{self.logits.shape})"
            )
        if self.logits.shape[-1] == 2:
            margin = self._margin()
            return jax.nn.log_sigmoid(jnp.where(action == 0, margin, -margin))
        # A masked sum rather than a gather: its gradient is no scatter.
        logits = self._logits
        actions = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
        taken = actions == action.astype(jnp.int32)[..., None]
        chosen = jnp.sum(jnp.where(taken, logits, 0.0), axis=-1)
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    def entropy(self) -> Array:
        """(...) entropy -sum_a pi(a) log pi(a), in nats, in [0, log K]."""
        if self.logits.shape[-1] == 2:
            margin = self._margin()
            first, second = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
            return -jnp.exp(first) * _finite(first) - jnp.exp(second) * _finite(second)
        log_probs = jax.nn.log_softmax(self._logits)
        return -jnp.sum(self.probs * _finite(log_probs), axis=-1)

    def kl(self, other: Categorical) -> Array:
        """(...) KL(self || other) = sum_a pi(a) (log pi(a) - log other(a)), in nats.

        Infinite where an action that is possible here is impossible there; the gradient
        is then that of the other actions.

        Raises:
          ValueError: if the two batches differ in shape.
        """
        check_same_shape(logits=self.logits, other_logits=other.logits)
        logits, other_logits = at_least_float32(self.logits, other.logits)
        log_self, log_other = map(jax.nn.log_softmax, (logits, other_logits))
        possible, there = ~jnp.isneginf(log_self), ~jnp.isneginf(log_other)
        # Chosen before the difference, or its gradient would be inf - inf.
        in_both = possible & there
        difference = jnp.where(in_both, log_self, 0.0) - jnp.where(
            in_both, log_other, 0.0
        )
        # Not a product: of a probability that underflows, infinity makes NaN.
        infinite = jnp.where(possible & ~there, jnp.inf, 0.0)
        return jnp.sum(jax.nn.softmax(logits) * difference + infinite, axis=-1)

    def mode(self) -> Array:
        """(...) int32 the most probable action; the first one, where several are."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def _margin(self) -> Array:
        """(...) the log-odds of the first of two actions."""
        logits = self._logits
        return logits[..., 0] - logits[..., 1]

    @property
    def _logits(self) -> Array:
        """(..., K) in the dtype to compute in."""
        return at_least_float32(self.logits)[0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiagGaussian:
    """Independent normal distributions, one for each element of an action.

    Nothing is squashed or clipped here: where the environment clips actions to its
    bounds, the log-prob stays that of the action that was sampled.

    A log-std may be anything from -80 to 80 (float64: 700), and below that, too, while
    actions are the mean, as samples are whose deviation is lost beside it: all results
    and gradients are then finite. Farther off by z deviations, log-probs and gradients
    are finite while z^2, and z / std, are.

    `event_ndim` is the number of trailing axes that make up one action: 1 for vectors,
    0 for scalars.

    >>> policy = DiagGaussian(jnp.array([0.0, 2.0]), jnp.log(jnp.array([1.0, 0.5])))
    >>> print(policy.mode(), f"{policy.log_prob(jnp.array([1.0, 2.0])):.3f}")
    [0. 2.] -1.645
    """

    mean: Array  # (..., *E)
    log_std: Array  # (..., *E)
    event_ndim: int = dataclasses.field(default=1, metadata={"static": True})

    @property
    def std(self) -> Array:
        """(..., *E) standard deviations."""
        return _bounded_exp(self._arrays[1])

    def sample(self, key: Key) -> Array:
        """(..., *E) actions."""
        return self.from_noise(self.noise(key))

    def noise(self, key: Key) -> Array:
        """(..., *E) what `from_noise` needs; it depends on shapes only."""
        dtype = working_dtype(self.mean, self.log_std)
        return jax.random.normal(key, self.mean.shape, dtype)

    def from_noise(self, normal: Array) -> Array:
        """(..., *E) actions, mean + std * noise."""
        mean, log_std = self._arrays
        return mean + _bounded_exp(log_std) * normal

    def log_prob(self, action: Array) -> Array:
        """(...) log density of actions (..., *E), in nats.

        Raises:
          ValueError: if the shapes of actions, means and log-stds differ.
        """
        check_same_shape(action=action, mean=self.mean, log_std=self.log_std)
        arrays = at_least_float32(action, self.mean, self.log_std)
        action, mean, log_std = arrays
        z = (action - mean) * _bounded_exp(-log_std)
        return self._sum(-0.5 * jnp.square(z) - log_std - _HALF_LOG_2PI)

    def entropy(self) -> Array:
        """(...) differential entropy in nats; negative for small deviations."""
        check_same_shape(mean=self.mean, log_std=self.log_std)
        _, log_std = self._arrays
        return self._sum(log_std + _HALF_LOG_2PI + 0.5)

    def kl(self, other: DiagGaussian) -> Array:
        """(...) KL(self || other), in nats.

        Raises:
          ValueError: if the two batches differ in shape.
        """
        check_same_shape(
            mean=self.mean,
            log_std=self.log_std,
            other_mean=other.mean,
            other_log_std=other.log_std,
        )
        arrays = at_least_float32(self.mean, self.log_std, other.mean, other.log_std)
        mean, log_std, other_mean, other_log_std = arrays
        z = (mean - other_mean) * _bounded_exp(-other_log_std)
        log_ratio = log_std - other_log_std
        # (exp(2x) - 1 - 2x) / 2 + z^2 / 2, in a form that cancels less near x = 0.
        spread = jnp.expm1(2.0 * log_ratio) - 2.0 * log_ratio
        return self._sum(0.5 * (spread + jnp.square(z)))

    def mode(self) -> Array:
        """(..., *E) the mean."""
        return self._arrays[0]

    @property
    def _arrays(self) -> tuple[Array, Array]:
        """Mean and log-std, (..., *E) each, in the dtype to compute in."""
        mean, log_std = at_least_float32(self.mean, self.log_std)
        return mean, log_std

    def _sum(self, x: Array) -> Array:
        return jnp.sum(x, axis=tuple(range(x.ndim - self.event_ndim, x.ndim)))


_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def _bounded_exp(x: Array) -> Array:
    """exp(x), finite for any x: of a number times 0, infinity would make NaN."""
    # With room for the noise it is multiplied with, which is no larger than e^4.
    return jnp.exp(jnp.minimum(x, largest_exponent(x.dtype) - 4.0))


def _finite(log_probs: Array) -> Array:
    """Log-probs with -inf replaced: 0 log 0 = 0, and its gradient no NaN."""
    return jnp.where(jnp.isneginf(log_probs), 0.0, log_probs)
