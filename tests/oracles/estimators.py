"""Policy-gradient estimators, as loops over the steps of rollouts written down.

Each one maps a batch of rollouts to the gradient of the objective by the preferences of
a softmax policy, (S, A): what an algorithm's loss should have as its gradient, with its
sign turned. Nothing is differentiated: the score of a softmax is one-hot minus pi.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracles import loops
from oracles.tabular import Rollout, Task


def score(task: Task, state: int, action: int) -> np.ndarray:
    """(S, A) gradient of log pi(action | state)."""
    gradient = np.zeros_like(task.theta)
    gradient[state] = -task.policy[state]
    gradient[state, action] += 1.0
    return gradient


def _columns(batch: Sequence[Rollout]) -> dict[str, np.ndarray]:
    """(T, N) arrays of a batch, padded, with the weight of what counts."""
    length = max(map(len, batch))
    shape = length, len(batch)
    columns = {
        "reward": np.zeros(shape),
        "terminated": np.zeros(shape, bool),
        "truncated": np.zeros(shape, bool),
        "state": np.zeros(shape, int),
        "after": np.zeros(shape, int),
        "weight": np.zeros(shape),
    }
    for n, rollout in enumerate(batch):
        for t, step in enumerate(rollout):
            columns["weight"][t, n] = 1.0
            for name in set(columns) - {"weight"}:
                columns[name][t, n] = getattr(step, name)
    return columns


def _standardized(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    counted = x[weight > 0]
    deviation = counted.std(ddof=1) if counted.size > 1 else 0.0
    return (x - counted.mean()) / deviation if deviation > 0 else 0.0 * x


def _entropy(task: Task, batch: Sequence[Rollout], weights: np.ndarray) -> np.ndarray:
    """(S, A) gradient of the steps' entropies, weighed: -pi (log pi + H) each."""
    log_policy = np.log(task.policy)
    entropy = -(task.policy * log_policy).sum(1, keepdims=True)
    gradient = -task.policy * (log_policy + entropy)
    total = np.zeros_like(gradient)
    for n, rollout in enumerate(batch):
        for t, step in enumerate(rollout):
            total[step.state] += weights[t, n] * gradient[step.state]
    return total


def critic(
    task: Task, batch: Sequence[Rollout], *, critic: np.ndarray, lam: float
) -> np.ndarray:
    """(S,) what a critic moves by: the mean over steps of G - V, at each state."""
    x = _columns(batch)
    steps = x["reward"], critic[x["after"]], x["terminated"], x["truncated"]
    returns = loops.lambda_returns(*steps, gamma=task.gamma, lam=lam)
    error = (returns - critic[x["state"]]) / returns.size
    return np.bincount(x["state"].ravel(), error.ravel(), minlength=len(critic))


def _sum(task: Task, batch: Sequence[Rollout], weights: np.ndarray) -> np.ndarray:
    total = np.zeros_like(task.theta)
    for n, rollout in enumerate(batch):
        for t, step in enumerate(rollout):
            total += weights[t, n] * score(task, step.state, step.action)
    return total


def reinforce(
    task: Task,
    batch: Sequence[Rollout],
    *,
    baseline: str = "none",
    reduction: str = "episodes",
    discount_states: bool = False,
    normalize: bool = False,
    entropy: float = 0.0,
    critic: np.ndarray | None = None,
) -> np.ndarray:
    """Of complete episodes; with a critic, a truncated return goes on with V."""
    x = _columns(batch)
    flags = x["terminated"], x["truncated"]
    if critic is None:
        returns = loops.discounted_returns(x["reward"], *flags, gamma=task.gamma)
    else:
        after = critic[x["after"]]
        coefficients = {"gamma": task.gamma, "lam": 1.0}
        returns = loops.lambda_returns(x["reward"], after, *flags, **coefficients)
    subtracted = {
        "none": lambda: 0.0,
        "mean": lambda: loops.episode_mean(returns, x["weight"]),
        "batch_mean": lambda: loops.batch_mean(returns, x["weight"]),
        "leave_one_out": lambda: loops.leave_one_out(returns, x["weight"]),
        "value": lambda: critic[x["state"]],
    }[baseline]()
    advantage = returns - subtracted
    if normalize:
        advantage = _standardized(advantage, x["weight"])
    divisor = {
        "episodes": len(batch),
        "steps": x["weight"].sum(),
        "sum": 1.0,
    }[reduction]
    factor = (
        task.gamma ** np.arange(len(advantage))[:, None] if discount_states else 1.0
    )
    weights = factor * x["weight"] / divisor
    bonus = _entropy(task, batch, entropy * weights)
    return _sum(task, batch, weights * advantage) + bonus


def actor_critic(
    task: Task,
    batch: Sequence[Rollout],
    *,
    critic: np.ndarray,
    lam: float = 1.0,
    n_step: int | None = None,
    normalize: bool = False,
    entropy: float = 0.0,
) -> np.ndarray:
    """Of rollouts of equal length: a mean over steps, the critic where they are cut."""
    x = _columns(batch)
    steps = x["reward"], critic[x["after"]], x["terminated"], x["truncated"]
    value = critic[x["state"]]
    if n_step is not None:
        returns = loops.n_step_returns(*steps, gamma=task.gamma, n=n_step)
    else:
        returns = loops.lambda_returns(*steps, gamma=task.gamma, lam=lam)
    advantage = returns - value
    if normalize:
        advantage = _standardized(advantage, x["weight"])
    weights = np.full(advantage.shape, 1 / advantage.size)
    bonus = _entropy(task, batch, entropy * weights)
    return _sum(task, batch, weights * advantage) + bonus
