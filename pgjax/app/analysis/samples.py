"""What runs and sweeps came to, as samples: one for each combination of settings."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import numpy as np

from pgjax.app.analysis.evaluated import Evaluated, evaluated, last_steps
from pgjax.app.analysis.gymnasium_scores import Played, played
from pgjax.app.analysis.stopping import first_stop
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.json_shapes import TEXT, check_shape
from pgjax.app.runs.metrics_reader import read_curves
from pgjax.app.runs.results import CONFIG, METRICS, check_results, load_summary
from pgjax.app.settings.env_params import params_together
from pgjax.app.settings.grid import label
from pgjax.app.shown_names import as_argument, in_words

ENV = {"env": TEXT}
GRID_POINTS = 100  # of a curve
# Settings that make another task or budget of a run, and what they are without a value.
CONDITIONS = {
    "time_limit": "the environment's own",
    "env_arg": "none",
    "env_param": "none",
    "steps": "unknown",
    "until_solved": "no",
}


class Sample(NamedTuple):
    """Agents that differ in their seeds only; n of them, in the order of the seeds."""

    name: str
    env: str
    seeds: np.ndarray  # (n,)
    greedy: np.ndarray  # (n,) mean return of the trained greedy policy; NaN: diverged
    steps_to_solve: np.ndarray  # (n,) environment steps, NaN for unsolved agents
    env_steps: np.ndarray  # (n,) see `last_steps`
    solved_return: float | None
    curves: Curves
    settings: dict[str, str] = {}  # what sets it apart in its sweep  # noqa: RUF012
    run: str = ""  # its directory, as it was given
    algorithm: str = ""
    config: dict[str, Any] = {}  # every setting, and the algorithm  # noqa: RUF012

    @property
    def known(self) -> np.ndarray:
        """(m,) greedy returns of the agents that have not diverged."""
        return self.greedy[np.isfinite(self.greedy)]

    @property
    def num_diverged(self) -> int:
        """How many agents diverged."""
        return len(self.greedy) - len(self.known)

    @property
    def num_solved(self) -> int:
        """How many agents solved the task."""
        return int(np.isfinite(self.steps_to_solve).sum())

    evaluated: Evaluated | None = None  # while training; None without --eval-every
    gymnasium: np.ndarray | None = None  # (n,) as `greedy`, there; NaN: not known
    gymnasium_episodes: int = 0  # of each agent


class Curves(NamedTuple):
    """Learning curves on a common grid, of agents that have not diverged.

    One that stopped, having solved the task, keeps its last value.
    """

    env_steps: np.ndarray  # (K,)
    recent_return: np.ndarray  # (n, K) mean return of the last 100 episodes
    agents: dict[int, np.ndarray] = {}  # by seed, (2, updates) as read  # noqa: RUF012

    @property
    def whole(self) -> int:
        """How many points come before the first agent has stopped, see `stopping`."""
        if not self.agents:
            return len(self.env_steps)
        first = first_stop(steps[-1] for steps, _ in self.agents.values())
        return int(np.searchsorted(self.env_steps, first, side="right"))


def load_samples(directory: pathlib.Path) -> list[Sample]:
    """The samples of a run or a sweep.

    Raises:
      UsageError: if it is neither, or has not finished.
    """
    request = run_record.load_record(directory).request
    values = {name: {_text(x): x for x in of} for name, of in request.grid.items()}
    check_shape(directory / CONFIG, request.settings, ENV)
    config, names = request.settings, list(request.grid)
    summary = load_summary(directory, names)
    if summary is None:
        raise UsageError(
            f"{directory} has no summary.json: it has not finished; "
            f"`pgjax train --resume {as_argument(directory)}` goes on"
        )
    check_results(directory, summary, CONFIG, METRICS)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in summary["agents"]:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    agents = {(*point, str(row["seed"])) for point in groups for row in groups[point]}
    curves = {}
    if (directory / METRICS).exists():  # or --log none
        curves = read_curves(directory / METRICS, names, agents)
    there = played(directory, names, summary)
    return [
        _sample(
            name=_name(directory, names, point),
            settings=dict(zip(names, point, strict=True)),
            about={
                "run": str(directory),
                "algorithm": request.algorithm,
                "config": {"algorithm": request.algorithm}
                | config
                | _raw(values, dict(zip(names, point, strict=True))),
            },
            env=config["env"],
            rows=rows,
            solved_return=summary["solved_return"],
            curves=[curves.get((*point, str(row["seed"]))) for row in rows],
            there=there,
        )
        for point, rows in groups.items()
    ]


def _raw(values: dict[str, dict[str, Any]], point: dict[str, str]) -> dict[str, Any]:
    """The values of a combination as they were asked for, rather than as text."""
    return {name: values[name].get(x, x) for name, x in point.items()}


def _text(value: Any) -> str:
    return str(label(value))


def conditions(config: dict[str, Any]) -> dict[str, str]:
    """What the returns of a run depend on beside what it has learned, in words.

    Args:
      config: settings; None for those that are not to be told.
    """
    found = {}
    config = params_together({k: x for k, x in config.items() if x is not None})
    for name, without in CONDITIONS.items():
        value = config.get(name)
        if isinstance(value, dict):
            value = " ".join(f"{key}={value[key]}" for key in sorted(value))
        elif isinstance(value, bool):
            value = "yes" if value else ""
        elif isinstance(value, int):
            value = f"{value:,}"
        found[name] = without if value in (None, "", "none") else str(value)
    return found


def _name(directory: pathlib.Path, names: list[str], point: tuple[str, ...]) -> str:
    if not names:
        return directory.name
    return ", ".join(
        f"{in_words(name)} {value}" for name, value in zip(names, point, strict=True)
    )


def _sample(
    *,
    name: str,
    settings: dict[str, str],
    about: dict[str, Any],
    env: str,
    rows: list[dict[str, Any]],
    solved_return: float | None,
    curves: list[np.ndarray | None],
    there: Played | None,
) -> Sample:
    order = sorted(range(len(rows)), key=lambda i: rows[i]["seed"])
    rows, curves = [rows[i] for i in order], [curves[i] for i in order]
    agents = {
        row["seed"]: curve
        for row, curve in zip(rows, curves, strict=True)
        if curve is not None and row["greedy_return"]["mean"] is not None
    }
    if there is not None:
        who = [(*settings.values(), str(row["seed"])) for row in rows]
        returns = np.array([there.returns.get(x, np.nan) for x in who])
        about = {**about, "gymnasium_episodes": there.episodes}
        about |= {"gymnasium": returns if np.isfinite(returns).any() else None}
    return Sample(
        **about,
        name=name,
        settings=settings,
        env=env,
        seeds=np.array([row["seed"] for row in rows]),
        greedy=np.array([row["greedy_return"]["mean"] for row in rows], float),
        steps_to_solve=np.array(
            [
                np.nan if row["steps_to_solve"] is None else row["steps_to_solve"]
                for row in rows
            ],
            float,
        ),
        env_steps=last_steps(rows),
        solved_return=solved_return,
        curves=_on_a_grid(agents),
        evaluated=evaluated(rows),
    )


def _on_a_grid(agents: dict[int, np.ndarray]) -> Curves:
    """Curves (2, updates) each, from where all have a value to where the last stops."""
    if not agents:
        return Curves(np.zeros(0), np.zeros((0, 0)))
    first = max(steps[0] for steps, _ in agents.values())
    last = max(steps[-1] for steps, _ in agents.values())
    grid = np.linspace(first, last, GRID_POINTS)
    returns = np.stack([np.interp(grid, *agent) for agent in agents.values()])
    return Curves(grid, returns, agents)
