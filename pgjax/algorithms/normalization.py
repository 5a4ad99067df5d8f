"""Algorithms that normalise what they are given: wrappers, as in Optax.

A wrapper's state is that of the algorithm inside, and statistics of its own: saved,
resumed and mapped together, and each agent of a `vmap` has its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.checks import (
    as_scalars,
    check_is,
    check_positive,
    check_unit_interval,
    holds,
)
from pgjax._internal.collectives import each_device, named
from pgjax._internal.counters import as_float
from pgjax._internal.precision import number
from pgjax._internal.running_moments import Moments, no_moments, update_moments
from pgjax._internal.spaces import batch_size, chosen_leaves
from pgjax._internal.user_parts import is_array, told
from pgjax.types import (
    Algorithm,
    AlgorithmState,
    Array,
    AxisName,
    Key,
    Metrics,
    Numeric,
    Obs,
    Params,
    Transition,
)

ENOUGH = 10.0  # returns that differ before their deviation is taken for known


class NormalizedParams(NamedTuple):
    """Parameters, and the statistics of the observations that they are used with."""

    params: Params
    moments: Any  # `Moments`, or a tree of them like observations; None where they stay


class NormalizedState(NamedTuple):
    """The state of `normalize_observations`."""

    inner: AlgorithmState
    moments: Any  # of observations; see `NormalizedParams`

    @property
    def params(self) -> NormalizedParams:
        return NormalizedParams(self.inner.params, self.moments)


class ScaledState(NamedTuple):
    """The state of `scale_rewards`."""

    inner: AlgorithmState
    moments: Moments  # of discounted returns
    largest_return: Array  # () the largest absolute value so far
    running_return: Array  # (N,) the discounted return so far of each environment

    @property
    def params(self) -> Params:
        return self.inner.params


def normalize_observations(
    algorithm: Algorithm, *, clip: Numeric = 10.0, leaves: Any = None
) -> Algorithm:
    """The algorithm, on observations scaled to mean 0 and variance 1.

    The statistics are those of all rollouts before the present one, so the policy that
    acts and the one that learns see the same numbers; they change after each update.
    In the first rollout observations are as they come, but clipped.

    A feature that has not differed so far, or by no more than rounding (a deviation up
    to half a unit in the last place of its mean), is shifted, but not scaled: it is 0,
    and its rounding is not magnified. Deviations below 1e-4 are not scaled up to 1.

    Of observations that are a tree, such as a dict, each leaf has statistics of its
    own. Leaves that are no floats (images of bytes, choices, flags, masks) come to the
    algorithm as they are, unless `leaves` says otherwise.

    Args:
      algorithm: any; `policy` and `update` are wrapped. What is normalized it sees as
        float32, whatever its type (bytes, float16), or as float64 where it is that.
      clip: bound of the scaled observations, > 0.
      leaves: which are normalized: True for all, or a tree of True and False like the
        observations, or like its upper part: {"image": False, "speed": True}. By
        default those that are floats; an observation that is one array is normalized,
        whatever its type, but that one integer alone is a choice, such as that of a
        `Discrete`, which is nothing to normalize.

    Returns:
      An algorithm whose parameters are `NormalizedParams`: evaluation and files take
      the statistics along.

    Raises:
      TypeError: if `algorithm` is something else, or already normalizes observations.
      ValueError: if `clip` is out of range; from `init`, if `leaves` does not fit the
        observations, or there is nothing to normalize.

    References:
      Huang et al., The 37 Implementation Details of PPO, 2022, continuous details 6
      and 7.
    """
    check_is(Algorithm, "pg.ppo(network, optimizer)", algorithm=algorithm)
    check_positive(clip=clip)
    (clip,) = as_scalars(clip=clip)

    def normalize_leaf(obs: Array, moments: Moments | None) -> Array:
        if moments is None:
            return obs
        dtype, axes = moments.mean.dtype, (1,) * (obs.ndim - moments.mean.ndim)
        scale = _scale_of_observations(moments, obs.dtype)
        mean, rest, scale = (
            x.reshape(axes + x.shape) for x in (moments.mean, moments.mean_rest, scale)
        )
        bound = number(clip, dtype)
        centred = (obs.astype(dtype) - mean) - rest
        return jnp.clip(centred * scale, -bound, bound)

    def normalize(moments: Any, obs: Obs) -> Obs:
        return jax.tree.map(normalize_leaf, obs, moments)

    def init(key: Key, obs: Obs) -> NormalizedState:
        moments = _first_moments(obs, leaves)
        inner = algorithm.init(key, normalize(moments, obs))
        if holds(NormalizedState, inner):
            raise TypeError("observations are normalized twice; once does it")
        return NormalizedState(inner, moments)

    def update(
        key: Key, state: NormalizedState, batch: Transition, axis_name: AxisName = None
    ) -> tuple[NormalizedState, Metrics]:
        inner, moments = state
        normalized = batch._replace(
            obs=normalize(moments, batch.obs),
            next_obs=normalize(moments, batch.next_obs),
        )
        inner, metrics = algorithm.update(key, inner, normalized, **named(axis_name))

        def updated(obs: Array, moments: Moments | None) -> Moments | None:
            if moments is None:
                return None
            return update_moments(moments, obs, batch.weight, axis_name=axis_name)

        moments = jax.tree.map(updated, batch.obs, moments)
        return NormalizedState(inner, moments), metrics

    def policy(params: NormalizedParams, obs: Obs):
        return algorithm.policy(params.params, normalize(params.moments, obs))

    return algorithm._replace(init=init, update=update, policy=policy)


def _first_moments(obs: Obs, leaves: Any) -> Any:
    """Those of no observation, None for the leaves that are not normalized.

    Raises:
      ValueError: if there is none that is.
    """
    if leaves is None:
        alone = is_array(obs) and obs.ndim > 1  # one integer of each is a choice
        leaves = jax.tree.map(
            lambda x: alone or bool(jnp.issubdtype(x.dtype, jnp.floating)), obs
        )
    chosen = chosen_leaves(leaves, obs)
    if not any(jax.tree.leaves(chosen)):
        raise ValueError(
            "there is nothing to normalize: no leaf of the observations is a float "
            "(choices become one-hot as they are), or leaves says False of all; they "
            f"are {told(obs)}. Say which in "
            "pg.normalize_observations(algorithm, leaves=...), or leave it out"
        )

    def first(x: Array, choice: bool) -> Moments | None:
        dtype = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        return no_moments(x.shape[1:], dtype) if choice else None

    return jax.tree.map(first, obs, chosen)


def _scale_of_observations(moments: Moments, dtype: Any) -> Array:
    """What centred observations, which came in this type, are multiplied with."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    unit = float(jnp.finfo(dtype if floating else moments.mean.dtype).eps)
    rounding = 0.5 * unit * moments.mean
    constant = moments.variance <= jnp.square(rounding)
    return jnp.where(constant, 1.0, jax.lax.rsqrt(moments.variance + 1e-8))


