"""Broken variants of algorithms, each of which the proof must catch.

Each maps an algorithm and a rollout to broken ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import pgjax as pg
from experiments import proof_cases  # noqa: F401  it knows where the oracles are

# isort: split
from oracles import tabular


def done_late(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """The ends of episodes are marked one step late."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        def late(x: Any) -> Any:
            return jnp.roll(x, 1, axis=0).at[0].set(False)

        batch = batch._replace(
            terminated=late(batch.terminated), truncated=late(batch.truncated)
        )
        return algorithm.update(key, learner, batch)

    return algorithm._replace(update=update), rollout


def reset_bootstrap(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """The observation after a reset stands where the one before it should."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        following = jnp.concatenate([batch.obs[1:], batch.next_obs[-1:]])
        return algorithm.update(key, learner, batch._replace(next_obs=following))

    return algorithm._replace(update=update), rollout


def truncation_as_termination(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """Where a time limit cuts an episode, nothing is expected to follow."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        ended = batch.terminated | batch.truncated
        batch = batch._replace(
            terminated=ended, truncated=jnp.zeros_like(batch.truncated)
        )
        return algorithm.update(key, learner, batch)

    return algorithm._replace(update=update), rollout


def short_tail(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """Only episodes that end within two steps count, which favours short ones."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        weight = jnp.where(batch.weight.sum(0) <= 2, batch.weight, 0.0)
        return algorithm.update(key, learner, batch._replace(weight=weight))

    return algorithm._replace(update=update), rollout


def swapped_episodes(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """Rewards of one episode with the actions of another, as (N,) against (N, 1)."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        mixed = jnp.broadcast_to(
            batch.reward.mean(1, keepdims=True), batch.reward.shape
        )
        return algorithm.update(key, learner, batch._replace(reward=mixed))

    return algorithm._replace(update=update), rollout


def through_the_target(algorithm: pg.Algorithm, rollout: pg.Rollout) -> tuple:
    """The critic's gradient flows through what it is to predict: no stop-gradient."""

    def update(key: Any, learner: Any, batch: Any) -> Any:
        _, metrics = algorithm.update(key, learner, batch)

        def loss(params: Any) -> Any:
            returns = pg.lambda_returns(
                batch.reward,
                batch.next_obs @ params["value"],
                batch.terminated,
                batch.truncated,
                gamma=tabular.TASKS["random"].gamma,
                lam=0.5,
            )
            return 0.5 * jnp.mean((batch.obs @ params["value"] - returns) ** 2)

        return learner._replace(opt_state=jax.grad(loss)(learner.params)), metrics

    return algorithm._replace(update=update), rollout


# Each with a case that it must spoil.
BROKEN: dict[str, tuple[Callable, str]] = {
    "done mask one step late": (done_late, "a2c, wrong critic"),
    "reset observation in the bootstrap": (
        reset_bootstrap,
        "a2c, truncation, perfect critic",
    ),
    "truncation as termination": (
        truncation_as_termination,
        "a2c, truncation, perfect critic",
    ),
    "only short episodes count": (short_tail, "reinforce, no baseline"),
    "(N,) against (N, 1)": (swapped_episodes, "reinforce, leave one out"),
    "no stop-gradient on the target": (through_the_target, "a2c, the critic's own"),
}
