"""What a study came to: its runs side by side, and methods across environments."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pgjax.app import output, tables
from pgjax.app.analysis import environments, intervals, score_tables
from pgjax.app.analysis.bootstrap import FEW, FEWEST
from pgjax.app.analysis.normalization import OWN, read
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import load_all
from pgjax.app.errors import UsageError
from pgjax.app.shown_names import as_argument, as_heading, one_line
from pgjax.app.tables import FEW_DOZEN, Column, Table


def print_study(study: pathlib.Path) -> None:
    """Prints what the runs of a study came to, and methods across environments."""
    samples = load_all([str(study)])
    console = output.console()
    table = runs_table(samples)
    if (left := len(table.rows) - FEW_DOZEN) > 0:
        rows, more = table.rows[:FEW_DOZEN], f"and {left} rows more"
        table = table._replace(rows=rows, notes=[more, *table.notes])
    tables.print_table(table, console)
    if len({sample.env for sample in samples}) > 1:
        try:
            found = environments.methods(samples, None)
        except UsageError as error:
            console.print(f"Scores across environments: {error}.", soft_wrap=True)
        else:
            console.print()
            tables.print_table(environments.aggregate_table(found), console)
    path = as_argument(study)
    console.print(
        f"results in {one_line(study)}, a directory for each run\n"
        f"next: pgjax report {path}    pgjax compare {path}",
        soft_wrap=True,
    )


def runs_table(samples: Sequence[Sample]) -> Table:
    """A row for each algorithm, environment, and combination of a grid.

    Args:
      samples: of the runs of a study.
    """
    known = read(OWN)
    names = dict.fromkeys(name for s in samples for name in s.settings)
    columns: list[tuple[Column, Callable[[Sample], Any]]] = [
        (Column("env", "environment", fixed=True), lambda s: s.env),
        (Column("algorithm", "algorithm", fixed=True), lambda s: s.algorithm),
        *(
            (
                Column(name, as_heading(name), fixed=True),
                partial(score_tables.setting, name),
            )
            for name in names
        ),
        (Column("agents", "agents", "d", fixed=True), lambda s: len(s.seeds)),
        (Column("steps", "env steps\nat most", ",d", fixed=True), _steps),
    ]
    if any(s.num_diverged for s in samples):
        diverged = Column("diverged", "diverged", "d")
        columns.append((diverged, lambda s: s.num_diverged or None))
    iqm = score_tables.of_returns(intervals.interquartile_mean)
    columns.append((Column("iqm", "IQM of\nreturns", ".1f"), iqm))
    if any(s.solved_return is not None for s in samples):
        solved = Column("solved", "solved", ".0%", fixed=True)
        columns.append((solved, score_tables.solved))

    def normalized(sample: Sample) -> float | None:
        scale = known.get(sample.env)
        if scale is None or not sample.known.size:
            return None
        return float(scale.normalize(sample.known).mean())

    if any(s.env in known for s in samples):
        mean = Column("normalized", "mean,\nnormalised", ".3f")
        columns.append((mean, normalized))
    return Table(
        "Returns of the greedy policy",
        [column for column, _ in columns],
        [[cell(sample) for _, cell in columns] for sample in samples],
        [_about(samples)],
        "runs",
    )


def _steps(sample: Sample) -> int:
    """How many the agent took that took most: others may have stopped, or diverged."""
    return int(sample.env_steps.max())


def _about(samples: Sequence[Sample]) -> str:
    told = "Brackets: 95% intervals over agents (IQM: bootstrap; solved: "
    told += "Clopper-Pearson)."
    if any(FEWEST <= sample.known.size < FEW for sample in samples):
        told += f" With fewer than {FEW} agents, bootstrap intervals are too narrow."
    return told
