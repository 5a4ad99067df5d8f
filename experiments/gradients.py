"""Gradients as training makes them, many times over: how noisy, and how wrong?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

import pgjax as pg

# As the command's --baseline names them; the first is what others are compared with.
BASELINES = {
    "none": pg.no_baseline,
    "mean": pg.episode_mean,
    "batch_mean": pg.batch_mean,
    "leave_one_out": pg.leave_one_out,
    "value": pg.value_baseline,
}
AT_ONCE = 32  # batches side by side


class Moments(NamedTuple):
    """What many gradients, each from a batch of its own, are like."""

    mean: jax.Array  # (D,)
    variance: jax.Array  # (), the trace of their covariance
    signal: jax.Array  # (), |E g|^2 without the noise of the mean, unbiased


def recorder() -> optax.GradientTransformation:
    """An optimizer that keeps the gradient as its state, and changes nothing."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del state, params
        return jax.tree.map(jnp.zeros_like, grads), grads

    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params), update
    )


def gradient_moments(
    key: Any,
    rollout: pg.Rollout,
    algorithm: pg.Algorithm,
    params: Any,
    *,
    num_batches: int,
    part: Callable[[Any], Any] = lambda grads: grads,
) -> Moments:
    """The moments of an algorithm's gradient at given parameters.

    Rollout and update are those of training; only the optimizer is `recorder`.

    Args:
      key: a typed key.
      rollout: where each batch comes from.
      algorithm: made with `recorder()`.
      params: the parameters, at which all gradients are taken.
      num_batches: M >= 2.
      part: the part of the gradient that is looked at.
    """
    start = rollout.init(key)

    def gradient(key: Any) -> jax.Array:
        collect_key, update_key = jax.random.split(key)
        _, batch, _ = rollout.collect(collect_key, algorithm.policy, params, start)
        learner = pg.Learner(params, jax.tree.map(jnp.zeros_like, params))
        learner, _ = algorithm.update(update_key, learner, batch)
        return ravel_pytree(part(learner.opt_state))[0]

    keys = jax.random.split(key, num_batches)
    grads = jax.lax.map(gradient, keys, batch_size=min(AT_ONCE, num_batches))
    mean = grads.mean(0)
    variance = jnp.sum(jnp.var(grads, axis=0, ddof=1))
    return Moments(mean, variance, jnp.sum(mean**2) - variance / num_batches)
