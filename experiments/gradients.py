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


class Recorded(NamedTuple):
    """The state of a `recorder`."""

    grads: Any  # the last ones
    num_steps: jax.Array  # () int32


def recorder(first_step: Any = None) -> optax.GradientTransformation:
    """An optimizer that keeps the gradient as its state, and changes nothing.

    Args:
      first_step: what it adds to the parameters at its first step, whatever their
        gradient; a pytree like them.
    """

    def init(params: Any) -> Recorded:
        return Recorded(jax.tree.map(jnp.zeros_like, params), jnp.int32(0))

    def update(grads: Any, state: Recorded, params: Any = None) -> tuple[Any, Any]:
        del params
        step = jax.tree.map(jnp.zeros_like, grads)
        if first_step is not None:
            first = state.num_steps == 0
            step = jax.tree.map(
                lambda zero, x: jnp.where(first, x, zero), step, first_step
            )
        return step, Recorded(grads, state.num_steps + 1)

    return optax.GradientTransformation(init, update)


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
        learner = pg.Learner(params, recorder().init(params))
        learner, _ = algorithm.update(update_key, learner, batch)
        return ravel_pytree(part(learner.opt_state.grads))[0]

    keys = jax.random.split(key, num_batches)
    grads = jax.lax.map(gradient, keys, batch_size=min(AT_ONCE, num_batches))
    mean = grads.mean(0)
    variance = jnp.sum(jnp.var(grads, axis=0, ddof=1))
    return Moments(mean, variance, jnp.sum(mean**2) - variance / num_batches)
