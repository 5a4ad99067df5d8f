"""Scores of several environments together: what rliable says of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from pgjax.app.analysis import aggregates

RLIABLE = json.loads((Path(__file__).parents[2] / "data" / "rliable.json").read_text())
ACROSS = RLIABLE["across"]
STRATA = list(np.array(ACROSS["x"]).T)


@pytest.mark.parametrize("name", ["iqm", "mean", "median", "optimality_gap"])
def test_it_is_what_rliable_says(name):
    """Percentiles of 10,000 draws: a standard error of 0.7% of the width; z < 6."""
    ours = aggregates.aggregate(getattr(aggregates, name), STRATA)
    low, high = ACROSS[f"{name}_interval"]
    assert ours.estimate == pytest.approx(ACROSS[name], rel=1e-9)
    np.testing.assert_allclose(ours[1:], (low, high), atol=0.045 * (high - low))


def test_the_profile_is_rliables():
    levels = np.array(ACROSS["levels"])
    share, low, high = aggregates.performance_profile(STRATA, levels)
    np.testing.assert_allclose(share, ACROSS["profile"])
    # Shares of 36 agents: a percentile may fall on the step beside.
    np.testing.assert_allclose(low, ACROSS["profile_low"], atol=1.01 / 36)
    np.testing.assert_allclose(high, ACROSS["profile_high"], atol=1.01 / 36)


def test_environments_count_the_same_however_many_agents_they_have():
    strata = [np.zeros(20), np.ones(6)]
    assert aggregates.aggregate(aggregates.mean, strata) == (0.5, 0.5, 0.5)
    assert aggregates.aggregate(aggregates.optimality_gap, strata).estimate == 0.5


def test_above_the_reference_nothing_is_gained():
    gap = aggregates.aggregate(aggregates.optimality_gap, [np.full(6, 3.0)])
    assert gap.estimate == 0.0


def test_a_few_agents_have_no_interval():
    assert aggregates.aggregate(
        aggregates.iqm, [np.arange(5.0), np.arange(9.0)]
    ).too_few
