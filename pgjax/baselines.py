"""Baselines: what is subtracted from a return before it weighs an action's log-prob.

A baseline is a function of `(returns, weight, value)`, all (T, N), for N episodes of at
most T steps, padded with weight 0. `value` is the critic's V(s_t), or None without a
critic. It returns numbers that broadcast to (T, N). Write your own in one function.
Where an agent's environments are split over devices, N are those of one device, and a
baseline is given `axis_name` too, to be handed to `pg.total` and its like.

A baseline that does not depend on the episode's own actions leaves the gradient's
expectation as it is: `no_baseline`, `leave_one_out` and `value_baseline` are unbiased.
`episode_mean` and `batch_mean` contain the very return they are subtracted from: the
batch mean's bias shrinks as 1/N, the episode mean's does not.

Padding may hold anything. Dtypes: see `pgjax._internal.precision`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp

from pgjax._internal.collectives import num_envs_of, total
from pgjax._internal.precision import at_least_float32
from pgjax.reductions import masked, weighted_mean
from pgjax.types import Array, AxisName

Baseline = Callable[..., Array]  # (returns, weight, value)


def no_baseline(
    returns: Array,
    weight: Array,
    value: Array | None = None,
    axis_name: AxisName = None,
) -> Array:
    """No baseline, b = 0: plain REINFORCE.

    Args:
      returns: (T, N) returns G_t.
      weight: (T, N) 1 for steps that count, 0 for padding.
      value: unused.
      axis_name: unused.

    Returns:
      (T, N) zeros.

    >>> print(no_baseline(jnp.array([[2.], [1.]]), jnp.ones((2, 1))))
    [[0.]
     [0.]]
    """
    del weight, value, axis_name
    return jnp.zeros_like(at_least_float32(returns)[0])


def episode_mean(
    returns: Array,
    weight: Array,
    value: Array | None = None,
    axis_name: AxisName = None,
) -> Array:
    """The mean of one episode's own returns, over its steps: the article's baseline.

    Biased, whatever the number of episodes: it depends on the episode's own actions.
    By how much depends on the task; for episodes of one step it removes the gradient.

    Args:
      returns: (T, N) returns G_t.
      weight: (T, N) 1 for steps that count, 0 for padding.
      value: unused.
      axis_name: unused.

    Returns:
      (1, N), one baseline per episode; 0 for an episode without steps.

    >>> returns = jnp.array([[3., 1.], [1., 9.]])
    >>> print(episode_mean(returns, jnp.array([[1., 1.], [1., 0.]])))
    [[2. 1.]]
    """
    del value, axis_name
    return weighted_mean(returns, weight, axis=0)


def batch_mean(
    returns: Array,
    weight: Array,
    value: Array | None = None,
    axis_name: AxisName = None,
) -> Array:
    """The mean of all returns of the batch, over all steps of all episodes.

    Biased, by O(1/N): each episode is part of its own baseline.

    Args:
      returns: (T, N) returns G_t.
      weight: (T, N) 1 for steps that count, 0 for padding.
      value: unused.
      axis_name: of the devices that share the N environments; the mean is over
        those of all devices.

    Returns:
      (1, 1), one baseline for the batch.

    >>> returns = jnp.array([[3., 2.], [1., 9.]])
    >>> print(batch_mean(returns, jnp.array([[1., 1.], [1., 0.]])))
    [[2.]]
    """
    del value
    return weighted_mean(returns, weight, axis_name=axis_name)[None, None]


def leave_one_out(
    returns: Array,
    weight: Array,
    value: Array | None = None,
    axis_name: AxisName = None,
) -> Array:
    """The mean return, at the same step, of the *other* episodes still running.

    Unbiased: episode i's baseline is made of the others alone. It follows the return's
    decline over an episode, which a constant baseline cannot. Where no other episode
    runs any more, it is 0.

    Args:
      returns: (T, N) returns G_t.
      weight: (T, N) 1 for steps that count, 0 for padding.
      value: unused.
      axis_name: of the devices that share the N environments; the mean is over
        those of all devices.

    Returns:
      (T, N) baselines b_t^i = sum_{j != i} w_t^j G_t^j / sum_{j != i} w_t^j.

    Raises:
      ValueError: for N = 1, where there is no other episode.

    References:
      Kool et al., Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019 (for one
      return per sample; here for every step).

    >>> returns = jnp.array([[3., 2., 1.], [1., 8., 5.]])
    >>> print(leave_one_out(returns, jnp.array([[1., 1., 1.], [1., 1., 0.]])))
    [[1.5 2.  2.5]
     [8.  1.  4.5]]
    """
    del value
    if num_envs_of(returns, axis_name) < 2:
        raise ValueError("leave_one_out needs at least two episodes per batch, got one")
    returns, weight = at_least_float32(returns, weight)
    weighted = weight * masked(returns, weight)
    add = partial(total, axis=1, keepdims=True, axis_name=axis_name)
    others, count = add(weighted) - weighted, add(weight) - weight
    return others / jnp.maximum(count, 1.0)


def value_baseline(
    returns: Array,
    weight: Array,
    value: Array | None = None,
    axis_name: AxisName = None,
) -> Array:
    """The critic's V(s_t): unbiased, and the only one here that knows the state.

    Args:
      returns: (T, N) returns G_t; unused.
      weight: (T, N); unused.
      value: (T, N) V(s_t).
      axis_name: unused.

    Returns:
      (T, N) values.

    Raises:
      ValueError: if there is no critic.

    References:
      Sutton and Barto, 2018, section 13.4.

    >>> returns, weight = jnp.zeros((1, 2)), jnp.ones((1, 2))
    >>> print(value_baseline(returns, weight, jnp.array([[4., 5.]])))
    [[4. 5.]]
    """
    del returns, weight, axis_name
    if value is None:
        raise ValueError(
            "the value baseline needs a critic: use a network that returns a value, "
            "such as pg.actor_critic(...)"
        )
    return at_least_float32(value)[0]


BASELINES: dict[str, Baseline] = {
    "none": no_baseline,
    "mean": episode_mean,
    "batch_mean": batch_mean,
    "leave_one_out": leave_one_out,
    "value": value_baseline,
}
