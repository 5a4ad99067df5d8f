"""Figures, drawn without pyplot: no display, no global state."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from pgjax.app.analysis.bootstrap import FEWEST, mean_band
from pgjax.app.analysis.stopping import first_stop
from pgjax.app.shown_names import in_a_figure

# Okabe and Ito's palette, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
MANY = 36  # seeds, above which single ones are no longer told apart


def save(figure: Figure, file: Any, **options: Any) -> None:
    """Writes a figure; characters that the font has not are drawn as boxes, unsaid."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        figure.savefig(file, **options)


def learning_curve(
    path: pathlib.Path | BinaryIO,
    env_steps: Sequence[np.ndarray],
    recent_return: Sequence[np.ndarray],
    evaluations: Sequence[np.ndarray] = (),
    *,
    title: str,
    solved_return: float | None,
    diverged: int = 0,
) -> None:
    """Draws each seed's mean return of its last 100 episodes, their mean and its band.

    And the mean over seeds of their evaluations, where there are some.

    Args:
      path: the PNG to write.
      env_steps: for each seed, environment steps at each update.
      recent_return: for each seed, the mean return of its last 100 episodes.
      evaluations: (2, points) of each seed: environment steps, and the mean return of
        its greedy policy.
      title: what was trained on what.
      solved_return: the level that counts as solved, if there is one.
      diverged: how many more seeds there were, that diverged.
    """
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    stop = first_stop(steps[-1] for steps in env_steps)
    if len(env_steps) > MANY:
        _quantiles(axes, *_on_a_grid(env_steps, recent_return))
    else:
        _each(axes, env_steps, recent_return, named=bool(evaluations))
    if len(env_steps) > 1:
        grid, curves = _on_a_grid(env_steps, recent_return)
        _mean_and_band(axes, grid, curves, stop)
    if evaluations:
        _mean_of_evaluations(axes, evaluations)
    if solved_return is not None:
        axes.axhline(solved_return, color=GREY, linestyle="--", linewidth=0.9)
        axes.annotate(
            f"solved: {solved_return:g}",
            (1.0, solved_return),
            xycoords=("axes fraction", "data"),
            xytext=(-4, -3),  # below the end of the curves, as a rule
            textcoords="offset points",
            ha="right",
            va="top",
            color=GREY,
            fontsize=8,
        )
    axes.set_title(in_a_figure(title), fontsize=11)
    note = "; dotted: some have stopped" if np.isfinite(stop) else ""
    if diverged:
        note += f"\n{diverged} of {len(env_steps) + diverged} seeds diverged, not drawn"
    axes.set_xlabel(f"environment steps per seed{note}")
    axes.set_ylabel("mean return of the last 100 episodes")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(env_steps) > 1 or evaluations:
        axes.legend(framealpha=0.8, edgecolor="none", loc="best", fontsize=8)
    save(figure, path, format="png")


def _each(
    axes: Axes,
    env_steps: Sequence[np.ndarray],
    recent_return: Sequence[np.ndarray],
    *,
    named: bool,
) -> None:
    """A line for each seed, which is named if it is the only one, too."""
    many = len(env_steps) > 1
    look: dict = {"alpha": 0.35, "linewidth": 0.8} if many else {"linewidth": 1.5}
    for steps, returns in zip(env_steps, recent_return, strict=True):
        axes.plot(steps, returns, color=BLUE, **look)
    if many or named:
        label = f"{len(env_steps)} seeds" if many else "training"
        axes.plot([], [], color=BLUE, label=label, **look)


def _quantiles(axes: Axes, grid: np.ndarray, curves: np.ndarray) -> None:
    """What lines would make a solid blob of: where most seeds are, and all."""
    for share, alpha in ((100, 0.08), (80, 0.13), (50, 0.2)):
        low, high = np.percentile(curves, [50 - share / 2, 50 + share / 2], axis=0)
        words = f"the middle {share}%" if share < 100 else "all"
        label = f"{words} of {len(curves):,} seeds"
        axes.fill_between(grid, low, high, color=BLUE, alpha=alpha, lw=0, label=label)


def _on_a_grid(
    env_steps: Sequence[np.ndarray], recent_return: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) steps from where all seeds have a value, and (n, K) their returns.

    A seed that stopped early keeps its last value.
    """
    grid = np.linspace(
        max(steps[0] for steps in env_steps), max(steps[-1] for steps in env_steps), 200
    )
    pairs = zip(env_steps, recent_return, strict=True)
    return grid, np.stack([np.interp(grid, *pair) for pair in pairs])


def _mean_and_band(
    axes: Axes, grid: np.ndarray, curves: np.ndarray, first_stop: float
) -> None:
    """The mean over seeds, with its 95% interval, which no bound of a score crosses.

    From where the first seed has stopped, it is dotted, and has no interval.
    """
    label = f"mean of {len(curves):,} seeds"
    whole = max(int(np.searchsorted(grid, first_stop, side="right")), 1)
    if len(curves) >= FEWEST:
        low, high = mean_band(curves[:, :whole])
        axes.fill_between(grid[:whole], low, high, color=ORANGE, alpha=0.25, lw=0)
        label += ", 95% bootstrap interval"
    mean = curves.mean(0)
    look: dict[str, Any] = {"color": ORANGE, "linewidth": 2.0}
    axes.plot(grid[:whole], mean[:whole], label=label, **look)
    if whole < len(grid):
        axes.plot(grid[whole - 1 :], mean[whole - 1 :], linestyle=":", **look)


def _mean_of_evaluations(axes: Axes, evaluations: Sequence[np.ndarray]) -> None:
    """The mean over seeds, wherever one was evaluated.

    A seed that stopped early keeps its last value.
    """
    steps = np.unique(np.concatenate([steps for steps, _ in evaluations]))
    first = max(steps[0] for steps, _ in evaluations)
    grid = steps[steps >= first]
    curves = [np.interp(grid, *one) for one in evaluations]
    label = "evaluation, greedy"
    if len(evaluations) > 1:
        label += f", mean of {len(evaluations)}"
    together = all(np.array_equal(one[0], steps) for one in evaluations)
    marked = together and len(grid) <= 60
    look: dict = {"marker": "o", "markersize": 2.5} if marked else {}
    axes.plot(
        grid, np.mean(curves, axis=0), color=GREEN, linewidth=1.4, label=label, **look
    )
