"""Figures of samples side by side: curves, times to solve, performance profiles.

A few samples have a colour and a name; where there are more, the best few have, and the
others are grey, to be seen and not to be told apart.
"""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from pgjax.app.analysis import aggregates, intervals
from pgjax.app.analysis.bootstrap import FEWEST
from pgjax.app.analysis.environments import Method
from pgjax.app.analysis.learning_curve import GREY, save
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.survival import survival
from pgjax.app.errors import naming
from pgjax.app.shown_names import in_a_figure

# Okabe and Ito's palette, without its yellow, which is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
NAMED = len(COLOURS)  # samples with a colour and a name, at most
BEST = 5  # of more
PALE = "#BBBBBB"
_WIDE = 84  # characters of a line of a legend
Fill = Callable[[Axes, Sequence[Sample], Sequence[Sample]], None]


def draw(path: pathlib.Path, fill: Fill, samples: Sequence[Sample]) -> pathlib.Path:
    """Draws one figure of a few samples, all named; returns its file."""
    with naming(path):
        save(figure_of(fill, samples), path)
    return path


def figure_of(
    fill: Fill, named: Sequence[Sample], others: Sequence[Sample] = ()
) -> Figure:
    """One figure, its legend below it.

    Args:
      fill: draws into the axes.
      named: samples with a colour and a name, `NAMED` at most.
      others: samples that are drawn grey.
    """
    figure, axes = new_figure()
    fill(axes, named, others)
    finish(figure, axes)
    return figure


