"""The bootstrap: its width, its memory, its bounds."""

import numpy as np
import pytest
from scipy import stats

from pgjax.app.analysis import bootstrap

RNG = np.random.default_rng(0)


def test_bootstrap_interval_of_a_mean_has_the_normal_width():
    x = RNG.normal(size=400)
    means = bootstrap.bootstrap(lambda rows: rows.mean(1), x)
    low, high = np.quantile(means, [0.025, 0.975])
    half = 1.96 * x.std() / np.sqrt(len(x))
    # Quantiles of 10,000 draws: 1.7% standard error each.
    assert (high - low).item() / 2 == pytest.approx(half, rel=0.09)
    assert ((high + low) / 2).item() == pytest.approx(x.mean(), abs=0.05 * half)


def test_memory_of_a_bootstrap_is_bounded_and_all_repetitions_are_made():
    for size in (1, 1000, 2**23, 2**30):
        parts = bootstrap.parts(size)
        assert sum(parts) == bootstrap.REPETITIONS
        assert max(parts) * size <= max(bootstrap._CELLS, size)


def test_a_band_of_means_stays_within_what_agents_had():
    x = np.minimum(RNG.normal(495, 20, (8, 50)), 500.0)
    low, high = bootstrap.mean_band(x)
    assert (low >= x.min(0)).all()
    assert (high <= x.max(0)).all()
    assert (low < x.mean(0)).all()
    again = bootstrap.band(x, lambda rows: rows.mean(1))
    # An end of 1,000 draws has a standard error of 2% of the width; of the mean over 50
    # points, far less.
    for ours, theirs in zip((low, high), again, strict=True):
        width = (high - low).mean()
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.05 * width)


def test_strata_are_drawn_within_themselves():
    strata = [np.zeros(7), np.full(3, 10.0), RNG.normal(size=5)]

    def means(drawn):
        assert [x.shape[1] for x in drawn] == [7, 3, 5]
        assert (drawn[0] == 0).all()
        assert (drawn[1] == 10).all()
        return drawn[2].mean(1)

    found = bootstrap.stratified(means, strata, repetitions=4000)
    assert found.shape == (4000,)
    # 4,000 draws: a standard error of 1.1%; z < 5.
    expected = strata[2].std() / np.sqrt(5)
    assert found.std() == pytest.approx(expected, rel=0.06)


def test_with_fewer_agents_no_percentile_can_cover():
    # The lowest and the highest of n agents enclose the median with 1 - 2 / 2^n; a
    # percentile of the bootstrap lies between them.
    encloses = [1 - 2 * stats.binom.cdf(0, n, 0.5) for n in range(1, 8)]
    fewest = next(n for n, p in enumerate(encloses, 1) if p >= bootstrap.CONFIDENCE)
    assert fewest == bootstrap.FEWEST
