"""Small tasks whose every rollout can be written down, with its probability.

Expectations and variances of an estimator are then sums over all rollouts: exact, in
float64, whatever the estimator, biased or not. The policy gradient itself is computed
a second way, by dynamic programming, which knows nothing of rollouts.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Task(NamedTuple):
    """A tabular MDP with a time limit, and the policy that is looked at."""

    name: str
    start: np.ndarray  # (S,)
    transition: np.ndarray  # (S, A, S) where it goes, if it goes on
    reward: np.ndarray  # (S, A)
    ending: np.ndarray  # (S, A) probability that the episode terminates with this step
    limit: int  # steps, after which it is truncated
    theta: np.ndarray  # (S, A) preferences
    gamma: float

    @property
    def policy(self) -> np.ndarray:
        """(S, A) softmax of the preferences."""
        exps = np.exp(self.theta - self.theta.max(1, keepdims=True))
        return exps / exps.sum(1, keepdims=True)


class Step(NamedTuple):
    """One transition."""

    state: int
    action: int
    reward: float
    terminated: bool
    truncated: bool
    after: int  # before any reset


Rollout = tuple[Step, ...]


def random_task() -> Task:
    """Three states, two actions, two outcomes; terminations and truncations."""
    rng = np.random.default_rng(3)
    transition = np.zeros((3, 2, 3))
    for s, a in itertools.product(range(3), range(2)):
        where = rng.choice(3, 2, replace=False)
        transition[s, a, where] = rng.dirichlet([1.0, 1.0])
    return Task(
        "random",
        np.array([1.0, 0.0, 0.0]),
        transition,
        1.0 + rng.normal(size=(3, 2)),
        np.array([[0.1, 0.3], [0.2, 0.1], [0.4, 0.2]]),
        3,
        0.5 * rng.normal(size=(3, 2)),
        0.9,
    )


def chain() -> Task:
    """A corridor of four rooms; the only reward is for leaving the last one."""
    transition = np.zeros((4, 2, 4))
    for s in range(4):
        transition[s, 0, min(s + 1, 3)] = 1.0  # on
        transition[s, 1, max(s - 1, 0)] = 1.0  # back
    reward, ending = np.zeros((4, 2)), np.zeros((4, 2))
    reward[3, 0] = ending[3, 0] = 1.0
    theta = np.tile([0.8, 0.0], (4, 1))
    start = np.array([0.5, 0.0, 0.5, 0.0])
    return Task("chain", start, transition, reward, ending, 5, theta, 0.8)


def truncation() -> Task:
    """Nothing ever terminates: a reward for staying, for ever but for the limit."""
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[1, 0, 1] = 1.0  # stay
    transition[0, 1, 1] = transition[1, 1, 0] = 1.0  # go
    reward = np.array([[1.0, 0.0], [2.0, 0.5]])
    theta = np.array([[0.3, 0.0], [-0.2, 0.4]])
    start = np.array([1.0, 0.0])
    return Task(
        "truncation", start, transition, reward, np.zeros((2, 2)), 4, theta, 0.7
    )


def late() -> Task:
    """What is worth it early is not late: gamma^t decides the direction.

    The first step leads on, whatever is done, to a state that is worth little to the
    discounted objective of the start, and as much as anything if every step counts.
    """
    transition = np.zeros((3, 2, 3))
    transition[0, :, 1] = transition[1, :, 2] = transition[2, :, 2] = 1.0
    reward = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    theta = np.array([[0.2, -0.3], [0.1, 0.0], [0.4, -0.4]])
    start = np.array([1.0, 0.0, 0.0])
    ending = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    return Task("late", start, transition, reward, ending, 9, theta, 0.5)


TASKS = {task.name: task for task in (random_task(), chain(), truncation(), late())}


# Every rollout, with its probability.


def episodes(task: Task) -> Iterator[tuple[float, Rollout]]:
    """Every complete episode."""
    for s in np.flatnonzero(task.start):
        yield from _go_on(task, task.start[s], (), s, 0, None)


def unrolls(task: Task, length: int) -> Iterator[tuple[float, Rollout]]:
    """Every rollout of so many steps, with a new episode after the end of one."""
    for s in np.flatnonzero(task.start):
        yield from _go_on(task, task.start[s], (), s, 0, length)


def _go_on(
    task: Task, weight: float, so_far: Rollout, s: int, time: int, length: int | None
) -> Iterator[tuple[float, Rollout]]:
    if length is not None and len(so_far) == length:
        yield weight, so_far
        return
    for a in range(task.reward.shape[1]):
        for p, terminated, after in _outcomes(task, s, a):
            reached = weight * task.policy[s, a] * p
            truncated = not terminated and time + 1 == task.limit
            step = Step(
                int(s), a, float(task.reward[s, a]), terminated, truncated, after
            )
            rollout = (*so_far, step)
            if not terminated and not truncated:
                yield from _go_on(task, reached, rollout, after, time + 1, length)
            elif length is None:
                yield reached, rollout
            else:
                for new in np.flatnonzero(task.start):
                    again = reached * task.start[new]
                    yield from _go_on(task, again, rollout, new, 0, length)


def _outcomes(task: Task, s: int, a: int) -> Iterator[tuple[float, bool, int]]:
    """Probability, termination, and where it goes; that is nowhere if it terminates."""
    ending = task.ending[s, a]
    if ending > 0:
        yield ending, True, int(s)
    for after in np.flatnonzero(task.transition[s, a]) if ending < 1 else ():
        yield (1 - ending) * task.transition[s, a, after], False, int(after)


class Moments(NamedTuple):
    """Of an estimator."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(
    rollouts: list[tuple[float, Rollout]],
    estimator: Callable[[list[Rollout]], np.ndarray],
    batch: int,
) -> Moments:
    """The exact mean and covariance of an estimator of `batch` independent rollouts.

    One that does not ask for their order.
    """
    mean: np.ndarray | float = 0.0
    square: np.ndarray | float = 0.0
    for chosen in itertools.combinations_with_replacement(range(len(rollouts)), batch):
        many = [rollouts[i] for i in chosen]
        orders = math.factorial(batch)
        for times in Counter(chosen).values():
            orders //= math.factorial(times)
        p = orders * np.prod([weight for weight, _ in many])
        g = estimator([rollout for _, rollout in many]).ravel()
        mean, square = mean + p * g, square + p * np.outer(g, g)
    return Moments(np.asarray(mean), np.asarray(square) - np.outer(mean, mean))


