"""Figures of samples side by side: curves, times to solve, performance profiles."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from pgjax.app.analysis import intervals
from pgjax.app.analysis.learning_curve import GREY, save
from pgjax.app.analysis.samples import Sample
from pgjax.app.errors import UsageError, naming
from pgjax.app.shown_names import in_a_figure, in_words

# Okabe and Ito's palette, without its yellow, which is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", ":")
Fill = Callable[[Axes, list[Sample]], None]


def draw_all(directory: pathlib.Path, samples: list[Sample]) -> list[pathlib.Path]:
    """Draws what can be drawn of the samples; returns the files.

    Raises:
      UsageError: for more samples than can be told apart.
    """
    return [
        draw(directory / f"{name}.png", fill, samples)
        for name, fill in chosen(samples).items()
    ]


def chosen(samples: list[Sample]) -> dict[str, Fill]:
    """What can be drawn of the samples, by name.

    Raises:
      UsageError: for more samples than can be told apart.
    """
    most = len(COLOURS) * len(DASHES)
    if len(samples) > most:
        raise UsageError(f"a figure can show {most} runs, and these are {len(samples)}")
    figures: dict[str, Fill] = {}
    if any(sample.curves.env_steps.size for sample in samples):
        figures["learning_curves"] = _curves
    if any(np.isfinite(sample.steps_to_solve).any() for sample in samples):
        figures["time_to_solve"] = draw_time_to_solve
    if any(np.isfinite(sample.greedy).any() for sample in samples):
        figures["profile"] = _profile
    if swept(samples):
        figures["settings"] = _settings
    return figures


def draw(path: pathlib.Path, fill: Fill, samples: list[Sample]) -> pathlib.Path:
    """Draws one figure with a legend; returns its file."""
    with naming(path):
        save(figure_of(fill, samples), path)
    return path


def figure_of(fill: Fill, samples: list[Sample]) -> Figure:
    """One figure with a legend."""
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    fill(axes, samples)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        columns = 1 if len(samples) <= 6 else 2
        axes.legend(framealpha=0.8, edgecolor="none", fontsize=8, ncols=columns)
    return figure


def swept(samples: list[Sample]) -> str | None:
    """The first setting of a sweep that is a number and has several values."""
    points = [tuple(sample.settings.items()) for sample in samples]
    if len(set(points)) < len(points):  # of several sweeps, which may differ elsewhere
        return None
    for name in samples[0].settings:
        values = {sample.settings.get(name) for sample in samples}
        if len(values) > 1 and all(map(_is_number, values)):
            return name
    return None


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False


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
        iqm, low, high = intervals.curve(returns)
        axes.plot(steps, iqm, label=_label(sample), **_look(i))
        axes.fill_between(steps, low, high, color=_look(i)["color"], alpha=0.2, lw=0)
    level = samples[0].solved_return
    if level is not None:
        axes.axhline(level, color=GREY, ls="--", lw=0.9)
    axes.set_title(
        f"{_env(samples)}: IQM over agents, 95% bootstrap band",
        fontsize=10,
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
        share, low, high = intervals.performance_profile(sample.greedy, levels)
        axes.plot(levels, share, label=_label(sample), **_look(i))
        axes.fill_between(levels, low, high, color=_look(i)["color"], alpha=0.2, lw=0)
    axes.set_title(
        f"{_env(samples)}: performance profile, 95% bootstrap band",
        fontsize=10,
    )
    axes.set_xlabel("return of the greedy policy after training")
    axes.set_ylabel("share of agents above it")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def draw_time_to_solve(axes: Axes, samples: list[Sample]) -> None:
    """The share of agents that have solved the task, by environment steps."""
    levels = {s.solved_return for s in samples} - {None}
    for i, sample in enumerate(samples):
        if sample.solved_return is None:
            continue
        curve = intervals.survival(sample.steps_to_solve, sample.env_steps)
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
    above = " or ".join(f"{level:g}" for level in sorted(levels))  # type: ignore
    axes.set_title(
        f"{_env(samples)}: solved (mean of 100 episodes above {above}), "
        "Kaplan-Meier, 95% band",
        fontsize=9,
    )
    axes.set_xlabel("environment steps per agent")
    axes.set_ylabel("share of agents that have solved it")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _settings(axes: Axes, samples: list[Sample]) -> None:
    """Returns along one setting, a line for each combination of the others."""
    along = swept(samples)
    assert along is not None
    lines: dict[str, list[tuple[float, intervals.Interval]]] = {}
    for sample in samples:
        known = sample.greedy[np.isfinite(sample.greedy)]
        if along in sample.settings and known.size:
            rest = [
                f"{in_words(name)} {value}"
                for name, value in sample.settings.items()
                if name != along
            ]
            point = float(sample.settings[along]), intervals.interquartile_mean(known)
            lines.setdefault(", ".join(rest) or "all seeds", []).append(point)
    for i, (label, points) in enumerate(lines.items()):
        points.sort(key=lambda point: point[0])
        x = [value for value, _ in points]
        middle, low, high = np.array([interval for _, interval in points]).T
        axes.plot(x, middle, marker="o", ms=4, label=in_a_figure(label), **_look(i))
        axes.fill_between(x, low, high, color=_look(i)["color"], alpha=0.2, lw=0)
    values = [float(sample.settings[along]) for sample in samples]
    if min(values) > 0 and max(values) / min(values) > 5:
        axes.set_xscale("log")
    axes.set_title(f"{_env(samples)}: IQM over agents, 95% bootstrap band")
    axes.title.set_fontsize(10)
    axes.set_xlabel(in_a_figure(in_words(along)))
    axes.set_ylabel("return of the greedy policy after training")


def _label(sample: Sample) -> str:
    diverged = int(np.isnan(sample.greedy).sum())
    note = f", {diverged} diverged" if diverged else ""
    return f"{in_a_figure(sample.name)} ({len(sample.seeds)}{note})"


def _env(samples: list[Sample]) -> str:
    return in_a_figure(samples[0].env)
