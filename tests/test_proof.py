"""Gradients of training against the truth; `experiments.proof` has the long version."""

import numpy as np
import pytest
from oracles import estimators, tabular
from oracles.tabular import TASKS

from experiments import proof

CASES = {case.name: case for case in proof.cases()}
FEW = 2**15  # episodes; a million in the experiment


@pytest.fixture(scope="module")
def truth():
    found = {}

    def of(case):
        if case.name not in found:
            found[case.name] = proof.exact(case)
        return found[case.name]

    return of


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_oracles_agree_with_each_other(task):
    rollouts = list(tabular.episodes(task))
    assert sum(p for p, _ in rollouts) == pytest.approx(1.0, abs=1e-12)
    assert sum(p for p, _ in tabular.unrolls(task, 3)) == pytest.approx(1.0, abs=1e-12)
    worth = sum(
        p * sum(task.gamma**t * step.reward for t, step in enumerate(rollout))
        for p, rollout in rollouts
    )
    assert worth == pytest.approx(tabular.objective(task), abs=1e-12)
    for discounted in (False, True):

        def estimator(batch, discounted=discounted):
            return estimators.reinforce(task, batch, discount_states=discounted)

        summed = tabular.moments(rollouts, estimator, 1).mean
        by_programming = tabular.policy_gradient(task, discounted=discounted)
        np.testing.assert_allclose(summed, by_programming.ravel(), atol=1e-12)
    # And the definition: what J does when theta is moved.
    slopes = np.zeros_like(task.theta)
    for index in np.ndindex(*task.theta.shape):
        ends = []
        for step in (1e-5, -1e-5):
            theta = task.theta.copy()
            theta[index] += step
            ends.append(tabular.objective(task._replace(theta=theta)))
        slopes[index] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(by_programming, slopes, atol=1e-8)


@pytest.mark.parametrize(
    "name", [case.name for case in CASES.values() if case.unbiased]
)
def test_what_is_called_unbiased_is(name, truth):
    case = CASES[name]
    discounted = bool(case.oracle.keywords.get("discount_states"))
    gradient = tabular.policy_gradient(case.task, discounted=discounted)
    np.testing.assert_allclose(truth(case).mean, gradient.ravel(), atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_training_has_the_gradient_and_the_variance(name, truth):
    case = CASES[name]
    outcome = proof.measure(case, truth(case), episodes=FEW)
    assert outcome.episodes >= FEW
    assert outcome.passes, outcome


@pytest.mark.parametrize("name", proof.BROKEN)
def test_what_is_broken_is_caught(name, truth):
    spoil, victim = proof.BROKEN[name]
    case = CASES[victim]
    outcome = proof.measure(case, truth(case), episodes=2**14, spoil=spoil)
    assert outcome.z > proof.LIMIT


def test_baselines_reduce_the_variance(truth):
    def variance(name):
        return np.trace(truth(CASES[f"reinforce, {name}"]).covariance)

    none = variance("no baseline")
    assert variance("leave one out") < none
    assert variance("batch mean") < none
    assert variance("perfect critic") < variance("wrong critic")
    _, share = proof.best_constant(TASKS["random"])
    assert 0 < share < 1
