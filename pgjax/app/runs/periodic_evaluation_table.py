"""The table of what evaluations while training came to, below that of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgjax.app import tables
from pgjax.app.analysis import intervals
from pgjax.app.analysis.evaluated import Evaluated, evaluated, median_threshold
from pgjax.app.runs.progress import count, plural, seconds
from pgjax.app.settings.build import Experiment
from pgjax.app.settings.run_settings import Config
from pgjax.app.shown_names import as_heading
from pgjax.app.tables import FEW_DOZEN, Column, Table


def cost_told(config: Config, experiment: Experiment) -> str:
    """How often agents are evaluated, and what that may cost, in a line.

    Args:
      config: whose `eval_every` is not None.
      experiment: what `build` made of it.
    """
    every, complete = config.eval_every or 1, experiment.algorithm.complete_episodes
    of_update = config.num_envs * (1 if complete else config.num_steps)  # or more
    times = -(-config.steps // max(every, of_update))
    most = times * config.eval_episodes * experiment.env.max_steps
    when = f"up to {count(times)} times"
    if every >= config.steps:
        when = f"once, at the end (--eval-every {every} is not below --steps)"
    return (
        f"evaluations of each agent: {when}, {plural(config.eval_episodes, 'episode')} "
        f"each time; at most {count(most)} env steps beside {count(config.steps)} of "
        "training"
    )


def print_evaluations(
    config: Config, summary: dict[str, Any], names: Sequence[str]
) -> None:
    """Prints the best of each seed, or of each combination of a sweep's settings.

    Args:
      config: of the run, or one of its groups.
      summary: the content of summary.json.
      names: the settings of the grid.
    """
    rows, level = summary["agents"], config.solved_return
    title = f"evaluated every {count(config.eval_every or 0)} env steps"
    if names or len(rows) > FEW_DOZEN:
        table = _of_points(title, rows, names, level)
    else:
        table = _of_seeds(title, rows, level)
    told = (
        f"Greedy return of the best policy: in the final evaluation, "
        f"{config.eval_episodes} other episodes than those that it was chosen by "
        "(params_best.npz)."
    )
    if level is not None:
        told += (
            f" Env steps to {level:g}: (a, b] if an evaluation reached it first at b, "
            "and the one before, at a, did not."
        )
    spent = seconds(summary["evaluating_seconds"])
    notes = [told, f"evaluating took {spent}"]
    tables.print_table(table._replace(notes=notes))


def _of_seeds(title: str, rows: Sequence[dict[str, Any]], level: float | None) -> Table:
    columns = [
        Column("seed", "seed", "d"),
        Column("best", "best\nevaluation", ".1f"),
        Column("best_env_steps", "at env steps", ",d"),
        Column("greedy", "best policy\ngreedy return", ".1f"),
    ]
    if level is not None:
        columns.append(Column("steps", f"env steps\nto {level:g}"))
    cells = []
    for row in rows:
        best, mean = row["best_evaluation"], row["best_greedy_return"]["mean"]
        of_best = [None, None] if best is None else [best["mean"], best["env_steps"]]
        final = "diverged" if mean is None else mean
        line = [row["seed"], *of_best, final, _told(row)]
        cells.append(line[: len(columns)])
    return Table(title, columns, cells)


def _told(row: dict[str, Any]) -> str:
    """When an agent reached the threshold: an interval, since nobody looked within."""
    found = row.get("steps_to_threshold")
    if found is None:
        return ""
    if found["by"] is None:
        return f"> {found['after']:,}"
    return f"({found['after']:,}, {found['by']:,}]"


def _of_points(
    title: str,
    rows: Sequence[dict[str, Any]],
    names: Sequence[str],
    level: float | None,
) -> Table:
    columns = [Column(name, as_heading(name), fixed=True) for name in names]
    columns.append(Column("best", "best policy, greedy\nIQM [95%]", ".1f"))
    if level is not None:
        columns.append(Column("steps", f"env steps\nto {level:g}, median"))
        columns.append(Column("reached", "agents that\nreached it"))
    points: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        points.setdefault(tuple(row[name] for name in names), []).append(row)
    cells = []
    for point, of in points.items():
        known = evaluated(of)
        assert known is not None
        finite = known.best_return[np.isfinite(known.best_return)]
        best = intervals.interquartile_mean(finite) if finite.size else None
        line = [*map(str, point), best]
        if level is not None:
            reached = np.isfinite(known.threshold_by)
            line += [_median(known), f"{reached.sum()} of {len(reached)}"]
        cells.append(line)
    return Table(title, columns, cells)


def _median(found: Evaluated) -> str:
    """Between which evaluations the median agent came there."""
    after, by, beyond = median_threshold(found)
    if np.isfinite(by.estimate):
        return f"({after:,.0f}, {by.estimate:,.0f}]"
    return f"> {beyond:,.0f}"
