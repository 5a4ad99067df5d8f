"""What a run came to, as the table that is printed at its end."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from pgjax.app import output, tables
from pgjax.app.analysis import intervals
from pgjax.app.analysis.bootstrap import FEW, FEWEST
from pgjax.app.analysis.evaluated import last_steps
from pgjax.app.analysis.survival import survival
from pgjax.app.play.list_environments import TWINS
from pgjax.app.runs.parquet import PARQUET
from pgjax.app.runs.periodic_evaluation_table import print_evaluations
from pgjax.app.runs.progress import count, seconds
from pgjax.app.runs.results import (
    BEST_PARAMS,
    CURVE,
    EVALUATIONS,
    METRICS,
    PARAMS,
    SUMMARY,
)
from pgjax.app.runs.summary import title_of
from pgjax.app.settings.run_settings import Config
from pgjax.app.shown_names import as_argument, as_heading, one_line
from pgjax.app.tables import FEW_DOZEN, Column, Steps, Table

# Files of a run for people to look at, those that are there.
RESULTS = (
    *(CURVE, METRICS, PARQUET, EVALUATIONS, SUMMARY, PARAMS, BEST_PARAMS),
    *("tensorboard", "wandb"),
)


def print_outcome(
    directory: pathlib.Path, config: Config, summary: dict[str, Any], names: list[str]
) -> None:
    """Prints what a run came to, with a grid or without."""
    if names:
        print_points(directory, config, summary, names)
    else:
        print_summary(directory, config, summary)


def print_line(
    directory: pathlib.Path, config: Config, summary: dict[str, Any], names: list[str]
) -> None:
    """Prints what one run of a study came to, on stderr: its table comes at the end."""
    rows = summary["agents"]
    returns = [row["greedy_return"]["mean"] for row in rows]
    known = [x for x in returns if x is not None]
    told = [f"mean return {np.mean(known):.1f}"] if known else []
    if config.solved_return is not None:
        solved = sum(row["steps_to_solve"] is not None for row in rows)
        told.append(f"solved {solved}/{len(rows)}")
    if len(known) < len(rows):
        told.append(f"{len(rows) - len(known)} diverged")
    told.append(seconds(summary["wall_seconds"]))
    output.console(stderr=True).print(" · ".join(told), soft_wrap=True)


def print_points(
    directory: pathlib.Path, config: Config, summary: dict[str, Any], names: list[str]
) -> None:
    """Prints a line for each combination of a sweep's settings."""
    points: dict[tuple, list[dict[str, Any]]] = {}
    for row in summary["agents"]:
        points.setdefault(tuple(row[name] for name in names), []).append(row)
    each = max(len(rows) for rows in points.values())
    agents = count(len(summary["agents"]))
    columns = [Column(name, as_heading(name), fixed=True) for name in names]
    columns += _score_columns(config.solved_return)
    cells = [
        [*map(str, point), *_scores(rows, config)] for point, rows in points.items()
    ]
    table = Table(
        f"{config.algorithm}: {agents} agents, {each} of each", columns, cells
    )
    told = [_about(each)]
    if len(cells) > FEW_DOZEN:
        table = table._replace(rows=cells[:FEW_DOZEN])
        told.insert(0, f"and {len(cells) - FEW_DOZEN} combinations more")
    tables.print_table(table._replace(notes=told))
    if config.eval_every is not None:
        print_evaluations(config, summary, names)
    console = output.console()
    console.print(
        f"{seconds(summary['wall_seconds'])} in all: compiling "
        f"{seconds(summary['compile_seconds'])}, training "
        f"{seconds(summary['train_seconds'])} "
        f"({count(summary['env_steps'])} env steps)\n"
        f"{_results(directory)}\nnext: pgjax report {as_argument(directory)}",
        soft_wrap=True,
    )


def _score_columns(level: float | None) -> list[Column]:
    """What agents of the same settings come to."""
    columns = [
        Column("diverged", "diverged", "d", fixed=True),
        Column("greedy", "greedy return\nIQM [95%]", ".1f"),
        Column("sampled", "sampled return\nIQM [95%]", ".1f"),
    ]
    if level is not None:
        columns.append(Column("solved", "solved\n[95%]", ".0%", fixed=True))
        steps = "steps to solve\nmedian [95%]"
        columns.append(Column("steps_to_solve", steps, ",.0f", fixed=True))
    return columns


def _scores(rows: list[dict[str, Any]], config: Config) -> list[Any]:
    """Cells of `_score_columns`, of agents of the same settings."""
    diverged = sum(row["diverged"] is not None for row in rows)
    cells: list[Any] = [diverged or None]
    for kind in ("greedy_return", "sampled_return"):
        means = [row[kind]["mean"] for row in rows]
        known = np.array([x for x in means if x is not None])
        cells.append(intervals.interquartile_mean(known) if known.size else None)
    if config.solved_return is not None:
        steps = np.array([row["steps_to_solve"] or np.nan for row in rows])
        last = last_steps(rows)
        cells.append(intervals.share(int(np.isfinite(steps).sum()), len(rows)))
        cells.append(Steps(survival(steps, last).median, float(last.max())))
    return cells


