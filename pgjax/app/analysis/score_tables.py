"""What samples come to, as tables: for the terminal, the report and other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pgjax.app.analysis import intervals, pairs, ranking, table_notes
from pgjax.app.analysis.bootstrap import Interval
from pgjax.app.analysis.evaluated import median_threshold
from pgjax.app.analysis.samples import Sample, conditions
from pgjax.app.analysis.selection import varied
from pgjax.app.analysis.survival import log_rank, survival
from pgjax.app.settings.grid import label
from pgjax.app.shown_names import as_heading
from pgjax.app.tables import Column, Steps, Table, number_or_text

# What tells samples apart: a column, and its cell of each sample.
Identity = list[tuple[Column, Callable[[Sample], Any]]]


def scores(samples: Sequence[Sample], *, full: bool, most: int | None = None) -> Table:
    """Returns of the trained greedy policies, and steps to solve.

    Args:
      samples: of one environment.
      full: whether the median is there too.
      most: rows; None for all.
    """
    budget = ranking.common_budget(samples)
    columns = [*identity(samples)]
    columns.append(
        (Column("agents", "agents", "d", fixed=True), lambda s: len(s.seeds))
    )
    if any(s.num_diverged for s in samples):
        diverged = Column("diverged", "diverged", "d")
        columns.append((diverged, lambda s: s.num_diverged))
    columns.append(
        (Column("iqm", "IQM", ".1f"), of_returns(intervals.interquartile_mean))
    )
    columns.append(
        (Column("mean", "mean", ".1f"), of_returns(intervals.bootstrapped_mean))
    )
    if any(s.gymnasium is not None for s in samples):
        gymnasium = Column("gymnasium_mean", "mean in\nGymnasium", ".1f")
        columns.append((gymnasium, _in_gymnasium))
    if full:
        columns.append(
            (Column("median", "median", ".1f"), of_returns(intervals.median))
        )
    columns.append((Column("lowest", "lowest", ".1f"), _lowest))
    if any(s.curves.env_steps.size for s in samples):
        area = Column("area", "area", ".1f")
        columns.append((area, lambda s: _number(ranking.area(s, budget))))
    if any(s.solved_return is not None for s in samples):
        columns.append((Column("solved", "solved", ".0%", fixed=True), solved))
        steps = Column("steps_to_solve", "median steps\nto solve", ",.0f", fixed=True)
        columns.append((steps, steps_to_solve))
    if table_notes.evaluated(samples):
        heading = f"median steps\nto {table_notes.level(samples)}, greedy"
        columns.append(
            (Column("steps_to_threshold", heading, ",.0f"), steps_to_threshold)
        )
    return Table(
        f"{samples[0].env}: returns of the greedy policy, and steps to solve",
        [column for column, _ in columns],
        [[cell(sample) for _, cell in columns] for sample in samples[:most]],
        [
            table_notes.about_intervals(samples, full=full)
            + table_notes.about_solving(samples)
            + table_notes.about_gymnasium(samples)
        ],
        "scores",
        len(samples) - len(samples[:most]),
    )


def identity(samples: Sequence[Sample]) -> Identity:
    """Columns that tell samples apart: the run, and the settings of the grids."""
    columns: Identity = []
    names = dict.fromkeys(name for s in samples for name in s.settings)
    several_runs = len({s.run for s in samples}) > 1
    if several_runs or not names or not all(s.run for s in samples):
        plain = not names or not all(s.run for s in samples)
        run = Column("run", "run", left=True)
        columns.append((run, (lambda s: s.name) if plain else _run_of))
        if plain:
            return columns
    for name in names:
        column = Column(name, as_heading(name), fixed=True)
        columns.append((column, partial(setting, name)))
    if len(samples) > 1 and not varied(samples) and not several_runs:
        columns.insert(0, (Column("run", "run", left=True), lambda s: s.name))
    return columns


def differences(samples: Sequence[Sample]) -> str:
    """In what tasks and budgets differ, which no table would tell; "" for nothing.

    Settings of the grids are columns of the tables, and returns are compared within an
    environment.
    """
    columns = {name for sample in samples for name in sample.settings}
    told: dict[str, None] = {}
    for env in dict.fromkeys(sample.env for sample in samples):
        own = [sample for sample in samples if sample.env == env]
        each = [conditions({**s.config, **dict.fromkeys(columns)}) for s in own]
        for name in each[0]:
            values: dict[str, list[str]] = {}
            for sample, of in zip(own, each, strict=True):
                values.setdefault(of[name], []).append(sample.name)
            if len(values) > 1:
                told[f"{name.replace('_', ' ')} ({_listed(values)})"] = None
    if not told:
        return ""
    return f"Not the same task or budget: these differ in {', '.join(told)}."


def _listed(values: Mapping[str, Sequence[str]]) -> str:
    """Values, and who has each."""
    return "; ".join(
        f"{value}: {', '.join(x[:3])}{' and others' if len(x) > 3 else ''}"
        for value, x in values.items()
    )


def against(
    samples: Sequence[Sample], baseline: Sample, *, most: int | None = None
) -> Table:
    """Every other sample compared with a baseline.

    Args:
      samples: the baseline among them.
      baseline: what the others are compared with.
      most: rows; None for all.
    """
    others = [sample for sample in samples if sample is not baseline]
    p = [_log_rank(other, baseline) for other in others]
    adjusted = pairs.holm(p)
    number = int(np.isfinite(adjusted).sum())
    # All samples, so that the columns are those of the scores.
    columns = identity(samples)
    rows = [
        [
            *(cell(other) for _, cell in columns),
            better(other, baseline),
            difference(other, baseline),
            _number(p[i]),
            _number(adjusted[i]),
        ]
        for i, other in enumerate(others[:most])
    ]
    tests = [
        Column("p", "p", ".2g"),
        Column(
            "p_holm", f"p, Holm\nof {number}", ".2g", for_programs=number == 1
        ),  # of one test, p itself
    ]
    return Table(
        f"Against {baseline.name}",
        [
            *(column for column, _ in columns),
            Column("p_better", "P(better)", ".2f"),
            Column("difference", "difference\nof means", "+.1f"),
            *(tests if number else []),
        ],
        [row if number else row[:-2] for row in rows],
        [table_notes.about_tests(samples, number)],
        "against",
        len(others) - len(rows),
    )


def better(one: Sample, other: Sample) -> Interval:
    """P(better) of an agent's return; one that diverged is worse than any other."""
    return pairs.probability_of_improvement(
        ranking.worst_if_diverged(one.greedy), ranking.worst_if_diverged(other.greedy)
    )