def new_figure() -> tuple[Figure, Axes]:
    """A figure of the usual size, and its axes."""
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: Figure, axes: Axes) -> None:
    """Adds a grid, and the legend below the axes, which grows the figure."""
    plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        short = max(map(len, labels)) <= _WIDE // 2
        columns = 2 if short and len(labels) > 1 else 1
        rows = -(-sum(1 + label.count("\n") for label in labels) // columns)
        figure.set_figheight(4.0 + 0.19 * rows)
        figure.legend(
            handles, labels, loc="outside lower left", ncols=columns, fontsize=8,
            frameon=False,
        )  # fmt: skip


def plain(axes: Axes) -> None:
    """A light grid, and no box."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _look(i: int) -> dict:
    return {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.6, "zorder": 3}


def curves(axes: Axes, named: Sequence[Sample], others: Sequence[Sample]) -> None:
    """Learning curves: where agents have stopped, dotted and without a band."""
    everyone = [*named, *others]
    stopped = False
    for sample in others:
        if sample.curves.env_steps.size:
            iqm = intervals.iqm_curve(sample.curves.recent_return)
            axes.plot(sample.curves.env_steps, iqm, color=PALE, lw=0.7, zorder=1)
    for i, sample in enumerate(named):
        steps, returns = sample.curves[:2]
        if not steps.size:
            continue
        iqm, whole = intervals.iqm_curve(returns), sample.curves.whole
        axes.plot(steps[:whole], iqm[:whole], label=label_of(sample), **_look(i))
        if whole < len(steps):
            stopped = True
            rest = slice(max(whole - 1, 0), None)
            axes.plot(steps[rest], iqm[rest], **_look(i) | {"ls": ":"})
        if len(returns) >= FEWEST:
            _, low, high = intervals.curve(returns[:, :whole])
            colour = _look(i)["color"]
            axes.fill_between(steps[:whole], low, high, color=colour, alpha=0.2, lw=0)
    for level in {s.solved_return for s in everyone if s.solved_return is not None}:
        axes.axhline(level, color=GREY, ls="--", lw=0.9)
    few = min(len(s.curves.recent_return) for s in named) < FEWEST
    title = "IQM over agents" + ("" if few else ", 95% bootstrap band")
    axes.set_title(f"{_title(everyone, others)}: {title}", fontsize=10)
    dotted = "; dotted: some agents have stopped" if stopped else ""
    if any(sample.num_diverged for sample in everyone):
        dotted += "; without agents that diverged"
    axes.set_xlabel(f"environment steps per agent{dotted}")
    axes.set_ylabel("mean return of the last 100 episodes")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def profile(axes: Axes, named: Sequence[Sample], others: Sequence[Sample]) -> None:
    """The share of agents above each return."""
    everyone = [s for s in [*named, *others] if s.known.size]
    returns = np.concatenate([sample.known for sample in everyone])
    spread = max(np.ptp(returns), 1e-6)
    levels = np.linspace(returns.min() - 0.02 * spread, returns.max(), 200)
    for sample in others:
        if sample.known.size:
            share = (sample.known[:, None] > levels).mean(0)
            axes.plot(levels, share, color=PALE, lw=0.7, zorder=1)
    for i, sample in enumerate(named):
        if not sample.known.size:
            continue
        share, low, high = intervals.performance_profile(sample.known, levels)
        axes.plot(levels, share, label=label_of(sample), **_look(i))
        if sample.known.size >= FEWEST:
            colour = _look(i)["color"]
            axes.fill_between(levels, low, high, color=colour, alpha=0.2, lw=0)
    axes.set_title(f"{_title(everyone, others)}: performance profile", fontsize=10)
    without = "; without agents that diverged"
    diverged = any(sample.num_diverged for sample in [*named, *others])
    axes.set_xlabel(
        f"return of the greedy policy after training{without if diverged else ''}"
    )
    axes.set_ylabel("share of agents above it")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def draw_time_to_solve(
    axes: Axes, named: Sequence[Sample], others: Sequence[Sample] = ()
) -> None:
    """The share of agents that have solved the task, by environment steps."""
    everyone = [*named, *others]
    levels = {s.solved_return for s in everyone} - {None}
    for sample in others:
        if sample.solved_return is not None:
            steps, solved, _, _ = _solved(sample)
            axes.step(steps, solved, where="post", color=PALE, lw=0.7, zorder=1)
    for i, sample in enumerate(named):
        if sample.solved_return is None:
            continue
        steps, solved, low, high = _solved(sample)
        axes.step(steps, solved, where="post", label=label_of(sample), **_look(i))
        if len(sample.seeds) >= FEWEST:
            colour = _look(i)["color"]
            axes.fill_between(
                steps, low, high, step="post", color=colour, alpha=0.15, lw=0
            )
    above = " or ".join(f"{level:g}" for level in sorted(levels))  # type: ignore
    axes.set_title(
        f"{_title(everyone, others)}: solved (mean of 100 episodes above {above}), "
        "Kaplan-Meier",
        fontsize=9,
    )
    axes.set_xlabel("environment steps per agent")
    axes.set_ylabel("share of agents that have solved it")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _solved(sample: Sample) -> tuple[np.ndarray, ...]:
    """Steps, the share that has solved the task from there on, and its ends.

    Before the first agent has, there is no band.
    """
    found, end = (
        survival(sample.steps_to_solve, sample.env_steps),
        sample.env_steps.max(),
    )
    shares = (
        1.0 - np.concatenate([[1.0], share, share[-1:] if len(share) else [1.0]])
        for share in (found.unsolved, found.high, found.low)
    )
    return np.concatenate([[0.0], found.steps, [end]]), *shares


def normalized_profile(axes: Axes, methods: Sequence[Method]) -> None:
    """The share of agents of all environments above each normalised score."""
    scores = np.concatenate([x for method in methods for x in method.scores])
    low_end, high_end = min(0.0, scores.min()), max(1.0, scores.max())
    levels = np.linspace(low_end - 0.02, high_end, 200)
    for i, method in enumerate(methods[:NAMED]):
        share, low, high = aggregates.performance_profile(method.scores, levels)
        number = sum(len(sample.seeds) for sample in method.samples)
        diverged = sum(sample.num_diverged for sample in method.samples)
        told = f", {diverged} diverged and left out" if diverged else ""
        label = f"{in_a_figure(method.name)} ({number}{told})"
        axes.plot(levels, share, label=label, **_look(i))
        if min(map(len, method.scores)) >= FEWEST:
            colour = _look(i)["color"]
            axes.fill_between(levels, low, high, color=colour, alpha=0.2, lw=0)
    envs = in_a_figure(", ".join(sample.env for sample in methods[0].samples))
    axes.set_title(f"{envs}: performance profile", fontsize=10)
    axes.set_xlabel("normalised score (0: random actions, 1: reference)")
    axes.set_ylabel("share of agents above it")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def label_of(sample: Sample) -> str:
    """Its name, and how many agents it has; in several lines if it is long."""
    diverged = f", {sample.num_diverged} diverged" if sample.num_diverged else ""
    name = in_a_figure(sample.name, longest=2 * _WIDE)
    text = f"{name} ({len(sample.seeds)}{diverged})"
    if len(text) <= _WIDE:
        return text
    return "\n".join(textwrap.wrap(text, _WIDE, break_on_hyphens=False))


def _title(samples: Sequence[Sample], others: Sequence[Sample]) -> str:
    env = in_a_figure(samples[0].env)
    if not others:
        return env
    return f"{env}, the best {len(samples) - len(others)} of {len(samples)}"
