"""Small tasks with a Gaussian policy, whose expectations are sums as well: quadrature.

A state is a number that moves linearly, rewards are quadratic, so an estimator of the
gradient is a polynomial in the normal noise of the actions, and so is its square:
Gauss-Hermite quadrature of few nodes is exact for both. One node for each step makes a
rollout, and the product of their weights stands where its probability would.

Where nothing is a polynomial, since actions or ratios are clipped, a fine grid is used
instead, for an episode of one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from oracles.tabular import Rollout, Step


class GaussianTask(NamedTuple):
    """s' = decay s + push a, reward -(s - 1)^2 - cost a^2, a ~ N(gain s, std^2)."""

    name: str
    theta: np.ndarray  # (2,) gain, log of the standard deviation
    start: float
    decay: float
    push: float
    cost: float
    bound: float  # of the actions that the environment sees
    limit: int  # steps, after which it is truncated
    gamma: float
    nodes: np.ndarray  # of the noise
    weights: np.ndarray  # that sum to 1

    @property
    def std(self) -> float:
        """The policy's standard deviation."""
        return float(np.exp(self.theta[1]))

    def outcome(self, state: float, action: float) -> tuple[float, float]:
        """The reward and the next state."""
        action = min(max(action, -self.bound), self.bound)
        reward = -((state - 1.0) ** 2) - self.cost * action**2 + 0.5 * state * action
        return reward, self.decay * state + self.push * action

    def log_prob(self, state: float, action: float) -> float:
        """log pi(action | state)."""
        z = (action - self.theta[0] * state) / self.std
        return float(-0.5 * z**2 - self.theta[1] - 0.5 * np.log(2 * np.pi))

    def fisher(self, state: float) -> np.ndarray:
        """(2, 2) Fisher information in a state."""
        return np.diag([(state / self.std) ** 2, 2.0])

    def kl(self, other: GaussianTask, state: float) -> float:
        """KL(self || other) in a state."""
        distance = (self.theta[0] - other.theta[0]) * state
        spread = (self.std**2 + distance**2) / other.std**2
        return float(other.theta[1] - self.theta[1] + 0.5 * spread - 0.5)

    def score(self, state: float, action: float) -> np.ndarray:
        """(2,) gradient of log pi of the action that was sampled, before any clip."""
        z = (action - self.theta[0] * state) / self.std
        return np.array([z * state / self.std, z**2 - 1.0])

    def entropy_gradient(self, state: float) -> np.ndarray:
        """(2,) of log std + constants."""
        del state
        return np.array([0.0, 1.0])

    def value(self, critic: np.ndarray, state: np.ndarray) -> np.ndarray:
        """What a critic, a polynomial, says of states."""
        return critic[0] + critic[1] * state + critic[2] * state**2


def swing() -> GaussianTask:
    """Two steps, actions that are never clipped."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    weights = weights / weights.sum()
    theta = np.array([0.4, -0.5])
    return GaussianTask(
        "swing", theta, 0.8, 0.7, 0.6, 0.3, 100.0, 2, 0.9, nodes, weights
    )


def once() -> GaussianTask:
    """One step, of which nothing need be a polynomial: on a fine grid."""
    nodes = np.linspace(-9.0, 9.0, 6001)
    weights = np.exp(-0.5 * nodes**2)
    return swing()._replace(
        name="once", limit=1, nodes=nodes, weights=weights / weights.sum()
    )


def clipped() -> GaussianTask:
    """The same, with an action that is clipped as often as not."""
    theta = np.array([0.6, 0.1])
    return once()._replace(name="clipped", theta=theta, cost=1.0, bound=0.7)


TASKS = {task.name: task for task in (swing(), once(), clipped())}


def episodes(task: GaussianTask) -> Iterator[tuple[float, Rollout]]:
    """Every complete episode, with its weight."""
    return unrolls(task, task.limit)


def unrolls(task: GaussianTask, length: int) -> Iterator[tuple[float, Rollout]]:
    """Every rollout of so many steps, with a new episode after the end of one."""
    yield from _go_on(task, 1.0, (), task.start, 0, length)


def _go_on(
    task: GaussianTask,
    weight: float,
    so_far: Rollout,
    state: float,
    time: int,
    length: int,
) -> Iterator[tuple[float, Rollout]]:
    if len(so_far) == length:
        yield weight, so_far
        return
    for node, share in zip(task.nodes, task.weights, strict=True):
        action = task.theta[0] * state + task.std * node
        reward, after = task.outcome(state, action)
        cut = time + 1 == task.limit
        rollout = (*so_far, Step(state, action, reward, False, cut, after))
        following = (task.start, 0) if cut else (after, time + 1)
        yield from _go_on(task, weight * share, rollout, *following, length)


def objective(task: GaussianTask) -> float:
    """J, the expected discounted return, from the moments of the state alone.

    Of tasks that do not clip.
    """
    (gain, _), (mean, square) = task.theta, (task.start, task.start**2)
    variance, total = task.std**2, 0.0
    pull = task.decay + task.push * gain
    for t in range(task.limit):
        of_state = -(square - 2.0 * mean + 1.0)
        of_action = -task.cost * (gain**2 * square + variance)
        total += task.gamma**t * (of_state + of_action + 0.5 * gain * square)
        mean, square = pull * mean, pull**2 * square + task.push**2 * variance
    return total


def policy_gradient(task: GaussianTask) -> np.ndarray:
    """(2,) gradient of J, by central differences: exact to 1e-8."""
    slopes = []
    for direction in np.eye(2):
        ends = [
            objective(task._replace(theta=task.theta + sign * 1e-4 * direction))
            for sign in (1.0, -1.0)
        ]
        slopes.append((ends[0] - ends[1]) / 2e-4)
    return np.array(slopes)
