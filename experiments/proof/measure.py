"""Gradients of training, many times over, beside their exact expectation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import oracle_envs
from oracles import estimators, gaussian, tabular
from oracles.moments import Moments, moments
from scipy import stats

import pgjax as pg
from experiments.proof.case import Case, Family

REPLICATES = 4096  # side by side
LIMIT = 5.0  # standard errors


class Outcome(NamedTuple):
    """What was measured beside what is true."""

    name: str
    batches: int
    exact: np.ndarray  # (D,)
    measured: np.ndarray
    error: np.ndarray  # standard errors of the measured
    z: float  # the largest
    p: float  # of chi-squared over all components
    z_square: float  # the largest of those of the squares, which make the variance
    relative: float  # distance to the exact expectation by its length
    bias: float  # of that to the theorem's gradient, likewise; NaN if there is none
    exact_deviation: float  # of a batch's gradient
    deviation: float  # measured

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against the estimator."""
        return max(self.z, self.z_square) < LIMIT and self.p > 1e-6


def gradients(
    family: Family, num_batches: int, *, seed: int = 0
) -> Iterator[list[np.ndarray]]:
    """(REPLICATES, D) gradients at a time of each case, as a train step computes them.

    Args:
      family: the estimators.
      num_batches: how many, about.
      seed: of the random numbers.
    """
    task = family.task
    env = pg.make_env(oracle_envs.env_name(task))
    algorithms = [
        case.make(oracle_envs.network(task, case.critic), task.gamma)
        for case in family.cases
    ]
    rollout = (
        pg.episodes(env, family.num_envs)
        if family.length is None
        else pg.unroll(env, family.num_envs, family.length)
    )
    if family.spoil is not None:
        rollout = family.spoil(rollout)
    algorithm = _together(algorithms)

    @jax.jit
    @jax.vmap
    def gradient(key: Any) -> list:
        state = pg.init_train_state(key, rollout, algorithm)
        for _ in range(family.train_steps):
            before = state.learner.params
            state, _ = pg.train_step(state, rollout, algorithm)
        found = zip(family.cases, before, state.learner.states, strict=True)
        return [_what_is_looked_at(*each).ravel() for each in found]

    for i in range(-(-num_batches // REPLICATES)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), REPLICATES)
        yield [np.asarray(x, np.float64) for x in gradient(keys)]


class _States(NamedTuple):
    """Those of several algorithms."""

    states: tuple[pg.AlgorithmState, ...]

    @property
    def params(self) -> tuple:
        return tuple(state.params for state in self.states)


def _together(algorithms: Sequence[pg.Algorithm]) -> pg.Algorithm:
    """Several algorithms that learn from the rollouts of the first one's policy."""

    def init(key: Any, obs: Any) -> _States:
        return _States(tuple(algorithm.init(key, obs) for algorithm in algorithms))

    def policy(params: tuple, obs: Any) -> Any:
        return algorithms[0].policy(params[0], obs)

    def update(key: Any, together: _States, batch: pg.Transition) -> tuple:
        pairs = zip(algorithms, together.states, strict=True)
        return _States(tuple(a.update(key, x, batch)[0] for a, x in pairs)), {}

    return pg.Algorithm(init, update, policy, algorithms[0].complete_episodes)


def _what_is_looked_at(case: Case, before: Any, after: pg.AlgorithmState) -> Any:
    if case.leaf == "step":
        return after.params["theta"] - before["theta"]
    return -optax.tree.get(after, "grads")[case.leaf]


def exact(family: Family, case: Case) -> Moments:
    """The estimator's mean and covariance, over every batch of rollouts."""
    of, task = _oracle(family), family.task
    rollouts = list(
        of.episodes(task)
        if family.length is None
        else of.unrolls(task, family.length * family.train_steps)
    )
    return moments(
        rollouts, partial(case.oracle, task), family.num_envs, ordered=family.ordered
    )


def truth(family: Family, case: Case) -> np.ndarray | None:
    """The gradient of the theorem, where the estimator is one of it."""
    if case.truth is None:
        return None
    if family.task.name not in gaussian.TASKS:
        options: Any = {"length": family.length} | case.truth
        return tabular.policy_gradient(family.task, **options).ravel()
    if not case.truth["discounted"] or case.truth.get("endless"):
        raise ValueError(f"no exact gradient of {case.name} is known")
    return gaussian.policy_gradient(family.task)


def _oracle(family: Family) -> Any:
    return gaussian if family.task.name in gaussian.TASKS else tabular


def measure(
    family: Family,
    truths: Sequence[Moments],
    *,
    num_batches: int,
) -> list[Outcome]:
    """Averages the gradients of so many batches, or a few more, and compares."""
    sums = [_Sums() for _ in family.cases]
    for found in gradients(family, num_batches):
        for each, g in zip(sums, found, strict=True):
            each.add(g)
    return [
        _compare(family, *each) for each in zip(family.cases, truths, sums, strict=True)
    ]


class _Sums:
    """Of gradients and of their powers."""

    def __init__(self) -> None:
        self.count = 0
        self.powers: Any = 0.0  # (3, D) first, second and fourth
        self.outer: Any = 0.0  # (D, D)

    def add(self, g: np.ndarray) -> None:
        self.count += len(g)
        self.powers = self.powers + np.stack([(g**k).sum(0) for k in (1, 2, 4)])
        self.outer = self.outer + g.T @ g


def _compare(family: Family, case: Case, exact: Moments, sums: _Sums) -> Outcome:
    count = sums.count
    mean, square, fourth = sums.powers / count
    covariance = sums.outer / count - np.outer(mean, mean)
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0) / count)
    difference = mean - exact.mean
    # Components depend on each other: a softmax's sum to zero.
    sizes, directions = np.linalg.eigh(covariance)
    varies = sizes > 1e-6 * sizes[-1]
    along = (difference @ directions)[varies]
    chi_squared = count * np.sum(along**2 / sizes[varies])
    exact_square = np.diag(exact.covariance) + exact.mean**2
    error_square = np.sqrt(np.maximum(fourth - square**2, 0.0) / count)
    length = np.linalg.norm(exact.mean)
    gradient = truth(family, case)
    bias = (
        math.nan
        if gradient is None
        else float(np.linalg.norm(exact.mean - gradient) / np.linalg.norm(gradient))
    )
    return Outcome(
        case.name,
        count,
        exact.mean,
        mean,
        error,
        _largest(difference, error),
        float(stats.chi2.sf(chi_squared, varies.sum())),
        _largest(square - exact_square, error_square),
        float(np.linalg.norm(difference) / length),
        bias,
        float(np.sqrt(np.trace(exact.covariance))),
        float(np.sqrt(np.trace(covariance))),
    )


def _largest(difference: np.ndarray, error: np.ndarray) -> float:
    """In standard errors; what cannot vary must be right to float32's rounding."""
    rounding = 1e-6 * max(1.0, float(np.abs(difference).max()))
    return float(np.max(np.abs(difference) / np.maximum(error, rounding)))


def best_constant(task: tabular.Task) -> tuple[float, float]:
    """The constant baseline of least variance, and how much of no baseline's it has."""
    rollouts = list(tabular.episodes(task))

    def variance(b: float) -> float:
        def shifted(batch: list) -> np.ndarray:
            plain = estimators.reinforce(task, batch)
            scores = sum(task.score(s.state, s.action) for s in batch[0])
            return plain - b * scores

        return float(np.trace(moments(rollouts, shifted, 1).covariance))

    # It is a parabola in b.
    at = [variance(b) for b in (-1.0, 0.0, 1.0)]
    curvature, slope = (at[2] + at[0]) / 2 - at[1], (at[2] - at[0]) / 2
    best = -slope / (2 * curvature)
    return best, variance(best) / at[1]
