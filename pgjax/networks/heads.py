"""From the numbers a network puts out to a distribution over actions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_scalars, check_finite, check_flags
from pgjax._internal.precision import at_least_float32
from pgjax.distributions import Categorical, DiagGaussian
from pgjax.networks.products import contrast, layer_product
from pgjax.types import Array, Box, Discrete, Env, HostEnv, Params


class ActionHead(NamedTuple):
    """How a network's last layer becomes a distribution over an environment's actions.

    `init` gives the parameters of the distribution's own, beside the layer's.
    """

    num_outputs: int
    init: Callable[[], Params]
    distribution: Callable[[Params, Array], Any]
    last_product: Callable[..., Array] = (
        layer_product  # of the layer's input and kernel
    )


def action_head(
    env: Env | HostEnv, *, log_std: float = 0.0, state_dependent_std: bool = False
) -> ActionHead:
    """Softmax preferences for discrete actions, a diagonal Gaussian for others.

    Where a continuous space is bounded, the layer's output and the log-std are in units
    of its half-width, around its middle: 0 is the middle, 1 the upper bound. The
    distribution itself is in the environment's units.

    Args:
      env: whose action space it serves.
      log_std: where the Gaussian's log standard deviation starts.
      state_dependent_std: whether the layer also gives the log-std, as an offset to
        `log_std`; by default it is one parameter per action element.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if `log_std` is not finite.
    """
    check_finite(log_std=log_std)
    check_flags(state_dependent_std=state_dependent_std)
    (log_std,) = as_scalars(log_std=log_std)
    if isinstance(env.action_space, Discrete):
        number = env.action_space.n
        return ActionHead(
            number,
            dict,
            lambda _, logits: Categorical(logits),
            # Of two preferences only the difference matters.
            contrast if number == 2 else layer_product,
        )
    shape = env.action_space.shape
    size = math.prod(shape)
    middle, half = _middle_and_half_width(env.action_space)  # float64, unless traced

    def init() -> Params:
        return (
            {} if state_dependent_std else {"log_std": jnp.full(shape, log_std, float)}
        )

    def distribution(params: Params, outputs: Array) -> DiagGaussian:
        (outputs,) = at_least_float32(outputs)
        dtype, batch = outputs.dtype, outputs.shape[:-1]
        axes = (1,) * len(batch) + shape
        mean = outputs[..., :size].reshape(*batch, *shape)
        if state_dependent_std:
            spread = log_std + outputs[..., size:].reshape(*batch, *shape)
        else:
            own = params["log_std"].astype(dtype)
            spread = jnp.broadcast_to(own.reshape(axes), mean.shape)
        centre, width = (jnp.asarray(x, dtype).reshape(axes) for x in (middle, half))
        return DiagGaussian(
            centre + width * mean,
            jnp.log(width) + spread,
            event_ndim=len(shape),
        )

    return ActionHead(2 * size if state_dependent_std else size, init, distribution)


def _middle_and_half_width(space: Box) -> tuple[Any, Any]:
    """Of each element's interval; 0 and 1 where that is infinite, or a point."""
    traced = any(isinstance(x, jax.core.Tracer) for x in (space.low, space.high))
    xp: Any = jnp if traced else np
    dtype = float if traced else np.float64
    low = xp.broadcast_to(xp.asarray(space.low, dtype), space.shape)
    high = xp.broadcast_to(xp.asarray(space.high, dtype), space.shape)
    bounded = xp.maximum(xp.abs(low), xp.abs(high)) < 1e30  # gymnax has float32's max
    bounded &= low < high  # or there is nothing to choose
    low, high = xp.where(bounded, low, -1.0), xp.where(bounded, high, 1.0)
    return (low + high) / 2, (high - low) / 2
