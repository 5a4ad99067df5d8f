"""Action distributions: pytrees of arrays, so that they are batches of distributions.

Each one has `sample`, `log_prob`, `entropy`, `kl` and `mode`; see `types.Distribution`.
`sample` is `noise`, which is random and does not depend on the distribution but for its
shape, and then `from_noise`: a rollout draws the noise of all its steps at once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pgjax.checks import check_same_shape
from pgjax.types import Array, Key


class Categorical(NamedTuple):
    """A choice among K actions, pi(a) = softmax(logits)_a.

    Logits need not be normalised; an action of logit -inf is never taken.

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
        return jax.nn.softmax(self.logits)

    def sample(self, key: Key) -> Array:
        """(...) int32 actions."""
        return self.from_noise(self.noise(key))

    def noise(self, key: Key) -> Array:
        """(...) what `from_noise` needs; it depends on shapes only.

        One uniform number per action, where the Gumbel trick needs K.
        """
        return jax.random.uniform(key, self.logits.shape[:-1])

    def from_noise(self, uniform: Array) -> Array:
        """(...) int32 actions, by inverting the cumulative distribution."""
        if self.logits.shape[-1] == 2:
            return (uniform >= jax.nn.sigmoid(self._margin())).astype(jnp.int32)
        # The sum is rounded, so it may rise, or fall, where a probability is zero: only
        # actions that can happen are looked at, and the last of them ends at the total.
        possible = self.probs > 0
        cumulative = jnp.where(possible, jnp.cumsum(self.probs, axis=-1), 0.0)
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
        last = self.logits.ndim - 1
        actions = jax.lax.broadcasted_iota(jnp.int32, self.logits.shape, last)
        taken = actions == action[..., None]
        chosen = jnp.sum(jnp.where(taken, self.logits, 0.0), axis=-1)
        return chosen - jax.nn.logsumexp(self.logits, axis=-1)

    def entropy(self) -> Array:
        """(...) entropy -sum_a pi(a) log pi(a), in nats, in [0, log K]."""
        if self.logits.shape[-1] == 2:
            margin = self._margin()
            first, second = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
            return -jnp.exp(first) * _finite(first) - jnp.exp(second) * _finite(second)
        return -jnp.sum(self.probs * _finite(jax.nn.log_softmax(self.logits)), axis=-1)

    def kl(self, other: Categorical) -> Array:
        """(...) KL(self || other) = sum_a pi(a) (log pi(a) - log other(a)), in nats.

        Raises:
          ValueError: if the two batches differ in shape.
        """
        check_same_shape(logits=self.logits, other_logits=other.logits)
        log_self = jax.nn.log_softmax(self.logits)
        log_other = jax.nn.log_softmax(other.logits)
        difference = jnp.where(jnp.isneginf(log_self), 0.0, log_self - log_other)
        return jnp.sum(self.probs * difference, axis=-1)

    def mode(self) -> Array:
        """(...) int32 the most probable action; the first one, where several are."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def _margin(self) -> Array:
        """(...) the log-odds of the first of two actions."""
        return self.logits[..., 0] - self.logits[..., 1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiagGaussian:
    """Independent normal distributions, one for each element of an action.

    Nothing is squashed or clipped here: where the environment clips actions to its
    bounds, the log-prob stays that of the action that was sampled.

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
        return jnp.exp(self.log_std)

    def sample(self, key: Key) -> Array:
        """(..., *E) actions."""
        return self.from_noise(self.noise(key))

    def noise(self, key: Key) -> Array:
        """(..., *E) what `from_noise` needs; it depends on shapes only."""
        return jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def from_noise(self, normal: Array) -> Array:
        """(..., *E) actions, mean + std * noise."""
        return self.mean + self.std * normal

    def log_prob(self, action: Array) -> Array:
        """(...) log density of actions (..., *E), in nats.

        Raises:
          ValueError: if the shapes of actions, means and log-stds differ.
        """
        check_same_shape(action=action, mean=self.mean, log_std=self.log_std)
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return self._sum(-0.5 * jnp.square(z) - self.log_std - _HALF_LOG_2PI)

    def entropy(self) -> Array:
        """(...) differential entropy in nats; negative for small deviations."""
        check_same_shape(mean=self.mean, log_std=self.log_std)
        return self._sum(self.log_std + _HALF_LOG_2PI + 0.5)

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
        z = (self.mean - other.mean) * jnp.exp(-other.log_std)
        log_ratio = self.log_std - other.log_std
        # (exp(2x) - 1 - 2x) / 2 + z^2 / 2, in a form that cancels less near x = 0.
        spread = jnp.expm1(2.0 * log_ratio) - 2.0 * log_ratio
        return self._sum(0.5 * (spread + jnp.square(z)))

    def mode(self) -> Array:
        """(..., *E) the mean."""
        return self.mean

    def _sum(self, x: Array) -> Array:
        return jnp.sum(x, axis=tuple(range(x.ndim - self.event_ndim, x.ndim)))


_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def _finite(log_probs: Array) -> Array:
    """Log-probs with -inf replaced: 0 log 0 = 0, and its gradient no NaN."""
    return jnp.where(jnp.isneginf(log_probs), 0.0, log_probs)
