"""Policy-gradient estimators, as loops over the steps of rollouts written down.

Each one maps a batch of rollouts to the gradient of what is maximised by the policy's
parameters: what an algorithm's loss should have as its gradient, with its sign turned.
Nothing is differentiated: tasks know the score of their policies.
"""

from __future__ import annotations

import itertools
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


def _flags(x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return x["terminated"], x["truncated"]


def _standardized(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
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


def _bonus(
    task: Task, batch: Batch, coefficient: float, weights: np.ndarray
) -> np.ndarray | float:
    """The entropies' gradient."""
    if coefficient == 0.0:
        return 0.0
    weights = coefficient * weights
    return weighted_sum(batch, weights, lambda state, _: task.entropy_gradient(state))


# Complete episodes.


def _returns(task: Task, x: dict, critic: np.ndarray | None) -> np.ndarray:
    """To the episode's end; with a critic, beyond a time limit."""
    if critic is None:
        return loops.discounted_returns(x["reward"], *_flags(x), gamma=task.gamma)
    after = task.value(critic, x["after"])
    coefficients = {"gamma": task.gamma, "lam": 1.0}
    return loops.lambda_returns(x["reward"], after, *_flags(x), **coefficients)


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
    bonus = _bonus(task, batch, entropy, weights)
    return weighted_sum(batch, weights * advantage, task.score) + bonus


def reinforce_critic_error(
    task: Task, batch: Batch, *, critic: np.ndarray
) -> np.ndarray:
    """(S,) what REINFORCE's critic moves by: the mean over steps of G - V."""
    x = columns(batch)
    error = _returns(task, x, critic) - task.value(critic, x["state"])
    return _by_state(x, x["weight"] * error / x["weight"].sum(), critic)


def group(
    task: Task,
    batch: Batch,
    *,
    kind: str,
    group_size: int,
    reduction: str = "sum",
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
        "sum": tokens / len(batch),
    }[reduction]
    new = task if shift is None else task._replace(theta=task.theta + shift)
    taken = clipped(task, new, batch, advantage[None] + 0.0 * tokens, clip, clip_high)
    total = weighted_sum(batch, weights * taken, new.score)
    if reference is None:
        return total
    # exp(-x) - 1 + x, with x = log pi - log ref, has the slope 1 - exp(-x).
    other = task._replace(theta=reference)
    pull = 1 - np.exp(-_log_ratios(other, new, batch))
    return total - kl_coefficient * weighted_sum(batch, weights * pull, new.score)


# Policies that are not those that acted.


def _log_ratios(old: Task, new: Task, batch: Batch) -> np.ndarray:
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
    ratio = np.exp(_log_ratios(old, new, batch))
    high = clip if clip_high is None else clip_high
    cut = np.where(advantage > 0, ratio > 1 + high, ratio < 1 - clip)
    return np.where(cut, 0.0, ratio * advantage)


# Rollouts of equal length, cut at a horizon.


def _targets(
    task: Task, x: dict, critic: np.ndarray, lam: float, n_step: int | None
) -> np.ndarray:
    steps = x["reward"], task.value(critic, x["after"]), *_flags(x)
    if n_step is not None:
        return loops.n_step_returns(*steps, gamma=task.gamma, n=n_step)
    return loops.lambda_returns(*steps, gamma=task.gamma, lam=lam)


def _error(
    task: Task, x: dict, critic: np.ndarray, lam: float, n_step: int | None = None
) -> np.ndarray:
    """G - V: the critic's error, which is the policy's advantage."""
    return _targets(task, x, critic, lam, n_step) - task.value(critic, x["state"])


def _by_state(x: dict, error: np.ndarray, critic: np.ndarray) -> np.ndarray:
    return np.bincount(x["state"].ravel(), error.ravel(), minlength=len(critic))


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
    advantage = _error(task, x, critic, lam, n_step)
    if normalize:
        advantage = _standardized(advantage, x["weight"])
    weights = x["weight"] / x["weight"].sum()
    bonus = _bonus(task, batch, entropy, weights)
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
    error = _error(task, x, critic, lam, n_step)
    return _by_state(x, error / error.size, critic)


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

    Of the steps after so many: those before count for the deviation only.
    """
    returns = []
    for rollout in batch:
        running = 0.0
        for step in rollout:
            running = task.gamma * running + step.reward
            returns.append(running)
            running = 0.0 if step.terminated or step.truncated else running
    scale = np.sqrt(np.var(returns) + 1e-8)
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


def minibatch(
    task: Task, batch: Batch, *, critic: np.ndarray, lam: float, normalize: str
) -> list[np.ndarray]:
    """PPO's last minibatch of two, before any step: each half is as likely."""
    x = columns(batch)
    advantage = _error(task, x, critic, lam)
    if normalize == "batch":
        advantage = _standardized(advantage, x["weight"])
    found = []
    for half in itertools.combinations(range(advantage.size), advantage.size // 2):
        chosen = np.zeros(advantage.size)
        chosen[list(half)] = 1.0
        chosen = chosen.reshape(advantage.shape)
        a = _standardized(advantage, chosen) if normalize == "minibatch" else advantage
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
    advantage = _error(task, x, critic, lam)
    if normalize:
        advantage = _standardized(advantage, x["weight"])
    new = task._replace(theta=task.theta + shift)
    backward = _log_ratios(new, task, batch)  # log old - log new
    estimate = np.mean(np.exp(-backward) - 1 + backward)
    if estimate > target_kl:
        return actor_critic(task, batch, critic=critic, lam=lam, entropy=entropy)
    weights = x["weight"] / x["weight"].sum()
    taken = weights * clipped(task, new, batch, advantage, clip)
    return weighted_sum(batch, taken, new.score) + _bonus(new, batch, entropy, weights)


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
    returns = _targets(task, x, critic, lam, None)
    old, new = (task.value(v, x["state"]) for v in (critic, critic + shift))
    near = old + np.clip(new - old, -clip, clip)
    # The larger error counts; that of the clipped value does not move with V.
    free = (np.abs(new - returns) > np.abs(near - returns)) | (near == new)
    return _by_state(x, free * (returns - new) / returns.size, critic)


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
        *_flags(x),
        _log_ratios(task, new, batch),
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
    return _by_state(x, error / error.size, critic)


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
    advantage = _error(task, x, critic, lam)
    if normalize:
        advantage = _standardized(advantage, x["weight"])
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
        gain = np.exp(_log_ratios(task, new, batch)) - 1
        return bool(kl <= max_kl and (weights * advantage * gain).sum() >= 0)

    for scale in 0.8 ** np.arange(max_backtracks + 1):
        if acceptable(scale * full):
            return scale * full
    return np.zeros_like(full)
