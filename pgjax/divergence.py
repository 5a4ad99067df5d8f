"""Numbers that go wrong: whether an update gave one, and where it was first seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgjax.types import Array, Metrics, TrainState

# In the order in which one makes the next.
QUANTITIES = ("return", "loss", "gradient", "parameters")


def diverged(state: TrainState, metrics: Metrics) -> Array:
    """Whether an update gave NaN or infinity, and in what.

    Args:
      state: as `train_step` returned it.
      metrics: likewise; scalars.

    Returns:
      int32: 0 where everything is finite, otherwise 1 + the place in `QUANTITIES` of
      the first that is not. Without an episode that ended, its return is not looked at.
    """
    losses = [x for name, x in metrics.items() if name.endswith("loss")]
    finite = (
        jnp.isfinite(metrics["episode_return"]) | (metrics["episodes"] == 0),
        _all_finite(losses),
        jnp.isfinite(metrics.get("gradient_norm", 0.0)),
        _all_finite(jax.tree.leaves(state.learner.params)),
    )
    first = jnp.argmin(jnp.stack(finite)).astype(jnp.int32)
    return jnp.where(jnp.all(jnp.stack(finite)), 0, first + 1)


def _all_finite(arrays: list[Array]) -> Array:
    """One number to look at: 0 times anything but a finite number is not 0."""
    return sum((jnp.sum(x * 0.0) for x in arrays), jnp.float32(0.0)) == 0.0
