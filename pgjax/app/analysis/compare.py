"""`pgjax compare`: runs side by side, with intervals and tests."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import rich.table
from rich import box

from pgjax.app import output
from pgjax.app.analysis import score_tables
from pgjax.app.analysis.samples import Sample, load_samples
from pgjax.app.errors import UsageError
from pgjax.app.shown_names import one_line


def compare(runs: Sequence[str], *, out: str | None = None) -> int:
    """Prints what runs came to, side by side.

    Interquartile means (IQM) of the greedy policies' returns, steps to solve with
    unsolved agents as censored, and comparisons with the first.

    Args:
      runs: directories of runs.
      out: draws figures into this directory, made if need be (default: none).

    Raises:
      UsageError: for what is no finished run, or runs of several environments.
    """
    samples = load_all(runs)
    console = output.console()
    if differing := score_tables.differences(samples):
        console.print(differing, soft_wrap=True)
    console.print(_rich(score_tables.scores(samples, full=False)))
    if len(samples) > 1:
        console.print(_rich(score_tables.against_the_first(samples)))
        console.print(score_tables.caveat(samples), soft_wrap=True)
    if out is not None:
        from pgjax.app.analysis import comparison_figures

        directory = pathlib.Path(out)
        directory.mkdir(parents=True, exist_ok=True)
        for path in comparison_figures.draw_all(directory, samples):
            console.print(one_line(path), soft_wrap=True)
    return 0


def load_all(runs: Sequence[str]) -> list[Sample]:
    """The samples of several directories, with names that tell them apart."""
    resolved = [pathlib.Path(run).resolve() for run in runs]
    for run, directory in zip(runs, resolved, strict=True):
        if resolved.count(directory) > 1:
            raise UsageError(f"{run} is given twice, and would look like twice as much")
    samples = []
    for run in runs:
        own = load_samples(pathlib.Path(run))
        if len(runs) > 1 and len(own) > 1:
            own = [s._replace(name=f"{pathlib.Path(run).name}: {s.name}") for s in own]
        samples += own
    names = [sample.name for sample in samples]
    if len(set(names)) < len(names):  # runs of one name in several places
        paths = [run for run in runs for _ in load_samples(pathlib.Path(run))]
        samples = [
            sample._replace(name=sample.name.replace(pathlib.Path(path).name, path, 1))
            for sample, path in zip(samples, paths, strict=True)
        ]
    envs = sorted({sample.env for sample in samples})
    if len(envs) > 1:
        raise UsageError(
            f"returns of {' and '.join(envs)} cannot be compared: pass runs of one "
            "environment"
        )
    return [s._replace(name=one_line(s.name), env=one_line(s.env)) for s in samples]


def _rich(table: score_tables.Table) -> rich.table.Table:
    shown = rich.table.Table(
        title=table.title,
        caption=table.caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for i, column in enumerate(table.columns):
        if i == 0:
            shown.add_column(column, overflow="fold")
        else:
            shown.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    return shown
