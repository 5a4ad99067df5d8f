"""Of complete episodes: REINFORCE, and rewards within groups."""

from __future__ import annotations

import numpy as np

from oracles import loops
from oracles.estimators.parts import (
    Batch,
    Task,
    bonus_of,
    by_state,
    clipped,
    columns,
    flags,
    log_ratios,
    standardized,
    weighted_sum,
)


def _returns(task: Task, x: dict, critic: np.ndarray | None) -> np.ndarray:
    """To the episode's end; with a critic, beyond a time limit."""
    if critic is None:
        return loops.discounted_returns(x["reward"], *flags(x), gamma=task.gamma)
    after = task.value(critic, x["after"])
    coefficients = {"gamma": task.gamma, "lam": 1.0}
    return loops.lambda_returns(x["reward"], after, *flags(x), **coefficients)


def reinforce(
    task: Task,
    batch: Batch,
    *,
    baseline: str = "none",
    reduction: str = "episodes",
    discount_states: bool = False,
    normalize: bool = False,
    entropy: float = 0.0,
    critic: np.ndarray | None = None,
) -> np.ndarray:
    """Of complete episodes; with a critic, a truncated return goes on with V."""
    x = columns(batch)
    returns = _returns(task, x, critic)
    subtracted = {
        "none": lambda: 0.0,
        "mean": lambda: loops.episode_mean(returns, x["weight"]),
        "batch_mean": lambda: loops.batch_mean(returns, x["weight"]),
        "leave_one_out": lambda: loops.leave_one_out(returns, x["weight"]),
        "value": lambda: task.value(critic, x["state"]),
    }[baseline]()
    advantage = returns - subtracted
    if normalize:
        advantage = standardized(advantage, x["weight"])
    divisor = {
        "episodes": len(batch),
        "steps": x["weight"].sum(),
        "sum": 1.0,
    }[reduction]
    factor = (
        task.gamma ** np.arange(len(advantage))[:, None] if discount_states else 1.0
    )
    weights = factor * x["weight"] / divisor
    bonus = bonus_of(task, batch, entropy, weights)
    return weighted_sum(batch, weights * advantage, task.score) + bonus


def reinforce_critic_error(
    task: Task, batch: Batch, *, critic: np.ndarray
) -> np.ndarray:
    """(S,) what REINFORCE's critic moves by: the mean over steps of G - V."""
    x = columns(batch)
    error = _returns(task, x, critic) - task.value(critic, x["state"])
    return by_state(x, x["weight"] * error / x["weight"].sum(), critic)


def group(
    task: Task,
    batch: Batch,
    *,
    kind: str,
    group_size: int,
    reduction: str = "sequence_sums",
    shift: np.ndarray | None = None,
    clip: float = np.inf,
    clip_high: float | None = None,
    reference: np.ndarray | None = None,
    kl_coefficient: float = 0.0,
) -> np.ndarray:
    """RLOO's and GRPO's: an episode's return is its only reward."""
    x = columns(batch)
    reward = (task.gamma ** np.arange(len(x["reward"])) @ x["reward"]).ravel()
    advantage = np.zeros_like(reward)
    for i in range(len(reward)):
        first = i - i % group_size
        own = reward[first : first + group_size]
        others = np.delete(own, i - first) if kind == "rloo" else own
        advantage[i] = reward[i] - np.mean(others)
        if kind == "grpo":
            deviation = own.std(ddof=1)
            advantage[i] = advantage[i] / deviation if deviation > 1e-9 else 0.0
    tokens = x["weight"]
    weights = {
        "sequences": tokens / tokens.sum(0) / len(batch),
        "tokens": tokens / tokens.sum(),
        "sequence_sums": tokens / len(batch),
    }[reduction]
    new = task if shift is None else task._replace(theta=task.theta + shift)
    taken = clipped(task, new, batch, advantage[None] + 0.0 * tokens, clip, clip_high)
    total = weighted_sum(batch, weights * taken, new.score)
    if reference is None:
        return total
    # exp(-x) - 1 + x, with x = log pi - log ref, has the slope 1 - exp(-x).
    other = task._replace(theta=reference)
    pull = 1 - np.exp(-log_ratios(other, new, batch))
    return total - kl_coefficient * weighted_sum(batch, weights * pull, new.score)
