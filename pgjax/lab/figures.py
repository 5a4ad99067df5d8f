"""Figures of samples side by side: curves, times to solve, performance profiles."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from pgjax.lab import statistics
from pgjax.lab.errors import UsageError
from pgjax.lab.plots import GREY
from pgjax.lab.samples import Sample

# Okabe and Ito's palette, without its yellow, which is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", ":")


def draw_all(directory: pathlib.Path, samples: list[Sample]) -> list[pathlib.Path]:
    """Draws what can be drawn of the samples; returns the files.

    Raises:
      UsageError: for more samples than can be told apart.
    """
    most = len(COLOURS) * len(DASHES)
    if len(samples) > most:
        raise UsageError(f"a figure can show {most} runs, and these are {len(samples)}")
    figures = [("learning_curves.png", _curves), ("profile.png", _profile)]
    if any(np.isfinite(sample.steps_to_solve).any() for sample in samples):
        figures.append(("time_to_solve.png", _time_to_solve))
    return [_draw(directory / name, draw, samples) for name, draw in figures]


def _draw(
    path: pathlib.Path,
    draw: Callable[[Axes, list[Sample]], None],
    samples: list[Sample],
) -> pathlib.Path:
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    draw(axes, samples)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    columns = 1 if len(samples) <= 6 else 2
    axes.legend(frameon=False, fontsize=7, ncols=columns, loc="best")
    figure.savefig(path)
    return path


def _look(i: int) -> dict:
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i // len(COLOURS)],
        "linewidth": 1.6,
    }


def _curves(axes: Axes, samples: list[Sample]) -> None:
    for i, sample in enumerate(samples):
        steps, returns = sample.curves
        if not steps.size:
            continue
        iqm, low, high = statistics.curve(returns)
        axes.plot(steps, iqm, label=_label(sample), **_look(i))
        axes.fill_between(steps, low, high, color=_look(i)["color"], alpha=0.2, lw=0)
    level = samples[0].solved_return
    if level is not None:
        axes.axhline(level, color=GREY, ls="--", lw=0.9)
    axes.set_title(
        f"{samples[0].env}: IQM over agents, 95% bootstrap band", fontsize=10
    )
    axes.set_xlabel("environment steps per agent")
    axes.set_ylabel("mean return of the last 100 episodes")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _profile(axes: Axes, samples: list[Sample]) -> None:
    samples = [s._replace(greedy=s.greedy[np.isfinite(s.greedy)]) for s in samples]
    samples = [sample for sample in samples if sample.greedy.size]
    if not samples:
        return
    returns = np.concatenate([sample.greedy for sample in samples])
    spread = max(np.ptp(returns), 1e-6)
    levels = np.linspace(returns.min() - 0.02 * spread, returns.max(), 200)
    for i, sample in enumerate(samples):
        share, low, high = statistics.performance_profile(sample.greedy, levels)
        axes.plot(levels, share, label=_label(sample), **_look(i))
        axes.fill_between(levels, low, high, color=_look(i)["color"], alpha=0.2, lw=0)
    axes.set_title(
        f"{samples[0].env}: performance profile, 95% bootstrap band", fontsize=10
    )
    axes.set_xlabel("return of the greedy policy after training")
    axes.set_ylabel("share of agents above it")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _time_to_solve(axes: Axes, samples: list[Sample]) -> None:
    for i, sample in enumerate(samples):
        if sample.solved_return is None:
            continue
        curve = statistics.survival(sample.steps_to_solve, sample.env_steps)
        end = sample.env_steps.max()
        steps = np.concatenate([[0.0], curve.steps, [end]])
        solved, low, high = (
            1.0 - np.concatenate([[1.0], share, share[-1:] if len(share) else [1.0]])
            for share in (curve.unsolved, curve.high, curve.low)
        )
        axes.step(steps, solved, where="post", label=_label(sample), **_look(i))
        axes.fill_between(
            steps, low, high, step="post", color=_look(i)["color"], alpha=0.2, lw=0
        )
    level = samples[0].solved_return
    axes.set_title(
        f"{samples[0].env}: solved (mean of 100 episodes above {level:g}), "
        "Kaplan-Meier, 95% band",
        fontsize=9,
    )
    axes.set_xlabel("environment steps per agent")
    axes.set_ylabel("share of agents that have solved it")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _label(sample: Sample) -> str:
    return f"{sample.name} ({len(sample.seeds)})"
