"""TRPO's step."""

from __future__ import annotations

import numpy as np

from oracles.estimators.parts import (
    Batch,
    Task,
    columns,
    error_of,
    log_ratios,
    standardized,
    weighted_sum,
)


def trust_region(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float,
    max_kl: float,
    damping: float,
    max_backtracks: int,
    normalize: bool,
) -> np.ndarray:
    """TRPO's *step*, with the Fisher matrix written down and its inverse solved for."""
    x = columns(batch)
    advantage = error_of(task, x, critic, lam)
    if normalize:
        advantage = standardized(advantage, x["weight"])
    weights = x["weight"] / x["weight"].sum()
    gradient = weighted_sum(batch, weights * advantage, task.score).ravel()
    fisher = weighted_sum(batch, weights, lambda state, _: task.fisher(state))
    fisher = fisher + damping * np.eye(gradient.size)
    if np.linalg.norm(gradient) < 1e-12:  # it cancels
        return np.zeros_like(task.theta)
    direction = np.linalg.solve(fisher, gradient)
    curvature = direction @ fisher @ direction
    full = np.sqrt(2 * max_kl / curvature) * direction.reshape(task.theta.shape)
    if max_backtracks == 0:
        return full

    def acceptable(step: np.ndarray) -> bool:
        new = task._replace(theta=task.theta + step)
        kl = weighted_sum(
            batch, weights, lambda state, _: np.asarray(task.kl(new, state))
        )
        gain = np.exp(log_ratios(task, new, batch)) - 1
        return bool(kl <= max_kl and (weights * advantage * gain).sum() >= 0)

    for scale in 0.8 ** np.arange(max_backtracks + 1):
        if acceptable(scale * full):
            return scale * full
    return np.zeros_like(full)
