"""What a run comes to: a row per agent, totals, and the table that is printed."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from pgjax.app import output
from pgjax.app.analysis import intervals
from pgjax.app.analysis.samples import last_steps
from pgjax.app.analysis.score_tables import FEW
from pgjax.app.play.list_environments import TWINS
from pgjax.app.runs.progress import count, seconds
from pgjax.app.runs.training_log import TrainingLog
from pgjax.app.settings.config import Config
from pgjax.app.settings.env_params import NAME, params_apart, params_of
from pgjax.app.settings.grid import Agents
from pgjax.app.shown_names import as_argument, in_words, one_line


def agent_rows(
    agents: Agents, log: TrainingLog, returns: np.ndarray
) -> list[dict[str, Any]]:
    """What each agent came to.

    Args:
      agents: S of them.
      log: of their training.
      returns: (S, 2, episodes) of the evaluation, greedy and sampled; those of agents
        that diverged do not count.
    """
    returns = np.where(log.diverged[:, None, None] > 0, np.nan, returns)
    return [
        {
            "seed": int(agents.seeds[i]),
            "env_steps": int(log.env_steps[i]),
            "steps_to_solve": _number(log.steps_to_solve[i]),
            "seconds_to_solve": _number(log.seconds_to_solve[i]),
            "diverged": _divergence(log, i),
            "greedy_return": spread(returns[i, 0]),
            "sampled_return": spread(returns[i, 1]),
        }
        for i in range(len(agents.seeds))
    ]


def print_points(
    directory: pathlib.Path, config: Config, summary: dict[str, Any], names: list[str]
) -> None:
    """Prints a line for each combination of a sweep's settings."""
    points: dict[tuple, list[dict[str, Any]]] = {}
    for row in summary["agents"]:
        points.setdefault(tuple(row[name] for name in names), []).append(row)
    each = max(len(rows) for rows in points.values())
    agents = count(len(summary["agents"]))
    title = f"{config.algorithm}: {agents} agents, {each} of each"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(in_words(name).replace(" ", "\n"), no_wrap=True)
    for column in ("greedy return\nIQM [95%]", "sampled return\nIQM [95%]"):
        table.add_column(column, justify="right", no_wrap=True)
    level = config.solved_return
    if level is not None:
        table.add_column("steps to solve\nmedian [95%]", justify="right", no_wrap=True)
    for point, rows in points.items():
        cells = [*map(one_line, point)]
        for kind in ("greedy_return", "sampled_return"):
            means = [row[kind]["mean"] for row in rows]
            returns = np.array([x for x in means if x is not None])
            lines = []
            if returns.size:
                mean = intervals.interquartile_mean(returns)
                lines.append(intervals.text(mean, ".1f"))
            if returns.size < len(rows):
                lines.append(f"{len(rows) - returns.size} diverged")
            cells.append("\n".join(lines))
        if level is not None:
            steps = np.array([row["steps_to_solve"] or np.nan for row in rows])
            last = last_steps(rows)
            lines = [intervals.text(intervals.survival(steps, last).median, ",.0f")]
            solved = np.isfinite(steps).sum()
            if solved < len(rows):
                lines.append(f"{solved} of {len(rows)} solved")
            cells.append("\n".join(lines))
        table.add_row(*cells)
    console = output.console()
    console.print(table)
    console.print(
        "IQM: the interquartile mean over agents, with its 95% bootstrap interval"
        + ("" if each >= FEW else f", which is too narrow with fewer than {FEW}"),
        soft_wrap=True,
    )
    console.print(
        f"{seconds(summary['wall_seconds'])} in all: compiling "
        f"{seconds(summary['compile_seconds'])}, training "
        f"{seconds(summary['train_seconds'])} "
        f"({count(summary['env_steps'])} env steps)\n"
        f"results in {one_line(directory)} (metrics.csv, summary.json, params.npz)\n"
        f"next: pgjax report {as_argument(directory)}",
        soft_wrap=True,
    )


