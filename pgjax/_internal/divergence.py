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
      the first that is not. Of episodes that have not ended, the rewards so far are
      looked at where something else is wrong, as far as the rollout's state has them.
    """
    losses = [x for name, x in metrics.items() if name.endswith("loss")]
    ended = jnp.isfinite(metrics["episode_return"]) | (metrics["episodes"] == 0)
    others = (
        _all_finite(losses),
        jnp.isfinite(metrics.get("gradient_norm", 0.0)),
        _all_finite(jax.tree.leaves(state.learner.params)),
    )
    # Of a share of the environments, where devices have one each: it may say what is
    # wrong, but whether something is wrong must be the same on all of them.
    running = getattr(state.rollout_state, "episode_return", jnp.float32(0.0))
    returns = ended & (jnp.all(jnp.stack(others)) | _all_finite([running]))
    finite = jnp.stack([returns, *others])
    first = jnp.argmin(finite).astype(jnp.int32)
    return jnp.where(jnp.all(finite), 0, first + 1)


def _all_finite(arrays: list[Array]) -> Array:
    """One number to look at: 0 times anything but a finite number is not 0."""
    return sum((jnp.sum(x * 0.0) for x in arrays), jnp.float32(0.0)) == 0.0
