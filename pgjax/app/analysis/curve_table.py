"""Learning curves as an aligned table, which seaborn and pandas read as it is."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pgjax.app.analysis.samples import GRID_POINTS, Sample
from pgjax.app.errors import UsageError
from pgjax.app.runs.files import write_whole


def write(path: pathlib.Path, samples: Sequence[Sample]) -> pathlib.Path:
    """Writes a row per agent and point; returns the file.

    Columns: `run`, `env`, `algorithm`, the settings of the grids, `seed`, `env_steps`,
    the same numbers for all agents of an environment; `recent_return`, the mean return
    of the last 100 episodes, interpolated; `training`, whether the agent was still
    training there: after it has stopped, its last value is kept. Agents that diverged
    have no rows: see `left_out`.

    Raises:
      UsageError: if there are no curves, or it cannot be written.
    """
    with_curves = [s for s in samples if s.curves.env_steps.size]
    if not with_curves:
        raise UsageError("no run has a metrics.csv with a finished episode: no curves")
    names = list(dict.fromkeys(name for s in samples for name in s.settings))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["run", "env", "algorithm", *names, "seed"]
    writer.writerow([*head, "env_steps", "recent_return", "training"])
    for env in dict.fromkeys(s.env for s in with_curves):
        own = [s for s in with_curves if s.env == env]
        steps = common_steps(own)
        for sample in own:
            about = [sample.run, sample.env, sample.algorithm]
            about += [sample.settings.get(name, "") for name in names]
            _write_sample(writer, about, sample, steps)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda out: out.write(file.getvalue().encode()))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return path


def left_out(samples: Sequence[Sample]) -> str:
    """How many agents have no curve since they diverged, in a line; "" for none."""
    diverged = sum(sample.num_diverged for sample in samples)
    agents = sum(len(sample.seeds) for sample in samples)
    if not diverged:
        return ""
    return f"curves: {diverged} of {agents} agents diverged and are left out"


def common_steps(samples: Sequence[Sample]) -> np.ndarray:
    """(K,) environment steps from where all have a value to where the last stops."""
    first = max(sample.curves.env_steps[0] for sample in samples)
    last = max(sample.curves.env_steps[-1] for sample in samples)
    return np.unique(np.linspace(first, last, GRID_POINTS).round())


def _write_sample(
    writer: Any, about: list[str], sample: Sample, steps: np.ndarray
) -> None:
    for seed, (own, returns) in sample.curves.agents.items():
        for step, value in zip(steps, np.interp(steps, own, returns), strict=True):
            training = "yes" if step <= own[-1] else "no"
            writer.writerow([*about, seed, int(step), round(value, 6), training])
