"""The picture of a run: bands within the returns, and of many seeds no blob."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pgjax.app.analysis import learning_curve

RNG = np.random.default_rng(0)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws curves of returns (n, K), of which some stop; returns the axes."""
    figures = []
    monkeypatch.setattr(
        learning_curve, "save", lambda figure, *_, **__: figures.append(figure)
    )

    def draw(returns, stops=(), **options):
        steps = [np.arange(returns.shape[1]) * 10.0 + 10 for _ in returns]
        curves = list(returns)
        for i, stop in enumerate(stops):
            steps[i], curves[i] = steps[i][:stop], curves[i][:stop]
        path = tmp_path / "x.png"
        learning_curve.learning_curve(
            path, steps, curves, title="x", solved_return=475.0, **options
        )
        (figure,) = figures
        assert isinstance(figure, Figure)
        return figure.axes[0]

    return draw


def test_the_band_stays_within_the_returns(drawn):
    returns = np.minimum(RNG.normal(495, 30, (8, 50)), 500.0)
    axes = drawn(returns)
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].max() <= 500.0
    assert "95% bootstrap interval" in axes.get_legend().get_texts()[1].get_text()
    assert "stopped" not in axes.get_xlabel()


@pytest.mark.parametrize("n", [2, 5])
def test_a_few_seeds_have_no_band(drawn, n):
    axes = drawn(RNG.normal(size=(n, 9)))
    assert not axes.collections


def test_many_seeds_are_drawn_as_quantiles(drawn):
    axes = drawn(RNG.normal(size=(200, 20)))
    assert len(axes.lines) == 2  # the mean, and the level
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:3] == [
        "all of 200 seeds",
        "the middle 80% of 200 seeds",
        "the middle 50% of 200 seeds",
    ]


def test_where_some_have_stopped_the_mean_is_dotted_and_has_no_band(drawn):
    axes = drawn(RNG.normal(size=(8, 50)), stops=(20,))
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 0].max() <= 200.0
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[-1] for line in dotted] == [500.0]
    assert "dotted: some have stopped" in axes.get_xlabel()


def test_seeds_that_diverged_are_told(drawn):
    axes = drawn(RNG.normal(size=(6, 9)), diverged=2)
    assert axes.get_xlabel().endswith("2 of 8 seeds diverged, not drawn")