def steps_to_solve(sample: Sample) -> Steps | None:
    """The median number of steps to solve; None where no level counts as solved."""
    if sample.solved_return is None:
        return None
    median = survival(sample.steps_to_solve, sample.env_steps).median
    return Steps(median, float(sample.env_steps.max()))


def steps_to_threshold(sample: Sample) -> Steps | None:
    """The median of the steps of the first evaluation that reached the threshold.

    The threshold was reached since the evaluation before. None without evaluations
    while training, or a threshold.
    """
    found = sample.evaluated
    if found is None or not found.has_threshold:
        return None
    median = median_threshold(found)
    return Steps(median.by, median.beyond)


def of_returns(
    statistic: Callable[[np.ndarray], Interval],
) -> Callable[[Sample], Interval | None]:
    """A statistic of the agents that have not diverged, whose number is told."""
    return lambda sample: statistic(sample.known) if sample.known.size else None


def _in_gymnasium(sample: Sample) -> Interval | None:
    if sample.gymnasium is None:
        return None
    known = sample.gymnasium[np.isfinite(sample.gymnasium)]
    return intervals.bootstrapped_mean(known)


def _lowest(sample: Sample) -> float | None:
    return float(sample.known.min()) if sample.known.size else None


def solved(sample: Sample) -> Interval | None:
    """The share of agents that solved the task; None where no level is one."""
    if sample.solved_return is None:
        return None
    return intervals.share(sample.num_solved, len(sample.seeds))


def difference(one: Sample, other: Sample) -> Interval | None:
    """The difference of mean returns; None where all agents of one have diverged."""
    if not (one.known.size and other.known.size):
        return None
    return pairs.difference_of_means(one.known, other.known)


def setting(name: str, sample: Sample) -> Any:
    """A setting's value, also of a run in whose grid it is not; numbers stay such."""
    if name in sample.config:
        return number_or_text(label(sample.config[name]))
    return sample.settings.get(name, "")


def _run_of(sample: Sample) -> str:
    return sample.name.split(": ", 1)[0]


def _number(x: float) -> float | None:
    return None if np.isnan(x) else float(x)


def _log_rank(a: Sample, b: Sample) -> float:
    """The p-value; NaN where there is no test."""
    if a.solved_return != b.solved_return:
        return np.nan  # not the same event
    if not np.isfinite(np.concatenate([a.steps_to_solve, b.steps_to_solve])).any():
        return np.nan  # nobody has solved it
    return log_rank(a.steps_to_solve, a.env_steps, b.steps_to_solve, b.env_steps)