def scale_rewards(
    algorithm: Algorithm, *, gamma: Numeric = 0.99, clip: Numeric = 10.0
) -> Algorithm:
    """The algorithm, on rewards divided by the deviation of the discounted return.

    R_t = gamma (1 - done_{t-1}) R_{t-1} + r_t runs along each environment's steps, over
    rollouts; rewards are divided by the standard deviation of all R so far, these ones
    among them. Nothing is subtracted: signs stay as they are.

    Where returns have hardly differed yet (the first steps, a reward that never
    changes, a goal that was reached once), their deviation is not known, and dividing
    by it could magnify rewards without bound. The divisor is therefore

        max(std R, max(1, max |R|) min(1, 10 / k)^2), k = samples (std R / max |R|)^2,

    where k is how many returns there were that differ from the mean by as much as the
    largest one from 0. Up to ten of them no reward is magnified; soon after, the first
    term is the larger one.

    Args:
      algorithm: any; `update` is wrapped. What it learns of values is in scaled units.
      gamma: discount, in [0, 1]; that of the algorithm, which is not known here: with
        another one, rewards are scaled by what the algorithm does not see.
      clip: bound of the scaled rewards, > 0.

    Raises:
      TypeError: if `algorithm` is something else, or already scales rewards.
      ValueError: if a number is out of range.

    References:
      Huang et al., 2022, continuous details 8 and 9.
      Engstrom et al., Implementation Matters in Deep Policy Gradients, 2020.
    """
    check_is(Algorithm, "pg.ppo(network, optimizer)", algorithm=algorithm)
    check_unit_interval(gamma=gamma)
    check_positive(clip=clip)
    gamma, clip = as_scalars(gamma=gamma, clip=clip)

    def init(key: Key, obs: Obs) -> ScaledState:
        inner = algorithm.init(key, obs)
        if holds(ScaledState, inner):
            raise TypeError("rewards are scaled twice; once does it")
        dtype = jnp.result_type(float)
        zero, zeros = jnp.zeros((), dtype), jnp.zeros(batch_size(obs), dtype)
        return ScaledState(inner, no_moments((), dtype), zero, zeros)

    def update(
        key: Key, state: ScaledState, batch: Transition, axis_name: AxisName = None
    ) -> tuple[ScaledState, Metrics]:
        inner, moments, largest, running = state
        counts = batch.weight > 0
        reward = jnp.where(counts, batch.reward.astype(running.dtype), 0.0)

        def accumulate(running: Array, inputs: tuple) -> tuple[Array, Array]:
            reward, ended = inputs
            running = gamma * running + reward
            return jnp.where(ended, 0.0, running), running

        # Padding follows an episode's end, and the next episode follows the padding.
        ended = batch.terminated | batch.truncated | ~counts
        running, returns = jax.lax.scan(accumulate, running, (reward, ended))
        moments = update_moments(moments, returns, batch.weight, axis_name=axis_name)
        size = jnp.max(jnp.where(counts, jnp.abs(returns), 0.0))
        largest = jnp.maximum(largest, jnp.max(each_device(size, axis_name)))
        scaled = jnp.clip(reward / _divisor_of_rewards(moments, largest), -clip, clip)
        floating = jnp.issubdtype(batch.reward.dtype, jnp.floating)
        scaled = scaled.astype(batch.reward.dtype if floating else running.dtype)
        inner, metrics = algorithm.update(
            key, inner, batch._replace(reward=scaled), **named(axis_name)
        )
        return ScaledState(inner, moments, largest, running), metrics

    return algorithm._replace(init=init, update=update)


def _divisor_of_rewards(moments: Moments, largest: Array) -> Array:
    """See `scale_rewards`."""
    std = jnp.sqrt(jnp.maximum(moments.variance, 0.0))
    share = jnp.square(std / jnp.where(largest > 0.0, largest, 1.0))
    differing = as_float(moments.num_samples).astype(share.dtype) * share
    unknown = jnp.minimum(1.0, ENOUGH / jnp.maximum(differing, 1.0))
    return jnp.maximum(std, jnp.maximum(1.0, largest) * jnp.square(unknown))