# The truth by dynamic programming.


def values(task: Task, *, limited: bool = True) -> np.ndarray:
    """(limit + 1, S) V by time and state, or (S,) without the time limit."""
    go_on = (1 - task.ending)[..., None] * task.transition
    reward = (task.policy * task.reward).sum(1)
    step = np.einsum("sa,sat->st", task.policy, go_on)
    if not limited:
        return np.linalg.solve(np.eye(len(reward)) - task.gamma * step, reward)
    v = np.zeros((task.limit + 1, len(reward)))
    for t in reversed(range(task.limit)):
        v[t] = reward + task.gamma * step @ v[t + 1]
    return v


def policy_gradient(task: Task, *, discounted: bool) -> np.ndarray:
    """(S, A) gradient of the time-limited task's J by the preferences.

    sum_t sum_s P(s_t = s) sum_a dpi(a | s) Q_t(s, a), with the factor gamma^t that the
    theorem has, or as most implementations, without.
    """
    v, visits = values(task), task.start.copy()
    go_on = (1 - task.ending)[..., None] * task.transition
    gradient = np.zeros_like(task.theta)
    for t in range(task.limit):
        q = task.reward + task.gamma * go_on @ v[t + 1]
        advantage = q - (task.policy * q).sum(1, keepdims=True)
        factor = task.gamma**t if discounted else 1.0
        gradient += factor * visits[:, None] * task.policy * advantage
        visits = np.einsum("s,sa,sat->t", visits, task.policy, go_on)
    return gradient


def objective(task: Task) -> float:
    """J, the expected discounted return of the time-limited task."""
    return float(task.start @ values(task)[0])
