"""Two samples: P(better) against closed forms and by coverage; many tests at once."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pgjax.app.analysis import pairs
from pgjax.app.analysis.bootstrap import Interval

RNG = np.random.default_rng(0)
RLIABLE = json.loads((Path(__file__).parents[2] / "data" / "rliable.json").read_text())


def test_probability_of_improvement_is_mann_whitneys_u():
    x, y = RNG.integers(0, 9, 40), RNG.integers(2, 12, 25)
    u = stats.mannwhitneyu(x, y).statistic
    ours = pairs.probability_of_improvement(x, y)
    assert ours.estimate == pytest.approx(u / (40 * 25))
    assert ours.low < ours.estimate < ours.high


@pytest.mark.parametrize(("n", "m"), [(4, 4), (8, 8), (3, 20), (64, 64)])
def test_its_ends_solve_newcombes_equation(n, m):
    x, y = RNG.normal(0.7, 1, n), RNG.normal(0, 1, m)
    middle, low, high = pairs.probability_of_improvement(x, y)
    for p in (low, high):
        more = (n + m) / 2 - 1
        variance = p * (1 - p) / (n * m)
        variance *= 1 + more * ((1 - p) / (2 - p) + p / (1 + p))
        z = stats.norm.ppf(0.975)
        assert abs(middle - p) == pytest.approx(z * np.sqrt(variance), rel=1e-6)


def test_all_of_a_few_is_not_certain():
    for n, least in ((4, 0.50), (8, 0.70), (64, 0.95)):
        ours = pairs.probability_of_improvement(np.arange(n) + 100, np.arange(n))
        assert ours.estimate == ours.high == 1.0
        assert least < ours.low < 1.0
        worse = pairs.probability_of_improvement(np.arange(n), np.arange(n) + 100)
        assert worse == pytest.approx((0.0, 0.0, 1 - ours.low))


@pytest.mark.parametrize("n", [4, 8, 32])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_its_interval_covers(n, p):
    rng = np.random.default_rng(n)
    shift = np.sqrt(2) * stats.norm.ppf(p)
    covered = 0
    for _ in range(400):
        x, y = rng.normal(shift, 1, n), rng.normal(0, 1, n)
        _, low, high = pairs.probability_of_improvement(x, y)
        covered += low <= p <= high
    # 95% of 400 has a standard error of 1.1%; z < 4. (A bootstrap covers 60% at n = 4
    # and p = 0.9.)
    assert covered / 400 > 0.95 - 0.044


@pytest.mark.parametrize("case", RLIABLE["cases"], ids=lambda case: case["name"])
def test_it_is_what_rliable_estimates(case):
    ours = pairs.probability_of_improvement(np.array(case["x"]), np.array(case["y"]))
    assert ours.estimate == pytest.approx(case["probability_of_improvement"], rel=1e-9)
    if case["name"] != "few":  # with many agents, the bootstrap says the same
        np.testing.assert_allclose(ours[1:], case["probability_interval"], atol=0.02)


def test_an_average_of_one_is_it_and_of_many_is_narrower():
    one = Interval(0.8, 0.6, 0.9)
    assert pairs.average([one]) == pytest.approx(one)
    # Zou and Donner: lengths add as the sides of a right angle.
    ours = pairs.average([one, one, one, one])
    assert ours == pytest.approx((0.8, 0.8 - 0.2 / 2, 0.8 + 0.1 / 2))


def test_average_over_environments_is_rliables():
    across = RLIABLE["across"]
    x, y = np.array(across["x"]), np.array(across["y"])
    each = [
        pairs.probability_of_improvement(a, b) for a, b in zip(x.T, y.T, strict=True)
    ]
    ours = pairs.average(each)
    assert ours.estimate == pytest.approx(across["probability_of_improvement"])


def test_difference_of_means_has_the_normal_width():
    x, y = RNG.normal(3, 2, 200), RNG.normal(1, 5, 300)
    theirs = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    ours = pairs.difference_of_means(x, y)
    assert ours.estimate == pytest.approx(x.mean() - y.mean())
    # Quantiles of 10,000 draws: a standard error of 0.7% of the width; z < 5.
    width = theirs.high - theirs.low
    np.testing.assert_allclose(ours[1:], (theirs.low, theirs.high), atol=0.04 * width)


def test_differences_are_such_as_can_be():
    x, y = [500.0] * 5 + [490.0], [0.0] * 3 + [20.0] * 4
    assert pairs.difference_of_means(x, y).high <= 500.0


def test_where_no_agent_differs_nothing_is_known_of_differences():
    alike = pairs.difference_of_means([500.0] * 64, [400.0] * 64)
    assert alike.estimate == 100.0
    assert alike.no_spread
    assert not alike.too_few  # there are agents enough
    assert pairs.difference_of_means(np.arange(5.0), np.arange(9.0)).too_few


def test_holm_by_hand_and_where_there_is_no_test():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and no less than the one before: 1 x 0.04.
    p = [0.01, 0.04, 0.03, np.nan, 0.005]
    np.testing.assert_allclose(pairs.holm(p), [0.03, 0.06, 0.06, np.nan, 0.02])
    assert pairs.holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert pairs.holm([]).size == 0
