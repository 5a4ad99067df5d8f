"""Of rollouts of equal length, cut at a horizon, with a critic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracles.estimators.parts import (
    Batch,
    Task,
    bonus_of,
    by_state,
    columns,
    error_of,
    standardized,
    weighted_sum,
)


def actor_critic(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float = 1.0,
    n_step: int | None = None,
    normalize: bool = False,
    entropy: float = 0.0,
) -> np.ndarray:
    """A mean over steps, with the critic where they are cut."""
    x = columns(batch)
    advantage = error_of(task, x, critic, lam, n_step)
    if normalize:
        advantage = standardized(advantage, x["weight"])
    weights = x["weight"] / x["weight"].sum()
    bonus = bonus_of(task, batch, entropy, weights)
    return weighted_sum(batch, weights * advantage, task.score) + bonus


def critic_error(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float = 1.0,
    n_step: int | None = None,
) -> np.ndarray:
    """(S,) what a critic moves by: the mean over steps of G - V, at each state."""
    x = columns(batch)
    error = error_of(task, x, critic, lam, n_step)
    return by_state(x, error / error.size, critic)


def scaled_rewards(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float,
    clip: float,
    after: int = 0,
) -> np.ndarray:
    """The actor-critic's, with rewards by the deviation of the running return.

    Where few returns differ from the mean as much as the largest one from 0, the
    divisor is at least that one, or 1; see the formula of `pgjax.scale_rewards`.

    Of the steps after so many: those before count for the deviation only.
    """
    returns = []
    for rollout in batch:
        running = 0.0
        for step in rollout:
            running = task.gamma * running + step.reward
            returns.append(running)
            running = 0.0 if step.terminated or step.truncated else running
    std, largest = np.std(returns), np.max(np.abs(returns))
    differing = len(returns) * (std / (largest if largest > 0 else 1.0)) ** 2
    unknown = min(1.0, 10.0 / max(differing, 1.0))
    scale = max(std, max(1.0, largest) * unknown**2)
    scaled = [
        tuple(
            step._replace(reward=float(np.clip(step.reward / scale, -clip, clip)))
            for step in rollout[after:]
        )
        for rollout in batch
    ]
    return actor_critic(task, scaled, critic=critic, lam=lam)


def later(oracle: Callable[..., Any], *, after: int) -> Callable[..., Any]:
    """The same estimator, of the steps after so many."""

    def of_later_steps(task: Task, batch: Batch) -> Any:
        return oracle(task, tuple(rollout[after:] for rollout in batch))

    return of_later_steps
