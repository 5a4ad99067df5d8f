"""Of a policy that is not the one that acted: PPO and V-trace."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from oracles import loops
from oracles.estimators.horizons import actor_critic
from oracles.estimators.parts import (
    Batch,
    Task,
    bonus_of,
    by_state,
    clipped,
    columns,
    error_of,
    flags,
    log_ratios,
    standardized,
    targets_of,
    weighted_sum,
)


def minibatch(
    task: Task, batch: Batch, *, critic: np.ndarray, lam: float, normalize: str
) -> list[np.ndarray]:
    """PPO's last minibatch of two, before any step: each half is as likely."""
    x = columns(batch)
    advantage = error_of(task, x, critic, lam)
    if normalize == "batch":
        advantage = standardized(advantage, x["weight"])
    found = []
    for half in itertools.combinations(range(advantage.size), advantage.size // 2):
        chosen = np.zeros(advantage.size)
        chosen[list(half)] = 1.0
        chosen = chosen.reshape(advantage.shape)
        a = standardized(advantage, chosen) if normalize == "minibatch" else advantage
        found.append(weighted_sum(batch, chosen * a / chosen.sum(), task.score))
    return found


def second_epoch(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float,
    shift: np.ndarray,
    clip: float = 0.2,
    normalize: bool = False,
    entropy: float = 0.0,
    target_kl: float = np.inf,
) -> np.ndarray:
    """PPO's, when a first step has moved the preferences by `shift`.

    Where that was farther than the target allows, the first gradient is the last.
    """
    x = columns(batch)
    advantage = error_of(task, x, critic, lam)
    if normalize:
        advantage = standardized(advantage, x["weight"])
    new = task._replace(theta=task.theta + shift)
    backward = log_ratios(new, task, batch)  # log old - log new
    estimate = np.mean(np.exp(-backward) - 1 + backward)
    if estimate > target_kl:
        return actor_critic(task, batch, critic=critic, lam=lam, entropy=entropy)
    weights = x["weight"] / x["weight"].sum()
    taken = weights * clipped(task, new, batch, advantage, clip)
    return weighted_sum(batch, taken, new.score) + bonus_of(
        new, batch, entropy, weights
    )


def second_epoch_critic_error(
    task: Task,
    batch: Batch,
    *,
    critic: np.ndarray,
    lam: float,
    shift: np.ndarray,
    clip: float,
) -> np.ndarray:
    """(S,) the critic's of PPO, moved by `shift`, with its own clipping."""
    x = columns(batch)
    returns = targets_of(task, x, critic, lam, None)
    old, new = (task.value(v, x["state"]) for v in (critic, critic + shift))
    near = old + np.clip(new - old, -clip, clip)
    # The larger error counts; that of the clipped value does not move with V.
    free = (np.abs(new - returns) > np.abs(near - returns)) | (near == new)
    return by_state(x, free * (returns - new) / returns.size, critic)


def _corrected(
    estimate: Callable[..., np.ndarray],
    task: Task,
    new: Task,
    x: dict,
    batch: Batch,
    critic: np.ndarray,
    coefficients: dict[str, float],
) -> np.ndarray:
    """(T, N) V-trace's targets or advantages, for the policy of `new`."""
    return estimate(
        x["reward"],
        *(task.value(critic, x[name]) for name in ("state", "after")),
        *flags(x),
        log_ratios(task, new, batch),
        gamma=task.gamma,
        **coefficients,
    )


def vtrace(
    task: Task, batch: Batch, *, critic: np.ndarray, shift: np.ndarray, **of: float
) -> np.ndarray:
    """The policy's that has moved by `shift` since it acted."""
    x, new = columns(batch), task._replace(theta=task.theta + shift)
    estimate = loops.vtrace_advantage
    advantage = _corrected(estimate, task, new, x, batch, critic, of)
    return weighted_sum(batch, advantage / advantage.size, new.score)


def vtrace_error(
    task: Task, batch: Batch, *, critic: np.ndarray, shift: np.ndarray, **of: float
) -> np.ndarray:
    """(S,) the critic's, towards the targets that the other policy has."""
    x, new = columns(batch), task._replace(theta=task.theta + shift)
    target = _corrected(loops.vtrace_target, task, new, x, batch, critic, of)
    error = target - task.value(critic, x["state"])
    return by_state(x, error / error.size, critic)
