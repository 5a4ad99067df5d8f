"""What each setting of a sweep does: marginal means, importance, pairs of settings.

The mean return of a combination of settings is split as in an analysis of variance:
into the effect of each setting by itself, averaged over all others, what settings do
together, and seeds. Where agents are few, the variance of seeds is in all of them, and
is taken out (epsilon squared).

References:
  Kelley, An unbiased correlation ratio measure, 1935; Hutter, Hoos and Leyton-Brown, An
  efficient approach for assessing hyperparameter importance, 2014 (marginals).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pgjax.app.analysis import bootstrap
from pgjax.app.analysis.bootstrap import FEWEST
from pgjax.app.analysis.comparison_figures import PALE, plain
from pgjax.app.analysis.learning_curve import BLUE
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import varied
from pgjax.app.shown_names import in_a_figure, in_words

_ACROSS = 3  # panels in a row


def is_grid(samples: Sequence[Sample]) -> bool:
    """Whether the samples are every combination, once, of settings that vary."""
    names = varied(samples)
    points = {tuple(s.settings.get(name, "") for name in names) for s in samples}
    whole = math.prod(len(values_of(samples, name)) for name in names)
    return bool(names) and len(points) == len(samples) == whole


def values_of(samples: Sequence[Sample], name: str) -> list[str]:
    """The values of a setting: numbers in their order, words as they come."""
    values = list(dict.fromkeys(s.settings.get(name, "") for s in samples))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


def marginals(samples: Sequence[Sample]) -> Figure:
    """A panel for each setting: the mean return at each value, over all others."""
    names = varied(samples)
    rows = -(-len(names) // _ACROSS)
    across = -(-len(names) // rows)
    figure = Figure(
        figsize=(max(2.3 * across, 4.2), 0.3 + 2.5 * rows),
        dpi=160,
        layout="constrained",
    )
    panels = figure.subplots(rows, across, sharey=True, squeeze=False)
    drawn = []
    for i, axes in enumerate(panels.flat):
        if i < len(names):
            drawn += _marginal(axes, samples, names[i], alone=len(names) == 1)
        else:
            axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("mean greedy return", fontsize=9)
    dots = "agents" if len(names) == 1 else "combinations"
    title = f"{in_a_figure(samples[0].env)}: mean at each value; dots: {dots}"
    notes = ["bars: 95% intervals"] if any(drawn) else []
    if not all(drawn):
        where = "elsewhere " if any(drawn) else ""
        notes.append(
            f"{where}no intervals: a combination has fewer than {FEWEST} agents"
        )
    figure.suptitle("\n".join([title, *notes, *_left_out(samples)]), fontsize=10)
    return figure


def _left_out(samples: Sequence[Sample]) -> list[str]:
    """How many agents diverged, which means are without; empty for none."""
    diverged = sum(sample.num_diverged for sample in samples)
    agents = sum(len(sample.seeds) for sample in samples)
    told = f"without {diverged} of {agents} agents, which diverged"
    return [told] if diverged else []


def _marginal(
    axes: Axes, samples: Sequence[Sample], name: str, *, alone: bool
) -> list[bool]:
    """Draws a panel; returns whether there is an interval at each value."""
    values = values_of(samples, name)
    middle, low, high = [], [], []
    for x, value in enumerate(values):
        own = [s for s in samples if s.settings.get(name, "") == value and s.known.size]
        dots = own[0].known if alone and own else [s.known.mean() for s in own]
        spread = np.linspace(-0.12, 0.12, len(dots)) if len(dots) > 1 else [0.0]
        axes.plot(
            x + np.array(spread)[: len(dots)], dots, "o", ms=2.5, color=PALE, zorder=1
        )
        strata = [s.known for s in own]
        middle.append(np.mean([x.mean() for x in strata]) if strata else np.nan)
        ends = _ends(strata)
        low.append(ends[0])
        high.append(ends[1])
    places = np.arange(len(values))
    axes.plot(places, middle, marker="o", ms=4, color=BLUE, lw=1.4)
    axes.vlines(places, low, high, color=BLUE, lw=2.2, alpha=0.5)
    axes.set_xticks(places, [in_a_figure(x, longest=12) for x in values], fontsize=8)
    if sum(map(len, values)) > 24:
        axes.tick_params("x", rotation=35)
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.set_xlabel(in_a_figure(in_words(name)), fontsize=9)
    axes.tick_params("y", labelsize=8)
    plain(axes)
    return np.isfinite(low).tolist()


def _ends(strata: Sequence[np.ndarray]) -> tuple[float, float]:
    """The ends of the mean over combinations; agents are drawn within each.

    NaN where one has fewer than `FEWEST`: its draws vary too little, or not at all.
    """
    if min(map(len, strata), default=0) < FEWEST:
        return np.nan, np.nan
    means = bootstrap.stratified(
        lambda drawn: np.mean([x.mean(1) for x in drawn], axis=0), strata
    )
    return bootstrap.percentiles(means)


def importance_of(samples: Sequence[Sample]) -> dict[str, float]:
    """The share of the variance of returns that is due to each setting by itself.

    And to what they do together ("together"), and to seeds ("seeds"); they sum to 1,
    but for shares that noise alone would explain, which are 0. Where a combination has
    one agent only, these two cannot be told apart and are one ("rest"), which is the
    noise of the settings' effects.

    Args:
      samples: a grid, see `is_grid`; all with an agent that has not diverged.
    """
    names = varied(samples)
    means = np.array([s.known.mean() for s in samples])
    within = np.array([s.known.var(ddof=1) if len(s.known) > 1 else 0 for s in samples])
    agents = 1 / np.mean([1 / len(s.known) for s in samples])  # harmonic mean
    noise = within.mean() / agents  # of the mean of a combination
    squares: dict[str, tuple[float, int]] = {}
    for name in names:
        labels = np.array([s.settings.get(name, "") for s in samples])
        values = values_of(samples, name)
        of = [means[labels == value].mean() - means.mean() for value in values]
        share = len(samples) / len(values)
        squares[name] = share * float(np.square(of).sum()), len(values) - 1
    rest = float(np.square(means - means.mean()).sum()) - sum(
        x for x, _ in squares.values()
    )
    freedom = len(samples) - 1 - sum(x for _, x in squares.values())
    if min(len(s.known) for s in samples) < 2:
        return _of_one_each(squares, max(rest, 0.0), freedom)
    squares["together"] = max(rest, 0.0), freedom
    found = {
        k: max(x - df * noise, 0.0) / len(samples) for k, (x, df) in squares.items()
    }
    found["seeds"] = float(within.mean())
    return _shares(found)


def _of_one_each(
    squares: dict[str, tuple[float, int]], rest: float, freedom: int
) -> dict[str, float]:
    noise = rest / freedom if freedom > 0 else 0.0
    found = {name: max(x - df * noise, 0.0) for name, (x, df) in squares.items()}
    total = sum(x for x, _ in squares.values()) + rest
    found["rest"] = total - sum(found.values())
    return _shares(found)


def _shares(found: dict[str, float]) -> dict[str, float]:
    total = sum(found.values())
    return {name: x / total if total > 0 else 0.0 for name, x in found.items()}


def importance(samples: Sequence[Sample]) -> Figure:
    """Bars: what the variance of returns is due to."""
    shares = importance_of(samples)
    own = sorted(varied(samples), key=lambda name: shares[name])
    if "rest" in shares:
        names = ["rest", *own]
    else:
        names = ["seeds", "together", *own] if len(own) > 1 else ["seeds", *own]
    figure = Figure(
        figsize=(6.4, 1.1 + 0.32 * len(names)), dpi=160, layout="constrained"
    )
    axes = figure.add_subplot()
    words = {
        "seeds": "seeds (chance)",
        "together": "settings together",
        "rest": "settings together,\nor chance",
    }
    labels = [words.get(x) or in_a_figure(in_words(x)) for x in names]
    colours = [PALE if name in words else BLUE for name in names]
    bars = axes.barh(labels, [shares[name] for name in names], color=colours)
    axes.bar_label(bars, [f"{shares[x]:.0%}" for x in names], padding=3, fontsize=8)
    axes.set_xlim(0, 1.08 * max(max(shares.values()), 1e-3))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(
        f"{in_a_figure(samples[0].env)}: what differences in return are due to",
        fontsize=10,
    )
    axes.set_xlabel("share of the variance of the greedy return over all agents")
    plain(axes)
    return figure


def pair(samples: Sequence[Sample]) -> Figure:
    """The two most important settings: the mean return of each pair of values."""
    shares = importance_of(samples)
    ranked = sorted(varied(samples), key=lambda name: -shares[name])[:2]
    across, down = sorted(ranked, key=lambda name: -len(values_of(samples, name)))
    columns, rows = values_of(samples, across), values_of(samples, down)
    means = np.full((len(rows), len(columns)), np.nan)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        own = [
            s.known.mean()
            for s in samples
            if s.settings.get(down) == row and s.settings.get(across) == column
        ]
        means[i, j] = np.mean(own)
    width = min(max(2.4 + 0.75 * len(columns), 4.6), 9.0)
    figure = Figure(
        figsize=(width, 1.3 + 0.45 * len(rows)), dpi=160, layout="constrained"
    )
    axes = figure.add_subplot()
    axes.pcolormesh(means, cmap="viridis")  # an image would be no drawing in an SVG
    axes.invert_yaxis()
    small = 8 if len(columns) <= 10 else 6
    for (i, j), value in np.ndenumerate(means):
        dark = value - means.min() < 0.6 * max(float(np.ptp(means)), 1e-9)
        colour = "white" if dark else "black"
        look: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": small,
            "color": colour,
        }
        axes.text(j + 0.5, i + 0.5, f"{value:.4g}", **look)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, [in_a_figure(x, longest=12) for x in columns]
    )
    axes.set_yticks(
        np.arange(len(rows)) + 0.5, [in_a_figure(x, longest=24) for x in rows]
    )
    axes.tick_params(labelsize=8)
    axes.set_xlabel(in_a_figure(in_words(across)), fontsize=9)
    axes.set_ylabel(in_a_figure(in_words(down)), fontsize=9)
    others = ", mean over the others" if len(varied(samples)) > 2 else ""
    env = in_a_figure(samples[0].env)
    axes.set_title(f"{env}: mean greedy return{others}", fontsize=10)
    return figure
