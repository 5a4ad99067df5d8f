"""Gradients of training against the truth; `experiments.proof` has the long version."""

import functools

import numpy as np
import pytest
from oracles import estimators, gaussian, tabular
from oracles.moments import moments

from experiments.proof.broken_variants import BROKEN
from experiments.proof.case import SHIFT
from experiments.proof.families import alone, families
from experiments.proof.measure import LIMIT, best_constant, measure, truth
from experiments.proof.measure import exact as exact_moments

FAMILIES = {family.name: family for family in families()}
CASES = {
    case.name: (family, case) for family in FAMILIES.values() for case in family.cases
}
FEW = 2**14  # batches; a million in the experiment


@functools.cache
def exact(name):
    return exact_moments(*CASES[name])


@functools.cache
def outcomes(family_name):
    family = FAMILIES[family_name]
    truths = [exact(case.name) for case in family.cases]
    found = measure(family, truths, num_batches=FEW)
    return {outcome.name: outcome for outcome in found}


def test_every_case_has_a_name_of_its_own():
    assert len(CASES) == sum(len(family.cases) for family in FAMILIES.values())
    assert len(CASES) > 100


@pytest.mark.parametrize("task", tabular.TASKS.values(), ids=tabular.TASKS)
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

        summed = moments(rollouts, estimator, 1).mean
        by_programming = tabular.policy_gradient(task, discounted=discounted)
        np.testing.assert_allclose(summed, by_programming.ravel(), atol=1e-12)
    # And the definition: what J does when theta is moved.
    np.testing.assert_allclose(by_programming, slopes(task), atol=1e-8)


def slopes(task):
    """(S, A) of J, by central differences."""
    found = np.zeros_like(task.theta)
    for index in np.ndindex(*task.theta.shape):
        ends = []
        for step in (1e-5, -1e-5):
            theta = task.theta.copy()
            theta[index] += step
            ends.append(tabular.objective(task._replace(theta=theta)))
        found[index] = (ends[0] - ends[1]) / 2e-5
    return found


def test_the_continuous_oracles_agree_with_each_other():
    task = gaussian.TASKS["swing"]
    rollouts = list(gaussian.episodes(task))
    assert sum(p for p, _ in rollouts) == pytest.approx(1.0, abs=1e-12)
    worth = sum(
        p * sum(task.gamma**t * step.reward for t, step in enumerate(rollout))
        for p, rollout in rollouts
    )
    assert worth == pytest.approx(gaussian.objective(task), abs=1e-12)


def test_more_nodes_change_nothing():
    task = gaussian.TASKS["swing"]
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    finer = task._replace(nodes=nodes, weights=weights / weights.sum())
    clipped = gaussian.TASKS["clipped"]
    nodes = np.linspace(-9.0, 9.0, 20001)
    weights = np.exp(-0.5 * nodes**2)
    finer_grid = clipped._replace(nodes=nodes, weights=weights / weights.sum())
    for coarse, fine, tolerance in (
        (task, finer, 1e-12),
        (clipped, finer_grid, 1e-5),
    ):
        few, many = (
            moments(
                list(gaussian.episodes(x)),
                functools.partial(estimators.reinforce, x),
                1,
            )
            for x in (coarse, fine)
        )
        np.testing.assert_allclose(few.mean, many.mean, atol=tolerance)
        np.testing.assert_allclose(few.covariance, many.covariance, atol=tolerance)


def test_clipped_surrogates_have_the_slope_that_their_oracle_says():
    """By central differences of min(ratio A, clip(ratio) A) itself."""
    task = tabular.TASKS["random"]
    rollout = max(tabular.unrolls(task, 3), key=lambda each: each[0])[1]
    advantage = np.array([0.7, -1.2, 0.4])

    def objective(theta):
        new, total = task._replace(theta=theta), 0.0
        for a, step in zip(advantage, rollout, strict=True):
            where = step.state, step.action
            ratio = np.exp(new.log_prob(*where) - task.log_prob(*where))
            total += min(ratio * a, np.clip(ratio, 0.8, 1.2) * a)
        return total

    for scale in (0.1, 0.5, 1.0):
        theta = task.theta + scale * SHIFT
        new = task._replace(theta=theta)
        weights = estimators.clipped(task, new, (rollout,), advantage[:, None], 0.2)
        want = estimators.weighted_sum((rollout,), weights, new.score)
        got = np.zeros_like(theta)
        for index in np.ndindex(*theta.shape):
            step = np.zeros_like(theta)
            step[index] = 1e-6
            got[index] = (objective(theta + step) - objective(theta - step)) / 2e-6
        np.testing.assert_allclose(got, want, atol=1e-8)


@pytest.mark.parametrize("name", [n for n, (_, case) in CASES.items() if case.unbiased])
def test_what_is_called_unbiased_is(name):
    tolerance = 1e-8 if "Gaussian" in name else 1e-12
    np.testing.assert_allclose(exact(name).mean, truth(*CASES[name]), atol=tolerance)


def test_groups_means_shorten_the_gradient_by_their_own_share():
    gradient = truth(*CASES["dr_grpo, three"])
    np.testing.assert_allclose(exact("dr_grpo, three").mean, 2 / 3 * gradient)


@pytest.mark.parametrize("name", CASES)
def test_training_has_the_gradient_and_the_variance(name):
    family, _ = CASES[name]
    outcome = outcomes(family.name)[name]
    assert outcome.batches >= FEW
    assert outcome.passes, outcome


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_caught(name):
    spoil, victim = BROKEN[name]
    (outcome,) = measure(alone(victim), [exact(victim)], num_batches=FEW, spoil=spoil)
    assert outcome.z > LIMIT


def test_baselines_reduce_the_variance():
    def variance(name):
        return np.trace(exact(f"reinforce, {name}").covariance)

    none = variance("no baseline")
    assert variance("leave one out") < none
    assert variance("batch mean") < none
    assert variance("perfect critic") < variance("wrong critic")
    _, share = best_constant(tabular.TASKS["random"])
    assert 0 < share < 1
