"""Times to solve, against textbooks and closed forms."""

import numpy as np
import pytest
from scipy import stats

from pgjax.app.analysis import intervals
from pgjax.app.analysis.survival import log_rank, survival

# Freireich et al., 1963: weeks of remission under 6-MP; Kaplan and Meier's estimate of
# it is in every textbook, Greenwood's errors and log-log intervals too.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def remission():
    weeks, relapse = np.array(WEEKS, float), np.array(RELAPSE, bool)
    return np.where(relapse, weeks, np.nan), weeks


def test_survival_is_the_textbooks():
    ours = survival(*remission())
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
    ours = survival(steps, steps)
    assert ours.steps.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(ours.unsolved, [0.75, 0.5, 0.25, 0.0])
    assert ours.median.estimate == 20
    assert ours.low[-1] == 0.0
    assert np.isfinite(ours.high).all()


@pytest.mark.parametrize("n", range(2, 66, 2))
def test_half_of_the_agents_is_the_median(n):
    steps = np.where(np.arange(n) < n // 2, np.arange(n) + 1.0, np.nan)
    assert survival(steps, np.full(n, 1e3)).median.estimate == n // 2


def test_nobody_solves_the_task():
    ours = survival(np.full(5, np.nan), np.full(5, 100.0))
    assert len(ours.steps) == 0
    assert ours.median.estimate == np.inf
    many = survival(np.full(6, np.nan), np.full(6, 100.0))
    assert many.median == (np.inf, np.inf, np.inf)


def test_an_agent_cannot_solve_it_after_it_stopped():
    with pytest.raises(ValueError, match="after it stopped"):
        survival(np.array([10.0]), np.array([5.0]))


def test_log_rank_of_a_sample_with_itself_and_with_another():
    steps, last = remission()
    placebo = np.array(
        [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], float
    )
    assert log_rank(steps, last, steps, last) == pytest.approx(1.0)
    # The textbooks' chi-squared is 16.79 with one degree of freedom.
    p = log_rank(steps, last, placebo, placebo)
    assert p == pytest.approx(stats.chi2.sf(16.79, 1), rel=0.02)


def test_once_all_have_solved_it_a_few_more_might_not_have():
    steps = np.arange(8) + 1.0
    ours = survival(steps, steps)
    # None was censored: Clopper and Pearson's 0 of 8.
    assert ours.unsolved[-1] == ours.low[-1] == 0.0
    assert ours.high[-1] == pytest.approx(intervals.share(0, 8).high)
    # When those that have solved it stop does not matter.
    later = survival(steps, np.full(8, 1e5))
    np.testing.assert_allclose(later.high, ours.high)
    assert later.median == ours.median
    together = survival(np.full(8, 5.0), np.full(8, 5.0))
    assert together.high == pytest.approx([intervals.share(0, 8).high])


def test_censored_agents_count_in_part_once_all_others_have_solved_it():
    # Two of eight are censored after the first three: three are left of 5/8.
    steps = np.array([1.0, 2, 3, np.nan, np.nan, 6, 7, 8])
    last = np.array([1.0, 2, 3, 4, 4, 6, 7, 8])
    ours = survival(steps, last)
    before = 5 / 8 * (2 / 3) * (1 / 2)
    assert ours.unsolved[-2] == pytest.approx(before)
    # Dorey and Korn: 1 at risk, over the share that was; between 1 and 8 agents.
    assert 1 < 1 / before < 8
    expected = 1 - 0.025**before
    assert ours.high[-1] == pytest.approx(min(expected, ours.high[-2]))


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_a_few_agents_have_no_interval(n):
    steps = np.arange(n) + 1.0
    ours = survival(steps, steps).median
    assert ours.estimate == (n + 1) // 2
    assert ours.too_few
    assert not survival(np.arange(6) + 1.0, np.arange(6) + 1.0).median.too_few
