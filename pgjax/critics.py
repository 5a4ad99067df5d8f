"""A critic's values of a batch of transitions: V(s_t), and V(s'_t) where it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.blocks import map_over_time
from pgjax.types import Array, Params, Transition


def critic_values(
    value_fn: Callable[[Params, Array], Any], params: Params, batch: Transition
) -> tuple[Array, Array]:
    """V(s_t) and V(s'_t) of a batch, as constants.

    Within an episode, s'_t is s_{t+1}, and its value is not computed twice. At a time
    limit, and at the end of the data, V(s'_t) is the value of `next_obs`, never that of
    the observation after a reset. After a terminal step it is not defined.

    Args:
      value_fn: maps (params, obs) to values.
      params: the critic's parameters.
      batch: transitions (T, N).

    Returns:
      value, next_value: (T, N) each.
    """
    counts = batch.weight > 0
    cut = jnp.asarray(batch.truncated & ~batch.terminated & counts).at[-1].set(True)

    def evaluate(obs: Array) -> Array:
        return value_fn(params, obs)

    value = map_over_time(evaluate, batch.obs, counts)
    cut_value = map_over_time(evaluate, batch.next_obs, cut)
    following = jnp.concatenate([value[1:], cut_value[-1:]])
    next_value = jnp.where(cut, cut_value, following)
    return jax.lax.stop_gradient((value, next_value))
