"""Figures of benchmarks."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from pgjax.app.analysis.learning_curve import BLUE, GREY, ORANGE, save
from pgjax.app.errors import naming
from pgjax.app.shown_names import in_a_figure
from pgjax.bench.measure import Result


def speeds(
    path: pathlib.Path,
    results: Sequence[Result],
    bounds: Sequence[float],
    *,
    title: str,
) -> None:
    """Draws each case's speed, with its range, its aim and its roofline.

    Args:
      path: the PNG to write.
      results: of which each gets a row.
      bounds: steps per second that the ceilings allow each of them.
      title: the device, in words.
    """
    height = 1.6 + 0.45 * len(results)
    figure = Figure(figsize=(8.0, height), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(results))
    for row, result, bound in zip(rows, results, bounds, strict=True):
        speed = result.steps_per_second
        axes.plot([speed.minimum, speed.maximum], [row, row], color=BLUE, lw=2)
        axes.plot(speed.median, row, "o", color=BLUE, markersize=7)
        axes.plot([bound] * 2, [row - 0.35, row + 0.35], color=ORANGE, lw=2)
        if result.case.aim is not None:
            axes.plot(result.case.aim, row, "v", color=GREY, markersize=6)
    axes.plot([], [], "o-", color=BLUE, lw=2, label="measured, median and range")
    axes.plot([], [], color=ORANGE, lw=2, label="roofline: the ceiling met first")
    if any(result.case.aim is not None for result in results):
        axes.plot([], [], "v", color=GREY, label="aim")
    names = [in_a_figure(result.case.name) for result in results]
    axes.set_yticks(list(rows), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps per second, whole training step")
    axes.set_title(in_a_figure(title), fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with naming(path):
        save(figure, path)
