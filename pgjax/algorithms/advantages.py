"""What a critic says of a batch of transitions: values, targets, advantages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.blocks import map_over_samples
from pgjax._internal.collectives import num_envs_of
from pgjax.reductions import standardize
from pgjax.returns import lambda_returns, n_step_returns
from pgjax.types import Array, AxisName, Numeric, Obs, Params, Transition


class Estimates(NamedTuple):
    """Constants of an update, (T, N) each."""

    value: Array  # V(s_t) before the update
    returns: Array  # G_t, what V is fitted to
    advantage: Array  # G_t - V(s_t)


def estimate_advantages(
    value_fn: Callable[[Params, Obs], Any],
    params: Params,
    batch: Transition,
    *,
    gamma: Numeric,
    lam: Numeric,
    n_step: int | None = None,
    normalize: bool = False,
    axis_name: AxisName = None,
) -> Estimates:
    """Values, targets and advantages of a batch, by GAE or by n-step returns.

    The advantage of GAE, `returns.gae`, is its target, the lambda return, less V.

    Args:
      value_fn: maps (params, obs) to values.
      params: the critic's parameters.
      batch: transitions (T, N).
      gamma: discount in [0, 1].
      lam: trace decay in [0, 1]; unused with `n_step`.
      n_step: rewards before the bootstrap; None for lambda returns.
      normalize: whether advantages are scaled to mean 0 and variance 1.
      axis_name: of the devices that share the environments.

    Raises:
      ValueError: for a network without a critic, n_step < 1, or advantages of a single
        sample, to be normalized.
    """
    if jax.eval_shape(value_fn, params, batch.obs) is None:
        raise ValueError(
            "this algorithm needs a critic: use a network that returns a value, such "
            "as pg.actor_critic(...)"
        )
    value, next_value = critic_values(value_fn, params, batch)
    steps = batch.reward, next_value, batch.terminated, batch.truncated
    if n_step is None:
        returns = lambda_returns(*steps, gamma=gamma, lam=lam)
    else:
        returns = n_step_returns(*steps, gamma=gamma, n=n_step)
    advantage = returns - value
    if normalize:
        advantage = normalized(advantage, batch.weight, axis_name)
    return Estimates(value, returns, advantage)


def normalized(advantage: Array, weight: Array, axis_name: AxisName) -> Array:
    """Advantages, scaled to mean 0 and variance 1 over the samples that count.

    Raises:
      ValueError: for a single sample: its advantage would always be 0, and nothing
        would ever be learned.
    """
    if num_envs_of(weight.reshape(1, -1), axis_name) < 2:
        raise ValueError(
            "advantages cannot be normalized over one sample, which leaves nothing of "
            "it: take more environments, steps, or fewer minibatches, or do not "
            "normalize"
        )
    return standardize(advantage, weight, axis_name=axis_name)


def critic_values(
    value_fn: Callable[[Params, Obs], Any], params: Params, batch: Transition
) -> tuple[Array, Array]:
    """V(s_t) and V(s'_t) of a batch, as constants.

    Within an episode, s'_t is s_{t+1}, and its value is not computed twice. At a time
    limit, and where no step follows that counts, V(s'_t) is the value of `next_obs`,
    never that of the observation after a reset. After a terminal step it is not
    defined.

    Args:
      value_fn: maps (params, obs) to values.
      params: the critic's parameters.
      batch: transitions (T, N).

    Returns:
      value, next_value: (T, N) each.
    """
    counts = batch.weight > 0
    # Where V(s') is not that of the following step: there may be none that counts.
    goes_on = jnp.append(counts[1:], jnp.zeros_like(counts[:1]), axis=0)
    cut = counts & ~batch.terminated & (batch.truncated | ~goes_on)

    def evaluate(obs: Obs) -> Array:
        return value_fn(params, obs)

    value = map_over_samples(evaluate, batch.obs, counts)
    cut_value = map_over_samples(evaluate, batch.next_obs, cut)
    following = jnp.concatenate([value[1:], cut_value[-1:]])
    next_value = jnp.where(cut, cut_value, following)
    return jax.lax.stop_gradient((value, next_value))
