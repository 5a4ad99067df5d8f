"""What a run comes to: a row per agent, and totals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from pgjax.app.runs.periodic_evaluation_log import EvaluationLog
from pgjax.app.runs.training_log import TrainingLog
from pgjax.app.settings.env_params import NAME, params_apart, params_of
from pgjax.app.settings.grid import Agents
from pgjax.app.settings.run_settings import Config
from pgjax.app.shown_names import one_line


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


def add_evaluations(
    rows: list[dict[str, Any]], evaluations: EvaluationLog, returns: np.ndarray
) -> None:
    """Adds to the rows of S agents what their evaluations while training came to.

    Args:
      rows: as of `agent_rows`.
      evaluations: of the agents.
      returns: (S, 2, episodes) of the final evaluation of the best parameters, greedy
        and sampled; those of agents that were never evaluated do not count.
    """
    for i, row in enumerate(rows):
        own = evaluations.row(i)
        known = own["best_evaluation"] is not None
        greedy, sampled = returns[i] if known else np.full_like(returns[i], np.nan)
        row |= own
        row |= {"best_greedy_return": spread(greedy)}
        row |= {"best_sampled_return": spread(sampled)}


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
    evaluating_seconds: float = 0.0,
) -> dict[str, Any]:
    """The content of summary.json."""
    summary = {
        "solved_return": config.solved_return,
        "eval_episodes": config.eval_episodes,
        "env_steps": sum(row["env_steps"] for row in rows),
        "compile_seconds": round(compile_seconds, 3),
        "train_seconds": round(train_seconds, 3),
        "wall_seconds": round(wall_seconds, 3),
    }
    if config.eval_every is not None:
        summary["eval_every"] = config.eval_every
        summary["evaluating_seconds"] = round(evaluating_seconds, 3)
    return summary | {"agents": rows}
