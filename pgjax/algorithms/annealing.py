"""Algorithms whose steps shrink as experience grows: a wrapper, as in Optax."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.checks import as_scalars, check_is, check_positive
from pgjax._internal.collectives import named, total
from pgjax._internal.counters import Counter, as_float, count, zero_counter
from pgjax.algorithms.normalization import NormalizedParams
from pgjax.types import (
    Algorithm,
    Array,
    AxisName,
    Key,
    Learner,
    Metrics,
    Numeric,
    Transition,
)

MOST_STEPS = 2**64  # what a `Counter` counts


class Annealed(NamedTuple):
    """The optimizer's state, and how many environment steps there were."""

    opt_state: Any  # of the algorithm inside
    env_steps: Counter


def anneal(algorithm: Algorithm, *, env_steps: Numeric) -> Algorithm:
    """The algorithm, with updates that shrink linearly to nothing over so many steps.

    An update goes max(0, 1 - n / env_steps) of its way, n being the environment steps
    of all rollouts before it. For an algorithm that takes one gradient step for each
    rollout that is a learning rate that falls to 0, and it needs no number of updates,
    which nobody knows where episodes are complete. (Where the number is known, an Optax
    schedule does the same, gradient step by gradient step.)

    Args:
      algorithm: whose `update` is wrapped. `normalize_observations`, which keeps its
        statistics beside the parameters, goes around this wrapper, not inside.
      env_steps: of one agent, over all its environments, in (0, 2^64). Training may go
        on beyond; it no longer moves the parameters, whatever an update comes to.

    Returns:
      An algorithm for the same rollouts, and with the same metrics. Parameters that are
      not floats are what the algorithm makes of them.

    Raises:
      TypeError: if `algorithm` is something else, or from `init`, if it normalizes
        observations.
      ValueError: if `env_steps` is out of range.
    """
    check_is(Algorithm, "pg.reinforce(network, optimizer)", algorithm=algorithm)
    check_positive(env_steps=env_steps)
    (env_steps,) = as_scalars(env_steps=env_steps)
    if isinstance(env_steps, float) and env_steps >= MOST_STEPS:
        raise ValueError(
            f"env_steps must be below 2**64 to be counted, got {env_steps:g}"
        )

    def init(key: Key, obs: Array) -> Learner:
        inner = algorithm.init(key, obs)
        if isinstance(inner.params, NormalizedParams):
            raise TypeError(
                "anneal would shrink the statistics of observations, too; use "
                "normalize_observations(anneal(...)), not the other way round"
            )
        return Learner(inner.params, Annealed(inner.opt_state, zero_counter()))

    def update(
        key: Key, learner: Learner, batch: Transition, axis_name: AxisName = None
    ) -> tuple[Learner, Metrics]:
        opt_state, before = learner.opt_state
        inner, metrics = algorithm.update(
            key, Learner(learner.params, opt_state), batch, **named(axis_name)
        )
        share = 1.0 - as_float(before) / jnp.float32(env_steps)

        def part_of_the_way(old: Array, new: Array) -> Array:
            if not jnp.issubdtype(new.dtype, jnp.floating):
                return new
            moved = old + share.astype(old.dtype) * (new - old)
            return jnp.where(share > 0.0, moved, old)

        params = jax.tree.map(part_of_the_way, learner.params, inner.params)
        steps = (batch.weight > 0).astype(jnp.uint32)
        after = count(before, total(steps, axis_name=axis_name))
        return Learner(params, Annealed(inner.opt_state, after)), metrics

    return algorithm._replace(init=init, update=update)