def _divergence(log: TrainingLog, agent: int) -> dict[str, Any] | None:
    told = log.divergence_of(agent)
    return None if told is None else {"update": told[0], "quantity": told[1]}


def _number(x: float) -> float | None:
    return None if np.isnan(x) else round(float(x), 3)


def title_of(config: Config, grid: Collection[str] = ()) -> str:
    """What is trained on what, in a line; without what the grid has values of."""
    params = params_apart({NAME: config.env_param})
    own = params_of({name: x for name, x in params.items() if name not in grid})
    given = config.env_arg | own
    options = ", ".join(f"{k}={v}" for k, v in given.items())
    env = f"{config.env} ({options})" if options else config.env
    preset = "" if config.preset == config.env else f" ({config.preset})"
    return one_line(f"{config.algorithm}{preset} on {env}")


def spread(returns: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation and least of an agent's returns, to four decimals."""
    returns = returns.astype(np.float64)
    if not np.isfinite(returns).all():  # the agent has diverged
        return {"mean": None, "std": None, "min": None}
    return {
        "mean": round(returns.mean(), 4),
        "std": round(returns.std(ddof=1), 4) if len(returns) > 1 else None,
        "min": round(returns.min(), 4),
    }


def summarize(
    config: Config,
    rows: list[dict[str, Any]],
    *,
    compile_seconds: float,
    train_seconds: float,
    wall_seconds: float,
) -> dict[str, Any]:
    """The content of summary.json."""
    return {
        "solved_return": config.solved_return,
        "eval_episodes": config.eval_episodes,
        "env_steps": sum(row["env_steps"] for row in rows),
        "compile_seconds": round(compile_seconds, 3),
        "train_seconds": round(train_seconds, 3),
        "wall_seconds": round(wall_seconds, 3),
        "agents": rows,
    }


def print_summary(run: pathlib.Path, config: Config, summary: dict[str, Any]) -> None:
    """Prints a table of the seeds, and where everything is."""
    table = Table(title=title_of(config), title_justify="left")
    table.add_column("seed", justify="right")
    episodes = f"{config.eval_episodes} episodes"
    table.add_column(f"greedy return\nmean of {episodes}", justify="right")
    table.add_column(f"sampled return\nmean of {episodes}", justify="right")
    level = config.solved_return
    if level is not None:
        table.add_column(
            f"env steps to solve\nmean of 100 > {level:g}", justify="right"
        )
    for row in summary["agents"]:
        cells = [
            str(row["seed"]),
            *(
                "diverged" if row[kind]["mean"] is None else f"{row[kind]['mean']:.1f}"
                for kind in ("greedy_return", "sampled_return")
            ),
        ]
        if level is not None:
            steps = row["steps_to_solve"]
            cells.append("not solved" if steps is None else f"{steps:,.0f}")
        table.add_row(*cells)
    console = output.console()
    console.print(table)
    wall, compiling = summary["wall_seconds"], summary["compile_seconds"]
    training = summary["train_seconds"]
    speed = summary["env_steps"] / max(training, 1e-9)
    console.print(
        f"{seconds(wall)} in all: compiling {seconds(compiling)}, training "
        f"{seconds(training)} ({count(summary['env_steps'])} env steps, "
        f"{count(speed)}/s)",
        soft_wrap=True,
    )
    firsts = [row["seconds_to_solve"] for row in summary["agents"]]
    firsts = [first for first in firsts if first is not None]
    if firsts:
        console.print(f"first seed solved {seconds(min(firsts))} after the start")
    again = as_argument(run)
    render = f"    pgjax render {again}" if config.env in TWINS else ""
    console.print(
        f"results in {one_line(run)} (learning_curve.png, metrics.csv, summary.json)\n"
        f"next: pgjax evaluate {again}{render}",
        soft_wrap=True,
    )
