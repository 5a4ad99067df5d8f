"""Which figures suit the samples, whatever the grid: drawn for compare and report."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pgjax.app.analysis import comparison_figures, environments, ranking, sweep_figures
from pgjax.app.analysis.comparison_figures import BEST, NAMED, figure_of
from pgjax.app.analysis.learning_curve import save
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import varied
from pgjax.app.errors import naming

Draw = Callable[[], Figure]


def draw_all(
    directory: pathlib.Path,
    samples: Sequence[Sample],
    *,
    normalize: str | None = None,
    by: str = "iqm",
) -> list[pathlib.Path]:
    """Draws what can be drawn of the samples as PNGs; returns the files."""
    files = []
    for name, figure in chosen(samples, normalize=normalize, by=by).items():
        path = directory / f"{name}.png"
        with naming(path):
            save(figure(), path)
        files.append(path)
    return files


def chosen(
    samples: Sequence[Sample], *, normalize: str | None = None, by: str = "iqm"
) -> dict[str, Draw]:
    """What can be drawn of the samples, by name.

    Args:
      samples: any number, of any environments.
      normalize: a file of scales, see `environments.methods`.
      by: the score by which the best few are named.
    """
    envs = sorted({sample.env for sample in samples})
    if len(envs) == 1:
        return of_one_env(samples, by)
    methods = environments.methods(samples, normalize)
    figures: dict[str, Draw] = {"normalized_profile": partial(_profile, methods)}
    for env in envs:
        own = of_one_env([s for s in samples if s.env == env], by)
        figures |= {f"{name}-{env.replace('/', '-')}": of for name, of in own.items()}
    return figures


def of_one_env(samples: Sequence[Sample], by: str = "iqm") -> dict[str, Draw]:
    """What can be drawn of samples of one environment, by name."""
    named, others = list(samples), []
    if len(named) > NAMED:
        order = ranking.ranked(samples, by)
        named, others = order[:BEST], order[BEST:]
    figures: dict[str, Draw] = {}

    def add(name: str, fill: comparison_figures.Fill) -> None:
        figures[name] = partial(figure_of, fill, named, others)

    if any(sample.known.size for sample in samples) and sweep_figures.is_grid(samples):
        figures["settings"] = partial(sweep_figures.marginals, samples)
        if all(sample.known.size for sample in samples) and len(varied(samples)) > 1:
            figures["importance"] = partial(sweep_figures.importance, samples)
            figures["pair"] = partial(sweep_figures.pair, samples)
    if any(sample.curves.env_steps.size for sample in samples):
        add("learning_curves", comparison_figures.curves)
    if any(np.isfinite(sample.steps_to_solve).any() for sample in samples):
        add("time_to_solve", comparison_figures.draw_time_to_solve)
    if any(sample.known.size for sample in samples):
        add("profile", comparison_figures.profile)
    return figures


def _profile(methods: Sequence[environments.Method]) -> Figure:
    figure, axes = comparison_figures.new_figure()
    comparison_figures.normalized_profile(axes, methods)
    comparison_figures.finish(figure, axes)
    return figure
