"""Gradients of training against the truth; `experiments.proof` has the long version."""

import functools
import inspect
import itertools

import numpy as np
import oracle_envs
import pytest
from oracles import estimators, gaussian, tabular
from oracles.moments import moments
from turns import slow

import pgjax as pg
from experiments.proof.broken_variants import (
    BROKEN,
    VICTIMS,
    broken_cases,
    broken_families,
    with_broken_rollouts,
)
from experiments.proof.case import SHIFT
from experiments.proof.families import families
from experiments.proof.measure import LIMIT, best_constant, measure, truth
from experiments.proof.measure import exact as exact_moments
from pgjax.baselines import BASELINES

FAMILIES = {family.name: family for family in families()}
CASES = {
    case.name: (family, case) for family in FAMILIES.values() for case in family.cases
}
FEW = 2**14  # batches; a million in the experiment
# Of the grid of baselines, reductions and gamma^t: each pair of them is in the other
# half, too.
HALF = {
    f"reinforce, chain, {baseline}, {reduction}{discount}"
    for (i, baseline), (j, reduction), (k, discount) in itertools.product(
        enumerate(BASELINES),
        enumerate(("episodes", "steps", "sum")),
        enumerate(("", ", gamma^t")),
    )
    if (i + j + k) % 2
}


@functools.cache
def exact(name):
    return exact_moments(*CASES[name])


@functools.cache
def outcomes(family_name, half):
    family = FAMILIES[family_name]
    cases = [case for case in family.cases if (case.name in HALF) == half]
    # The broken variants of its cases have the same rollouts, and the same program.
    broken = [] if half else broken_cases(family)
    return measured(family._replace(cases=[*cases, *broken]))


def measured(family):
    truths = [exact(VICTIMS.get(case.name, case.name)) for case in family.cases]
    found = measure(family, truths, num_batches=FEW)
    return {outcome.name: outcome for outcome in found}


def test_every_case_has_a_name_of_its_own():
    assert len(CASES) == sum(len(family.cases) for family in FAMILIES.values())
    assert len(CASES) > 100
    assert len(HALF & CASES.keys()) == len(HALF) == 15


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


@pytest.mark.parametrize("name", [slow(x) if x in HALF else x for x in CASES])
def test_training_has_the_gradient_and_the_variance(name):
    family, _ = CASES[name]
    outcome = outcomes(family.name, name in HALF)[name]
    assert outcome.batches >= FEW
    assert outcome.passes, outcome


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_caught(name):
    family, _ = CASES[VICTIMS[name]]
    assert outcomes(family.name, False)[name].z > LIMIT


def test_rollouts_that_are_broken_are_caught():
    (outcome,) = measured(with_broken_rollouts()).values()
    assert outcome.z > LIMIT


def test_every_broken_variant_has_a_family():
    names = [case.name for family in broken_families() for case in family.cases]
    assert sorted(names) == sorted(VICTIMS)


def test_baselines_reduce_the_variance():
    def variance(name):
        return np.trace(exact(f"reinforce, {name}").covariance)

    none = variance("no baseline")
    assert variance("leave one out") < none
    assert variance("batch mean") < none
    assert variance("perfect critic") < variance("wrong critic")


def test_the_best_constant_is_the_one_of_the_textbooks():
    """E[|score|^2 G] / E[|score|^2], where G is what each score is weighed with."""
    task = tabular.TASKS["random"]
    best, share = best_constant(task)
    above, below = 0.0, 0.0
    for p, rollout in tabular.episodes(task):
        scores = [task.score(step.state, step.action) for step in rollout]
        whole = sum(scores)
        # sum_t score_t (G_t - b): a parabola in b, from its own coefficients.
        weighed = sum(
            score * sum(task.gamma**k * s.reward for k, s in enumerate(rollout[t:]))
            for t, score in enumerate(scores)
        )
        above += p * np.sum(whole * weighed)
        below += p * np.sum(whole * whole)
    assert best == pytest.approx(above / below)
    assert share < 0.5


RATIOS = {"clip": 0.2, "wider": 0.33}


@pytest.mark.parametrize("clip", RATIOS.values(), ids=RATIOS)
def test_ratios_are_cut_on_either_side_in_the_second_epoch(clip):
    task = tabular.TASKS["random"]
    ratio = task._replace(theta=task.theta + SHIFT).policy / task.policy
    for cut in (ratio > 1 + clip, ratio < 1 - clip, np.abs(ratio - 1) < clip):
        assert cut.any()


def test_line_searches_search():
    found = {}
    family, _ = CASES["trpo, peaked, line search"]
    rollouts = list(tabular.unrolls(family.task, family.length))
    for name in ("line search", "one backtrack", "natural gradient"):
        _, case = CASES[f"trpo, peaked, {name}"]
        found[name] = [
            np.linalg.norm(case.oracle(family.task, (rollout,)))
            for _, rollout in rollouts
        ]
    p = np.array([p for p, _ in rollouts])
    full = np.array(found["natural gradient"])
    backtracks = np.round(np.log(found["line search"] / full) / np.log(0.8))
    for number in (0, 1, 2):
        assert p[backtracks == number].sum() > 0.05
    assert p[backtracks >= 3].sum() > 0.02
    assert p[np.array(found["one backtrack"]) == 0].sum() > 0.05  # none is allowed


OPTIONS = {
    # What no case varies, and where it is tested.
    "reinforce": set(),
    "a2c": set(),
    "ppo": set(),
    # Conjugate gradients: test_natural_gradient. The critic's fit: test_trpo.
    "trpo": {"cg_iterations", "num_epochs", "num_minibatches"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_varied_by_some_case(name, monkeypatch):
    factory, seen = getattr(pg, name), {}

    def recording(network, optimizer, **options):
        for option, value in options.items():
            seen.setdefault(option, set()).add(str(value))
        return factory(network, optimizer, **options)

    monkeypatch.setattr(pg, name, recording)
    for family in FAMILIES.values():
        for case in family.cases:
            case.make(oracle_envs.network(family.task, case.critic), family.task.gamma)
    parameters = inspect.signature(factory).parameters.values()
    options = {x.name: x.default for x in parameters if x.kind is x.KEYWORD_ONLY}
    constant = {
        option
        for option, default in options.items()
        if len(seen.get(option, set()) | {str(default)}) < 2
    }
    assert constant - OPTIONS[name] == set()
