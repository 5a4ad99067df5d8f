"""Optimizers whose steps shrink as experience grows."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_is,
    check_positive,
    holds,
)
from pgjax._internal.counters import Counter, as_float, count, zero_counter
from pgjax._internal.user_parts import accepted
from pgjax.types import Array, Numeric, Params

MOST_STEPS = 2**64  # what a `Counter` counts


class AnnealState(NamedTuple):
    """The state of `anneal`."""

    inner: optax.OptState
    num_samples: Counter  # of all gradient steps so far, each time they were used


def anneal(
    optimizer: optax.GradientTransformation, *, env_steps: Numeric
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, with steps that shrink linearly to 0 over environment steps.

    Updates are multiplied by max(0, 1 - n / env_steps), n being the environment steps
    that were used before this gradient step: a learning rate that falls to 0. What is
    used several times, as by PPO, counts once: after each minibatch n grows by its
    samples / epochs. Gradient steps that an algorithm skips (`target_kl`) count, and
    padding does not. Unlike a schedule of Optax, which counts gradient steps, it needs
    no number of updates, which nobody knows where episodes are complete.

    Args:
      optimizer: any, such as
        `optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))`. What gathers
        gradients goes inside: `optax.MultiSteps` on the outside would let one gradient
        step in k be counted, and is refused.
      env_steps: of one agent, over all its environments, in (0, 2^64). Training may go
        on beyond; it no longer moves the parameters, whatever the gradient.

    Returns:
      An optimizer for the algorithms here. In a loop of your own, its `update` needs
      two more arguments, by name:
        num_samples: () integers, the samples that this gradient is of, over all
          devices, below 2^32;
        num_passes: int, how many times each sample is used in all, PPO's epochs; >= 1.

    Raises:
      TypeError: if `optimizer` is something else; from `update`, without these two.
      ValueError: if `env_steps` is out of range.

    >>> optimizer = anneal(optax.sgd(1.0), env_steps=100)
    >>> state = optimizer.init(0.0)
    >>> for _ in range(3):
    ...     step, state = optimizer.update(1.0, state, num_samples=40, num_passes=1)
    ...     print(f"{step:.1f}")
    -1.0
    -0.6
    -0.2
    """
    check_is(optax.GradientTransformation, "optax.adam(1e-3)", optimizer=optimizer)
    check_positive(env_steps=env_steps)
    (env_steps,) = as_scalars(env_steps=env_steps)
    if isinstance(env_steps, float) and env_steps >= MOST_STEPS:
        raise ValueError(
            f"env_steps must be below 2**64 to be counted, got {env_steps:g}"
        )

    def init(params: Params) -> AnnealState:
        return AnnealState(optimizer.init(params), zero_counter())

    def update(
        updates: Params,
        state: AnnealState,
        params: Params | None = None,
        *,
        num_samples: Array | int | None = None,
        num_passes: int | None = None,
        **others: Any,
    ) -> tuple[Params, AnnealState]:
        if num_samples is None or num_passes is None:
            raise TypeError(
                "an optimizer of pg.anneal goes by the experience that was used: give "
                "its update num_samples=, how many samples this gradient is of (such "
                "as pg.total(batch.weight > 0, axis_name=axis_name)), and "
                "num_passes=, how many times each sample is used in all (1, or PPO's "
                "number of epochs)"
            )
        passes = as_count("num_passes", num_passes)
        known = {"num_samples": num_samples, "num_passes": passes, **others}
        extra = accepted(optimizer.update, known)
        updates, inner = optimizer.update(updates, state.inner, params, **extra)
        share = 1.0 - as_float(state.num_samples) / (jnp.float32(env_steps) * passes)

        def shrink(update: Array) -> Array:
            update = jnp.asarray(update)
            shrunk = share.astype(update.dtype) * update
            return jnp.where(share > 0.0, shrunk, jnp.zeros_like(update))

        after = count(state.num_samples, jnp.asarray(num_samples))
        return jax.tree.map(shrink, updates), AnnealState(inner, after)

    return optax.GradientTransformationExtraArgs(init, update)


def check_counts(opt_state: optax.OptState) -> None:
    """Raises TypeError where `anneal` would see one gradient step of several."""

    def accumulates(x: Any) -> bool:
        return isinstance(x, optax.MultiStepsState)

    for state in jax.tree.leaves(opt_state, is_leaf=accumulates):
        if accumulates(state) and holds(AnnealState, state.inner_opt_state):
            raise TypeError(
                "optax.MultiSteps would let anneal count one gradient step of several; "
                "use pg.anneal(optax.MultiSteps(...).gradient_transformation(), "
                "env_steps=...), not the other way round"
            )


def unless(stopped: Array, new: Any, old: Any) -> Any:
    """`new`, or where training has stopped `old`; what counts samples goes on.

    Args:
      stopped: () bool.
      new: a learner after a gradient step.
      old: the learner before it.
    """

    def choose(old: Any, new: Any) -> Any:
        return new if _is_counter(new) else jnp.where(stopped, old, new)

    return jax.tree.map(choose, old, new, is_leaf=_is_counter)


def _is_counter(x: Any) -> bool:
    return isinstance(x, Counter)
