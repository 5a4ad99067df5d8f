"""The statistics of the reports, against other implementations and by coverage."""

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


def test_bootstrap_interval_of_a_mean_has_the_normal_width():
    x = RNG.normal(size=400)
    means = intervals.bootstrap(lambda rows: rows.mean(1), x)
    low, high = np.quantile(means, [0.025, 0.975])
    half = 1.96 * x.std() / np.sqrt(len(x))
    # Quantiles of 10,000 draws: 1.7% standard error each.
    assert (high - low).item() / 2 == pytest.approx(half, rel=0.09)
    assert ((high + low) / 2).item() == pytest.approx(x.mean(), abs=0.05 * half)


def test_memory_of_a_bootstrap_is_bounded_and_all_repetitions_are_made():
    for size in (1, 1000, 2**23, 2**30):
        parts = intervals._parts(size)
        assert sum(parts) == intervals.REPETITIONS
        assert max(parts) * size <= max(intervals._CELLS, size)


def test_probability_of_improvement_is_mann_whitneys_u():
    x, y = RNG.integers(0, 9, 40), RNG.integers(2, 12, 25)
    u = stats.mannwhitneyu(x, y).statistic
    ours = intervals.probability_of_improvement(x, y)
    assert ours.estimate == pytest.approx(u / (40 * 25))
    assert ours.low < ours.estimate < ours.high


def test_probability_of_improvement_bootstraps_both_samples():
    x, y = RNG.normal(0.5, 1, 60), RNG.normal(0, 1, 40)
    ours = intervals.probability_of_improvement(x, y)
    draws = [
        stats.mannwhitneyu(RNG.choice(x, 60), RNG.choice(y, 40)).statistic / 2400
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    width = high - low  # ends of 2,000 draws: standard error 4% of the width
    assert ours.low == pytest.approx(low, abs=0.2 * width)
    assert ours.high == pytest.approx(high, abs=0.2 * width)


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


# Freireich et al., 1963: weeks of remission under 6-MP; Kaplan and Meier's estimate of
# it is in every textbook, Greenwood's errors and log-log intervals too.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def remission():
    weeks, relapse = np.array(WEEKS, float), np.array(RELAPSE, bool)
    return np.where(relapse, weeks, np.nan), weeks


def test_survival_is_the_textbooks():
    ours = intervals.survival(*remission())
    assert ours.steps.tolist() == [6, 7, 10, 13, 16, 22, 23]
    expected = [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    np.testing.assert_allclose(ours.unsolved, expected, atol=5e-5)
    # R's survfit(conf.type = "log-log"): the median 23 [13, NA].
    assert ours.median == (23.0, 13.0, np.inf)
    variance = ours.unsolved[0] ** 2 * 3 / (21 * 18)  # Greenwood, at week 6
    log = np.log(ours.unsolved[0])
    half = 1.96 * np.sqrt(variance) / (ours.unsolved[0] * abs(log))
    ends = ours.unsolved[0] ** np.exp([half, -half])
    np.testing.assert_allclose([ours.low[0], ours.high[0]], ends, rtol=1e-4)


def test_survival_without_censoring_is_the_share_left():
    steps = np.array([30.0, 10, 20, 40])
    ours = intervals.survival(steps, steps)
    assert ours.steps.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(ours.unsolved, [0.75, 0.5, 0.25, 0.0])
    assert ours.median.estimate == 20
    assert ours.low[-1] == 0.0
    assert np.isfinite(ours.high).all()


@pytest.mark.parametrize("n", range(2, 66, 2))
def test_half_of_the_agents_is_the_median(n):
    steps = np.where(np.arange(n) < n // 2, np.arange(n) + 1.0, np.nan)
    assert intervals.survival(steps, np.full(n, 1e3)).median.estimate == n // 2


def test_nobody_solves_the_task():
    ours = intervals.survival(np.full(5, np.nan), np.full(5, 100.0))
    assert len(ours.steps) == 0
    assert ours.median == (np.inf, np.inf, np.inf)


def test_log_rank_of_a_sample_with_itself_and_with_another():
    steps, last = remission()
    placebo = np.array(
        [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], float
    )
    assert intervals.log_rank(steps, last, steps, last) == pytest.approx(1.0)
    # The textbooks' chi-squared is 16.79 with one degree of freedom.
    p = intervals.log_rank(steps, last, placebo, placebo)
    assert p == pytest.approx(stats.chi2.sf(16.79, 1), rel=0.02)


def test_what_cannot_be_is_told():
    with pytest.raises(ValueError, match="NaN"):
        intervals.mean([1.0, np.nan])
    with pytest.raises(ValueError, match="finite"):
        intervals.interquartile_mean([1.0, np.inf])
    with pytest.raises(ValueError, match="needs samples"):
        intervals.median([])
    with pytest.raises(ValueError, match="after it stopped"):
        intervals.survival(np.array([10.0]), np.array([5.0]))


RLIABLE = json.loads((Path(__file__).parents[2] / "data" / "rliable.json").read_text())


@pytest.mark.parametrize("case", RLIABLE["cases"], ids=lambda case: case["name"])
def test_it_is_what_rliable_says(case):
    """Values recorded from the package, by data/record_rliable.py, with its versions.

    A 2.5% percentile of 10,000 bootstrap draws has a standard error of 0.7% of a normal
    interval's width, of 20,000 draws 0.5%, of 2,000 draws 1.5%; z < 5.
    """
    x, y = np.array(case["x"]), np.array(case["y"])
    pairs = [
        (intervals.interquartile_mean(x), "iqm", "iqm_interval", 0.045),
        (intervals.bootstrapped_mean(x), "mean", "mean_interval", 0.045),
        (
            intervals.probability_of_improvement(x, y),
            "probability_of_improvement",
            "probability_interval",
            0.085,
        ),
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
