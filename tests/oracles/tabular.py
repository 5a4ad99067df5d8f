"""Small tasks whose every rollout can be written down, with its probability.

Expectations and variances of an estimator are then sums over all rollouts: exact, in
float64, whatever the estimator, biased or not. The policy gradient itself is computed
a second way, by dynamic programming, which knows nothing of rollouts.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
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
        return _softmax(self.theta.tobytes(), self.theta.shape)

    def log_prob(self, state: int, action: int) -> float:
        """log pi(action | state)."""
        return float(np.log(self.policy[state, action]))

    def score(self, state: int, action: int) -> np.ndarray:
        """(S, A) gradient of log pi(action | state): one-hot minus pi."""
        gradient = np.zeros_like(self.theta)
        gradient[state] = -self.policy[state]
        gradient[state, action] += 1.0
        return gradient

    def entropy_gradient(self, state: int) -> np.ndarray:
        """(S, A) gradient of the entropy in a state: -pi (log pi + H)."""
        policy = self.policy[state]
        gradient = np.zeros_like(self.theta)
        gradient[state] = -policy * (np.log(policy) - policy @ np.log(policy))
        return gradient

    def fisher(self, state: int) -> np.ndarray:
        """(S * A, S * A) Fisher information in a state: diag(pi) - pi pi^T."""
        policy = self.policy[state]
        matrix = np.zeros(2 * self.theta.shape)
        matrix[state, :, state] = np.diag(policy) - np.outer(policy, policy)
        return matrix.reshape(self.theta.size, -1)

    def kl(self, other: Task, state: int) -> float:
        """KL(self || other) in a state."""
        policy = self.policy[state]
        return float(policy @ np.log(policy / other.policy[state]))

    def value(self, critic: np.ndarray, state: np.ndarray) -> np.ndarray:
        """What a critic, a table, says of states."""
        return critic[state]


@functools.cache
def _softmax(preferences: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Over the last axis; asked for again and again, so that it is kept."""
    theta = np.frombuffer(preferences).reshape(shape)
    exps = np.exp(theta - theta.max(1, keepdims=True))
    policy = exps / exps.sum(1, keepdims=True)
    policy.setflags(write=False)
    return policy


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
    return Task("chain", start, transition, reward, ending, 4, theta, 0.8)


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


def peaked() -> Task:
    """The random one, with a policy that has made up its mind."""
    task = random_task()
    return task._replace(name="peaked", theta=3 * task.theta)


TASKS = {
    task.name: task for task in (random_task(), chain(), truncation(), late(), peaked())
}


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


def advantages(task: Task, *, endless: bool) -> np.ndarray:
    """(limit, S, A) Q - V by time; the same at all times without the time limit."""
    v = values(task, limited=not endless)
    v = np.tile(v, (task.limit + 1, 1)) if endless else v
    q = np.array([_one_step(task, v[t + 1]) for t in range(task.limit)])
    return q - (task.policy * q).sum(-1, keepdims=True)


def _one_step(task: Task, following: np.ndarray) -> np.ndarray:
    """(S, A) what an action is worth, if states afterwards are worth `following`."""
    go_on = (1 - task.ending)[..., None] * task.transition
    return task.reward + task.gamma * go_on @ following


def visits(task: Task, length: int | None) -> np.ndarray:
    """(steps, limit, S) probabilities of the time in its episode and the state.

    Of an episode, until its end; or of an unroll of so many steps, that starts anew.
    """
    move = np.einsum(
        "sa,sat->st", task.policy, (1 - task.ending)[..., None] * task.transition
    )
    now = np.zeros((task.limit, len(task.start)))
    now[0] = task.start
    found = []
    for _ in range(task.limit if length is None else length):
        found.append(now)
        after = np.zeros_like(now)
        after[1:] = now[:-1] @ move
        if length is not None:
            after[0] = (1 - after.sum()) * task.start
        now = after
    return np.array(found)


def policy_gradient(
    task: Task,
    *,
    discounted: bool = False,
    endless: bool = False,
    length: int | None = None,
) -> np.ndarray:
    """(S, A) the policy gradient, by dynamic programming.

    sum_t sum_s P(s_t = s) sum_a dpi(a | s) Q_t(s, a).

    Args:
      task: the MDP and the policy.
      discounted: with the factor gamma^t that the theorem has, unlike most
        implementations.
      endless: whether Q goes on beyond the time limit, as with a critic.
      length: of an unroll, over whose steps it is then a mean.
    """
    advantage = advantages(task, endless=endless)
    gradient = np.zeros_like(task.theta)
    for step, where in enumerate(visits(task, length)):
        factor = task.gamma**step if discounted else 1.0
        gradient += factor * np.einsum("ts,sa,tsa->sa", where, task.policy, advantage)
    return gradient if length is None else gradient / length


def objective(task: Task) -> float:
    """J, the expected discounted return of the time-limited task."""
    return float(task.start @ values(task)[0])
