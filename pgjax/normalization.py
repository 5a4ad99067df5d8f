"""Algorithms that normalise what they are given: wrappers, as in Optax.

The statistics are part of the learner, beside the parameters they go with: saved,
resumed and mapped with them, and each agent of a `vmap` has its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax.collectives import total
from pgjax.types import (
    Algorithm,
    Array,
    Key,
    Learner,
    Metrics,
    Numeric,
    Params,
    Transition,
)


class Moments(NamedTuple):
    """Mean and variance of all samples so far."""

    num_samples: Array  # () float32
    mean: Array  # (...)
    variance: Array  # (...) mean squared deviation


class NormalizedParams(NamedTuple):
    """Parameters, and the statistics of the observations that they are used with."""

    params: Params
    moments: Moments


class RewardScale(NamedTuple):
    """The discounted return so far of each environment, and its statistics."""

    opt_state: Any  # of the algorithm inside
    moments: Moments
    running_return: Array  # (N,)


def update_moments(moments: Moments, x: Array, weight: Array) -> Moments:
    """The moments with more samples taken in.

    Args:
      moments: of the samples so far, each of shape E.
      x: (T, N, *E) new samples.
      weight: (T, N) 1 for samples that count, 0 for padding.

    References:
      Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
      Sample Variances, 1979.
    """
    weight = weight.reshape(weight.shape + (1,) * (x.ndim - weight.ndim))
    new = total(weight)
    num_samples = moments.num_samples + new
    mean = total(weight * x, axis=(0, 1)) / jnp.maximum(new, 1.0)
    deviation = jnp.square(x - mean[None, None])
    variance = total(weight * deviation, axis=(0, 1)) / jnp.maximum(new, 1.0)
    share = new / jnp.maximum(num_samples, 1.0)
    shift = mean - moments.mean
    return Moments(
        num_samples,
        moments.mean + share * shift,
        moments.variance
        + share * (variance - moments.variance)
        + share * (1.0 - share) * jnp.square(shift),
    )


def normalize_observations(algorithm: Algorithm, *, clip: Numeric = 10.0) -> Algorithm:
    """The algorithm, on observations scaled to mean 0 and variance 1.

    The statistics are those of all rollouts before the present one, so the policy that
    acts and the one that learns see the same numbers; they change after each update.
    In the first rollout observations are as they come, but clipped.

    Args:
      algorithm: any; `policy` and `update` are wrapped.
      clip: bound of the scaled observations, > 0.

    Returns:
      An algorithm whose parameters are `NormalizedParams`: evaluation and files take
      the statistics along.

    References:
      Huang et al., The 37 Implementation Details of PPO, 2022, continuous details 6
      and 7.
    """

    def normalize(moments: Moments, obs: Array) -> Array:
        shape = (1,) * (obs.ndim - moments.mean.ndim) + moments.mean.shape
        centred = obs - moments.mean.reshape(shape)
        scale = jax.lax.rsqrt(moments.variance.reshape(shape) + 1e-8)
        return jnp.clip(centred * scale, -clip, clip)

    def init(key: Key, obs: Array) -> Learner:
        inner = algorithm.init(key, obs)
        ones = jnp.ones(obs.shape[1:])
        moments = Moments(jnp.float32(0.0), jnp.zeros_like(ones), ones)
        return Learner(NormalizedParams(inner.params, moments), inner.opt_state)

    def update(
        key: Key, learner: Learner, batch: Transition
    ) -> tuple[Learner, Metrics]:
        params, moments = learner.params
        normalized = batch._replace(
            obs=normalize(moments, batch.obs),
            next_obs=normalize(moments, batch.next_obs),
        )
        inner = Learner(params, learner.opt_state)
        inner, metrics = algorithm.update(key, inner, normalized)
        moments = update_moments(moments, batch.obs, batch.weight)
        return Learner(
            NormalizedParams(inner.params, moments), inner.opt_state
        ), metrics

    def policy(params: NormalizedParams, obs: Array):
        return algorithm.policy(params.params, normalize(params.moments, obs))

    return Algorithm(init, update, policy, algorithm.complete_episodes)


def scale_rewards(
    algorithm: Algorithm, *, gamma: Numeric = 0.99, clip: Numeric = 10.0
) -> Algorithm:
    """The algorithm, on rewards divided by the deviation of the discounted return.

    R_t = gamma (1 - done_{t-1}) R_{t-1} + r_t runs along each environment's steps, over
    rollouts; rewards are divided by the standard deviation of all R so far, these ones
    among them. Nothing is subtracted: signs stay as they are.

    Args:
      algorithm: any; `update` is wrapped. What it learns of values is in scaled units.
      gamma: discount, in [0, 1]; that of the algorithm.
      clip: bound of the scaled rewards, > 0.

    References:
      Huang et al., 2022, continuous details 8 and 9.
      Engstrom et al., Implementation Matters in Deep Policy Gradients, 2020.
    """

    def init(key: Key, obs: Array) -> Learner:
        inner = algorithm.init(key, obs)
        zero = jnp.float32(0.0)
        scale = RewardScale(
            inner.opt_state, Moments(zero, zero, zero + 1.0), jnp.zeros(len(obs))
        )
        return Learner(inner.params, scale)

    def update(
        key: Key, learner: Learner, batch: Transition
    ) -> tuple[Learner, Metrics]:
        opt_state, moments, running = learner.opt_state

        def accumulate(running: Array, inputs: tuple) -> tuple[Array, Array]:
            reward, ended = inputs
            running = gamma * running + reward
            return jnp.where(ended, 0.0, running), running

        # Padding follows an episode's end, and the next episode follows the padding.
        ended = batch.terminated | batch.truncated | (batch.weight == 0.0)
        running, returns = jax.lax.scan(accumulate, running, (batch.reward, ended))
        moments = update_moments(moments, returns, batch.weight)
        reward = batch.reward * jax.lax.rsqrt(moments.variance + 1e-8)
        inner, metrics = algorithm.update(
            key,
            Learner(learner.params, opt_state),
            batch._replace(reward=jnp.clip(reward, -clip, clip)),
        )
        scale = RewardScale(inner.opt_state, moments, running)
        return Learner(inner.params, scale), metrics

    return Algorithm(init, update, algorithm.policy, algorithm.complete_episodes)
