"""The table of what evaluations while training came to, below that of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from pgjax.app import output
from pgjax.app.analysis import intervals
from pgjax.app.analysis.samples import Evaluated, evaluated
from pgjax.app.runs.progress import count, plural, seconds
from pgjax.app.settings.build import Experiment
from pgjax.app.settings.config import Config
from pgjax.app.shown_names import one_line


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
    rows = summary["agents"]
    title = f"evaluated every {count(config.eval_every or 0)} env steps"
    look: dict[str, Any] = {"box": box.SIMPLE_HEAD} if names else {}
    table = Table(title=title, title_justify="left", **look)
    level = config.solved_return
    reached = [] if level is None else [f"env steps\nto {level:g}"]
    if names:
        columns = ["best policy, greedy\nIQM [95%]", *(f"{x}, median" for x in reached)]
        cells = _of_points(rows, names)
    else:
        names, best = ["seed"], ["best\nevaluation", "at env steps"]
        columns = [*best, "best policy\ngreedy return", *reached]
        cells = _of_seeds(rows)
    for name in names:
        side: Any = "right" if name == "seed" else "left"
        table.add_column(name.replace("_", "\n"), justify=side, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in cells:
        table.add_row(*row[: len(table.columns)])
    console = output.console()
    console.print(table)
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
    console.print(f"{told}\nevaluating took {spent}", soft_wrap=True)


def _of_seeds(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    cells = []
    for row in rows:
        best, mean = row["best_evaluation"], row["best_greedy_return"]["mean"]
        of_best = ["", ""]
        if best is not None:
            of_best = [f"{best['mean']:.1f}", f"{best['env_steps']:,}"]
        final = "diverged" if mean is None else f"{mean:.1f}"
        cells.append([str(row["seed"]), *of_best, final, _told(row)])
    return cells


def _told(row: dict[str, Any]) -> str:
    """When an agent reached the threshold: an interval, since nobody looked within."""
    found = row.get("steps_to_threshold")
    if found is None:
        return ""
    if found["by"] is None:
        return f"> {found['after']:,}"
    return f"({found['after']:,}, {found['by']:,}]"


def _of_points(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[list[str]]:
    points: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        points.setdefault(tuple(row[name] for name in names), []).append(row)
    cells = []
    for point, of in points.items():
        known = evaluated(of)
        assert known is not None
        finite = known.best_return[np.isfinite(known.best_return)]
        best = ""
        if finite.size:
            best = intervals.text(intervals.interquartile_mean(finite), ".1f")
        cells.append([*map(one_line, point), best, _median(known)])
    return cells


def _median(found: Evaluated) -> str:
    """The median interval over agents, those that never came there last."""
    reached = np.isfinite(found.threshold_by)
    by = np.sort(found.threshold_by)[(len(reached) - 1) // 2]
    lines = []
    if np.isfinite(by):
        agent = int(np.flatnonzero(found.threshold_by == by)[0])
        lines.append(f"({found.threshold_after[agent]:,.0f}, {by:,.0f}]")
    else:
        lines.append(f"> {found.threshold_after[~reached].min():,.0f}")
    if not reached.all():
        lines.append(f"{reached.sum()} of {len(reached)} reached it")
    return "\n".join(lines)
