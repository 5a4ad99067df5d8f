"""`pgjax compare`: runs side by side, with intervals and tests."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

from pgjax.app import output, tables
from pgjax.app.analysis import (
    choice,
    curve_table,
    environments,
    ranking,
    score_tables,
)
from pgjax.app.analysis.ranking import SortBy
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import baseline, load_all
from pgjax.app.shown_names import one_line
from pgjax.app.table_formats import write
from pgjax.app.tables import FEW_DOZEN, Format, Table


def compare(
    runs: Sequence[str],
    *,
    where: dict | None = None,
    sort_by: SortBy | None = None,
    against: tuple[str, ...] = (),
    normalize: str | None = None,
    format: Format = "text",
    curves: str | None = None,
    out: str | None = None,
) -> int:
    """Prints what runs came to, side by side.

    Returns of the greedy policies, steps to solve with unsolved agents as censored,
    comparisons with one of them, and which is best: agents that diverged count as
    worst. Runs of several environments are compared by normalised scores as well.

    Args:
      runs: directories of runs, and of studies.
      where: only those with these settings, such as lam=0.95 or env=CartPole-v1.
      sort_by: best first, by this score (default: in the order of the grid); of
        several environments, iqm or mean.
      against: what the others are compared with: a run, settings such as lam=0.95, or
        best (default: the first); of several environments, a method, too.
      normalize: a TOML file with a random and a reference score of each environment, to
        compare across environments (default: pgjax's own).
      format: text for people; json, csv or latex, with nothing else on stdout.
      curves: writes learning curves at common numbers of environment steps into this
        CSV file, a row per agent and point (default: none).
      out: draws figures into this directory, made if need be (default: none).

    Raises:
      UsageError: for what is no finished run, or cannot be compared.
    """
    samples = load_all(runs, where)
    several = len({sample.env for sample in samples}) > 1
    about: dict[str, str | None] = {}
    told: list[str] = []
    most = FEW_DOZEN if format == "text" else None
    if several:
        found = environments.tables(samples, normalize, against, sort_by, most=most)
        told = environments.best(samples, normalize, sort_by or "iqm")
    else:
        environments.refuse_scale(samples, normalize)
        full = format != "text"
        found, about, told = one_environment(
            samples, sort_by, against, full=full, most=most
        )
    differing = score_tables.differences(samples)
    if format != "text":
        write(format, found, about, differing)
    else:
        print_all(differing, found, told)
    files = []
    if curves is not None:
        files.append(curve_table.write(pathlib.Path(curves), samples))
        if left_out := curve_table.left_out(samples):
            print(left_out, file=sys.stderr)
    if out is not None:
        files += _draw(pathlib.Path(out), samples, normalize, sort_by)
    if format == "text":
        for path in files:
            output.console().print(one_line(path), soft_wrap=True)
    return 0


def one_environment(
    samples: Sequence[Sample],
    sort_by: str | None,
    against: Sequence[str],
    *,
    full: bool = True,
    most: int | None = None,
) -> tuple[list[Table], dict[str, str | None], list[str]]:
    """Tables of one environment, what else is to be known, and that in words.

    Args:
      samples: of one environment.
      sort_by: a score to put them in order by; None to leave them.
      against: see `selection.baseline`.
      full: whether the median is there as well.
      most: rows of a table; None for all.
    """
    by = sort_by or "iqm"
    order = ranking.ranked(samples, by)
    first = baseline(samples, against, order[0])
    if sort_by:
        samples = order
    found = [score_tables.scores(samples, full=full, most=most)]
    if len(samples) == 1:
        return found, {}, []
    found.append(score_tables.against(samples, first, most=most))
    about = {
        "env": samples[0].env,
        "best": order[0].name,
        "best_by": by,
        "against_name": first.name,
        "rerun": choice.rerun(order),
        "checked_by": choice.check_name(order),
    }
    return found, about, choice.told(order, by)


def print_all(differing: str, found: Sequence[Table], told: Sequence[str]) -> None:
    """Prints tables for people; of one with many rows, the first few dozen."""
    console = output.console()
    if differing:
        output.print_prose(console, differing)
    for table in found:
        if table.left or len(table.rows) > FEW_DOZEN:
            table = shortened(table)
        tables.print_table(table, console)
        console.print()
    for line in told:
        if line.startswith(" "):  # a command, to be pasted whole
            console.print(line, soft_wrap=True)
        else:
            output.print_prose(console, line)


def shortened(table: Table) -> Table:
    """The first few dozen rows of a table, and how many there are."""
    left = table.left + max(len(table.rows) - FEW_DOZEN, 0)
    note = f"and {left} more rows: --format csv has all, --sort-by has the best first"
    return table._replace(rows=table.rows[:FEW_DOZEN], notes=[note, *table.notes])


def _draw(
    directory: pathlib.Path,
    samples: list[Sample],
    normalize: str | None,
    sort_by: str | None,
) -> list[pathlib.Path]:
    from pgjax.app.analysis import figures

    directory.mkdir(parents=True, exist_ok=True)
    return figures.draw_all(
        directory, samples, normalize=normalize, by=sort_by or "iqm"
    )
