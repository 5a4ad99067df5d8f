"""What each setting of a sweep does: by the analysis of variance, and as drawn."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_ranking import sample

from pgjax.app.analysis import comparison_figures, figures, sweep_figures

RNG = np.random.default_rng(0)


def grid(effect, *, seeds=6, noise=0.0, **axes):
    """A sample for each combination; `effect` maps a point to the mean return."""
    found = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        returns = effect(**point) + noise * RNG.normal(size=seeds)
        settings = {name: str(x) for name, x in point.items()}
        found.append(sample(str(point), returns)._replace(settings=settings))
    return found


def test_importance_of_effects_that_add():
    # Values -1, 0, 1 have a variance of 2/3, and -1, 1 of 1.
    found = grid(lambda a, b: 3.0 * a + 2.0 * b, a=(-1, 0, 1), b=(-1, 1))
    shares = sweep_figures.importance_of(found)
    a, b = 9 * 2 / 3, 4.0
    expected = {"a": a / (a + b), "b": b / (a + b), "together": 0.0, "seeds": 0.0}
    assert shares == pytest.approx(expected)


def test_what_settings_do_together_only():
    found = grid(lambda a, b: 5.0 * a * b, a=(-1, 1), b=(-1, 1))
    shares = sweep_figures.importance_of(found)
    assert shares == pytest.approx({"a": 0, "b": 0, "together": 1, "seeds": 0})


def test_noise_alone_has_no_importance_on_average():
    shares = [
        sweep_figures.importance_of(
            grid(lambda a, b: 0.0, noise=1.0, seeds=4, a=range(3), b=range(4))
        )
        for _ in range(30)
    ]
    assert np.mean([x["seeds"] for x in shares]) > 0.9
    # Without what is taken out, a would have 2/11 of the variance between 12 means of
    # 4 agents: 4% of all. (Not 0, since no share is below 0.)
    assert np.mean([x["a"] for x in shares]) < 0.03


@pytest.mark.parametrize(
    "axes",
    [
        {"a": (0.1, 0.2)},
        {"a": (1, 2, 3), "b": ("x", "y")},
        {"a": range(3), "b": range(2), "c": range(2), "d": range(2)},
        {"a": range(8), "b": range(8), "c": ("relu", "tanh")},
    ],
    ids=lambda axes: "x".join(str(len(x)) for x in axes.values()),
)
def test_any_grid_has_figures(axes, tmp_path):
    def effect(**point):
        return sum(float(hash(str(x)) % 7) for x in point.values())

    found = grid(effect, noise=0.5, **axes)
    files = figures.draw_all(tmp_path, found)
    names = {path.stem for path in files}
    assert {"settings", "learning_curves", "profile"} <= names
    assert ({"importance", "pair"} <= names) == (len(axes) > 1)
    panels = [x for x in sweep_figures.marginals(found).axes if x.get_visible()]
    assert [panel.get_xlabel() for panel in panels] == list(axes)
    # The marginal mean at each value is that of all combinations with it.
    for panel, (name, values) in zip(panels, axes.items(), strict=True):
        line = next(x for x in panel.lines if len(x.get_ydata()) == len(values)
                    and x.get_linestyle() == "-")  # fmt: skip
        expected = [
            np.mean([s.known.mean() for s in found if s.settings[name] == str(value)])
            for value in values
        ]
        np.testing.assert_allclose(line.get_ydata(), expected)


@pytest.mark.parametrize(("seeds", "bars"), [(1, 0), (5, 0), (6, 3)])
def test_few_agents_of_a_combination_have_no_bar(seeds, bars):
    # However many there are of a value: here 4 combinations of each.
    found = grid(lambda a, b: a + b, noise=1.0, seeds=seeds, a=range(3), b=range(4))
    figure = sweep_figures.marginals(found)
    (lines,) = figure.axes[0].collections
    ends = [x for x in lines.get_segments() if len(x) and np.isfinite(x).all()]
    assert len(ends) == bars
    told = figure.get_suptitle()
    assert ("no intervals: a combination has fewer than 6" in told) == (bars == 0)
    assert ("bars: 95% intervals" in told) == (bars > 0)


def test_one_agent_each_does_not_tell_chance_from_settings_together():
    noise = grid(lambda a, b: 0.0, noise=1.0, seeds=1, a=range(4), b=range(4))
    shares = sweep_figures.importance_of(noise)
    assert set(shares) == {"a", "b", "rest"}
    assert sum(shares.values()) == pytest.approx(1.0)
    labels = [x.get_text() for x in sweep_figures.importance(noise).axes[0].texts]
    assert len(labels) == 3
    ticks = sweep_figures.importance(noise).axes[0].get_yticklabels()
    assert "settings together,\nor chance" in [x.get_text() for x in ticks]
    assert "together" in sweep_figures.importance_of(
        grid(lambda a, b: 0.0, noise=1.0, seeds=2, a=range(4), b=range(4))
    )


def test_figures_tell_who_diverged():
    found = grid(lambda a: 1.0 * a, noise=1.0, a=range(2))
    found[0].greedy[0] = np.nan
    assert "without 1 of 12 agents" in sweep_figures.marginals(found).get_suptitle()
    figures_of = figures.of_one_env(found)
    for name in ("profile", "learning_curves"):
        told = figures_of[name]().axes[0].get_xlabel()
        assert told.endswith("without agents that diverged")


def test_of_many_the_best_few_are_named_below_the_axes():
    found = grid(lambda a: float(a), a=range(20))
    figure = figures.of_one_env(found)["profile"]()
    (legend,) = figure.legends
    assert [x.get_text() for x in legend.get_texts()] == [
        f"{{'a': {a}}} (6)" for a in (19, 18, 17, 16, 15)
    ]
    assert figure.axes[0].get_legend() is None
    FigureCanvasAgg(figure).draw()
    box = legend.get_window_extent()
    assert box.y1 <= figure.axes[0].get_window_extent().y0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_what_is_no_whole_grid_has_no_marginals():
    found = grid(lambda a, b: 0.0, a=(1, 2), b=(1, 2))
    assert sweep_figures.is_grid(found)
    assert not sweep_figures.is_grid(found[:3])
    assert "settings" not in figures.of_one_env(found[:3])
    assert not sweep_figures.is_grid([found[0], found[0]])


def test_a_curve_of_fewer_agents_is_dotted_and_has_no_band():
    stopped = sample("x", [500.0] * 8)
    agents = dict(stopped.curves.agents)
    agents[0] = np.array([[0.0, 400.0], [0.0, 9.0]])
    stopped = stopped._replace(curves=stopped.curves._replace(agents=agents))
    figure = comparison_figures.figure_of(comparison_figures.curves, [stopped])
    whole, rest, _ = figure.axes[0].lines
    assert whole.get_xdata()[-1] <= 400 < rest.get_xdata()[-1]
    assert rest.get_linestyle() == ":"
    (band,) = figure.axes[0].collections
    assert band.get_paths()[0].vertices[:, 0].max() <= 400
    assert "dotted: some agents have stopped" in figure.axes[0].get_xlabel()
