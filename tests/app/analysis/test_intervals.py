"""Intervals of one sample, against other implementations and by coverage."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pgjax.app.analysis import intervals

RNG = np.random.default_rng(0)


def test_mean_is_students():
    x = RNG.normal(3.0, 2.0, 12)
    theirs = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    ours = intervals.mean(x)
    assert ours.estimate == pytest.approx(x.mean())
    np.testing.assert_allclose(ours[1:], (theirs.low, theirs.high))


def test_one_agent_says_nothing_of_others():
    assert intervals.mean([3.0]) == (3.0, -np.inf, np.inf)
    assert intervals.median([3.0]) == (3.0, -np.inf, np.inf)


@pytest.mark.parametrize("n", [6, 7, 31, 64])
def test_median_interval_covers_at_least_95_percent(n):
    rank = int(intervals.median(np.arange(n)).low)  # that many are smaller
    inside = 1 - 2 * stats.binom.cdf(rank, n, 0.5)
    wider = 1 - 2 * stats.binom.cdf(rank + 1, n, 0.5)
    assert inside >= 0.95 > wider  # and no pair further in does


def test_median_takes_unsolved_agents_as_infinite():
    steps = np.array([1.0, 2, 3, 4, 5, np.inf, np.inf, np.inf])
    assert intervals.median(steps) == (4.5, 1.0, np.inf)
    assert intervals.median(np.full(9, np.inf)).estimate == np.inf
    assert intervals.median(np.arange(9.0) + 1) == (5.0, 2.0, 8.0)


def test_iqm_cuts_a_quarter_at_each_end():
    x = np.array([-1000.0, 1, 2, 3, 4, 5, 6, 1000])
    ours = intervals.interquartile_mean(x)
    assert ours.estimate == 3.5
    assert ours.low < 3.5 < ours.high


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_of_a_few_agents_there_is_an_estimate_and_no_interval(n):
    x = np.arange(n) + 1.0
    for ours in (intervals.interquartile_mean(x), intervals.bootstrapped_mean(x)):
        assert ours.estimate == pytest.approx((n + 1) / 2)
        assert ours.too_few
    assert not intervals.bootstrapped_mean(np.arange(6.0)).too_few


@pytest.mark.parametrize(("count", "total"), [(0, 8), (8, 8), (3, 32), (64, 64)])
def test_a_share_has_the_exact_interval(count, total):
    theirs = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    ours = intervals.share(count, total)
    np.testing.assert_allclose(ours, (count / total, theirs.low, theirs.high))


def test_all_of_a_few_leaves_room_for_failures():
    assert intervals.share(8, 8).low == pytest.approx(0.025 ** (1 / 8))
    assert intervals.share(64, 64).low == pytest.approx(0.025 ** (1 / 64))


@pytest.mark.parametrize("n", [4, 8, 64])
def test_the_interval_of_a_share_covers_whatever_it_is(n):
    ends = np.array([intervals.share(k, n)[1:] for k in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 99):
        inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= 0.95


def test_performance_profile_is_a_share_that_falls():
    x = np.array([1.0, 2, 3, 4])
    share, low, high = intervals.performance_profile(x, np.array([0.0, 1, 2.5, 9]))
    assert share.tolist() == [1.0, 0.75, 0.5, 0.0]  # above, not at
    assert (low <= share).all()
    assert (share <= high).all()


def test_curve_is_the_iqm_at_each_point():
    values = RNG.normal(size=(20, 3)) + np.array([0.0, 5.0, 10.0])
    iqm, low, high = intervals.curve(values)
    np.testing.assert_allclose(iqm, stats.trim_mean(values, 0.25, axis=0))
    assert ((low < iqm) & (iqm < high)).all()


def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match="NaN"):
        intervals.mean([1.0, np.nan])
    with pytest.raises(ValueError, match="finite"):
        intervals.interquartile_mean([1.0, np.inf])
    with pytest.raises(ValueError, match="needs samples"):
        intervals.median([])


RLIABLE = json.loads((Path(__file__).parents[2] / "data" / "rliable.json").read_text())


@pytest.mark.parametrize("case", RLIABLE["cases"], ids=lambda case: case["name"])
def test_it_is_what_rliable_says(case):
    """Values recorded from the package, by data/record_rliable.py, with its versions.

    A 2.5% percentile of 10,000 bootstrap draws has a standard error of 0.7% of a normal
    interval's width, of 20,000 draws 0.5%; z < 5.
    """
    x = np.array(case["x"])
    pairs = [
        (intervals.interquartile_mean(x), "iqm", "iqm_interval", 0.045),
        (intervals.bootstrapped_mean(x), "mean", "mean_interval", 0.045),
    ]
    for ours, estimate, interval, tolerance in pairs:
        low, high = case[interval]
        assert ours.estimate == pytest.approx(case[estimate], rel=1e-9)
        np.testing.assert_allclose(
            ours[1:], (low, high), atol=tolerance * (high - low), rtol=0
        )
    share, low, high = intervals.performance_profile(x, np.array(case["levels"]))
    np.testing.assert_allclose(share, case["profile"])
    # Shares of n agents: a percentile may fall on the step beside.
    np.testing.assert_allclose(low, case["profile_low"], atol=1.01 / len(x))
    np.testing.assert_allclose(high, case["profile_high"], atol=1.01 / len(x))