def _about(agents: int) -> str:
    """What the intervals of so many agents are."""
    told = "IQM: the interquartile mean over agents"
    if agents < FEWEST:  # the table says that they are too few
        return f"{told}."
    told += ", with its 95% bootstrap interval"
    return (
        f"{told}."
        if agents >= FEW
        else f"{told}, which is too narrow with fewer than {FEW}."
    )


def print_summary(run: pathlib.Path, config: Config, summary: dict[str, Any]) -> None:
    """Prints a table of the seeds, of many what they come to, and where all is."""
    rows = summary["agents"]
    many = len(rows) > FEW_DOZEN
    tables.print_table(_together(config, rows) if many else _seeds(config, rows))
    if config.eval_every is not None:
        print_evaluations(config, summary, ())
    console = output.console()
    wall, compiling = summary["wall_seconds"], summary["compile_seconds"]
    training = summary["train_seconds"]
    speed = summary["env_steps"] / max(training, 1e-9)
    console.print(
        f"{seconds(wall)} in all: compiling {seconds(compiling)}, training "
        f"{seconds(training)} ({count(summary['env_steps'])} env steps, "
        f"{count(speed)}/s)",
        soft_wrap=True,
    )
    firsts = [row["seconds_to_solve"] for row in rows]
    firsts = [first for first in firsts if first is not None]
    if firsts:
        console.print(f"first seed solved {seconds(min(firsts))} after the start")
    again = as_argument(run)
    render = f"    pgjax render {again}" if config.env in TWINS else ""
    console.print(
        f"{_results(run)}\nnext: pgjax evaluate {again}{render}", soft_wrap=True
    )


def _results(run: pathlib.Path) -> str:
    """Where the results are, and how to send those that are to be sent."""
    names = [name for name in RESULTS if (run / name).exists()]
    told = f"results in {one_line(run)} ({', '.join(names)})"
    offline = next(run.glob("wandb/offline-run-*"), None)
    if offline is None:
        return told
    return f"{told}\nto send them: wandb sync {as_argument(run)}/wandb/offline-run-*"


def _seeds(config: Config, rows: list[dict[str, Any]]) -> Table:
    """A row for each seed."""
    level, episodes = config.solved_return, f"mean of {config.eval_episodes} episodes"
    columns = [
        Column("seed", "seed", "d"),
        Column("greedy", f"greedy return\n{episodes}", ".1f"),
        Column("sampled", f"sampled return\n{episodes}", ".1f"),
    ]
    if level is not None:
        heading = f"env steps to solve\nmean of 100 > {level:g}"
        columns.append(Column("steps_to_solve", heading, ",.0f"))
    cells = []
    for row in rows:
        means = (row[kind]["mean"] for kind in ("greedy_return", "sampled_return"))
        cells.append([row["seed"], *("diverged" if x is None else x for x in means)])
        if level is not None:
            steps = row["steps_to_solve"]
            cells[-1].append(f"> {row['env_steps']:,}" if steps is None else steps)
    return Table(title_of(config), columns, cells)


def _together(config: Config, rows: list[dict[str, Any]]) -> Table:
    """Quantiles of many seeds, and their shares."""
    columns = [Column("of", f"of {len(rows):,} seeds", left=True)]
    columns += [Column("greedy", "greedy\nreturn", ".1f")]
    columns += [Column("sampled", "sampled\nreturn", ".1f")]
    kinds = "greedy_return", "sampled_return"
    known = [
        np.array([x for row in rows if (x := row[kind]["mean"]) is not None])
        for kind in kinds
    ]
    names = {"lowest": 0, "5%": 5, "25%": 25, "median": 50, "75%": 75, "highest": 100}
    cells: list[list[Any]] = []
    if known[0].size:
        cells.append(["IQM", *map(intervals.interquartile_mean, known)])
        cells += [[k, *(np.percentile(x, q) for x in known)] for k, q in names.items()]
    notes = []
    if diverged := len(rows) - known[0].size:
        notes.append(f"{diverged} diverged")
    if config.solved_return is not None:
        columns.append(Column("steps", "env steps\nto solve", ",.0f"))
        solved, median = _scores(rows, config)[-2:]
        middle, low, high = (f"{x:.1%}" for x in solved)
        for line in cells:
            line.append(median if line[0] == "median" else None)
        notes.append(
            f"{round(solved.estimate * len(rows)):,} solved (mean of 100 > "
            f"{config.solved_return:g}): {middle} [{low}, {high}]"
        )
    lowest = sorted(
        (row["greedy_return"]["mean"], row["seed"])
        for row in rows
        if row["greedy_return"]["mean"] is not None
    )[:3]
    if lowest:
        notes.append(
            f"lowest: {', '.join(f'seed {seed} ({x:.1f})' for x, seed in lowest)}"
        )
    notes.append("brackets: 95% intervals; summary.json has every seed")
    return Table(title_of(config), columns, cells, ["; ".join(notes)])
