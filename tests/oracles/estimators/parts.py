"""What the estimators have in common: batches as arrays, sums over their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oracles import loops
from oracles.tabular import Rollout, Step

Task = Any  # of `oracles.tabular` or `oracles.gaussian`
Batch = Sequence[Rollout]


def columns(batch: Batch) -> dict[str, np.ndarray]:
    """(T, N) arrays of a batch, padded, with the weight of what counts."""
    length = max(map(len, batch))
    rows: dict[str, np.ndarray] = {
        name: np.zeros((length, len(batch)), type(value))
        for name, value in batch[0][0]._asdict().items()
    }
    rows["weight"] = np.zeros((length, len(batch)))
    for n, rollout in enumerate(batch):
        rows["weight"][: len(rollout), n] = 1.0
        for name, column in zip(Step._fields, zip(*rollout, strict=True), strict=True):
            rows[name][: len(rollout), n] = column
    return rows


def flags(x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return x["terminated"], x["truncated"]


def standardized(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    counted = x[weight > 0]
    deviation = counted.std(ddof=1) if counted.size > 1 else 0.0
    return (x - counted.mean()) / deviation if deviation > 1e-9 else 0.0 * x


def weighted_sum(
    batch: Batch, weights: np.ndarray, of: Callable[..., np.ndarray]
) -> Any:
    """sum_tn weights[t, n] of(state, action)."""
    return sum(
        weights[t, n] * of(step.state, step.action)
        for n, rollout in enumerate(batch)
        for t, step in enumerate(rollout)
    )


def bonus_of(
    task: Task, batch: Batch, coefficient: float, weights: np.ndarray
) -> np.ndarray | float:
    """The entropies' gradient."""
    if coefficient == 0.0:
        return 0.0
    weights = coefficient * weights
    return weighted_sum(batch, weights, lambda state, _: task.entropy_gradient(state))


def by_state(x: dict, error: np.ndarray, critic: np.ndarray) -> np.ndarray:
    return np.bincount(x["state"].ravel(), error.ravel(), minlength=len(critic))


def log_ratios(old: Task, new: Task, batch: Batch) -> np.ndarray:
    """(T, N) log new(a | s) - log old(a | s), 0 in padding."""
    ratios = np.zeros((max(map(len, batch)), len(batch)))
    for n, rollout in enumerate(batch):
        for t, step in enumerate(rollout):
            before, after = (p.log_prob(step.state, step.action) for p in (old, new))
            ratios[t, n] = after - before
    return ratios


def clipped(
    old: Task,
    new: Task,
    batch: Batch,
    advantage: np.ndarray,
    clip: float,
    clip_high: float | None = None,
) -> np.ndarray:
    """(T, N) what scores are weighted with: the ratio times A, or 0 where it is cut."""
    ratio = np.exp(log_ratios(old, new, batch))
    high = clip if clip_high is None else clip_high
    cut = np.where(advantage > 0, ratio > 1 + high, ratio < 1 - clip)
    return np.where(cut, 0.0, ratio * advantage)


def targets_of(
    task: Task, x: dict, critic: np.ndarray, lam: float, n_step: int | None
) -> np.ndarray:
    steps = x["reward"], task.value(critic, x["after"]), *flags(x)
    if n_step is not None:
        return loops.n_step_returns(*steps, gamma=task.gamma, n=n_step)
    return loops.lambda_returns(*steps, gamma=task.gamma, lam=lam)


def error_of(
    task: Task, x: dict, critic: np.ndarray, lam: float, n_step: int | None = None
) -> np.ndarray:
    """G - V: the critic's error, which is the policy's advantage."""
    return targets_of(task, x, critic, lam, n_step) - task.value(critic, x["state"])
