"""`pgjax compare`: runs side by side, with intervals and tests."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from pgjax.lab import statistics
from pgjax.lab.errors import UsageError
from pgjax.lab.samples import Sample, load_samples


def compare(runs: Sequence[str], *, out: str | None) -> int:
    """Prints the samples of runs and sweeps side by side; draws them if asked to.

    Args:
      runs: directories.
      out: a directory for figures, made if need be.

    Raises:
      UsageError: for what is no finished run, or runs of several environments.
    """
    samples = load_all(runs)
    console = Console(highlight=False)
    console.print(_scores(samples))
    if len(samples) > 1:
        console.print(_against_the_first(samples))
        console.print(_caveat(runs, samples), soft_wrap=True)
    if out is not None:
        from pgjax.lab import figures

        directory = pathlib.Path(out)
        directory.mkdir(parents=True, exist_ok=True)
        for path in figures.draw_all(directory, samples):
            console.print(str(path))
    return 0


def load_all(runs: Sequence[str]) -> list[Sample]:
    """The samples of several directories, with names that tell them apart."""
    samples = []
    for run in runs:
        own = load_samples(pathlib.Path(run))
        if len(runs) > 1 and len(own) > 1:
            own = [s._replace(name=f"{pathlib.Path(run).name}: {s.name}") for s in own]
        samples += own
    names = [sample.name for sample in samples]
    if len(set(names)) < len(names):  # runs of one name in several places
        paths = [run for run in runs for _ in load_samples(pathlib.Path(run))]
        samples = [
            sample._replace(name=sample.name.replace(pathlib.Path(path).name, path, 1))
            for sample, path in zip(samples, paths, strict=True)
        ]
    envs = sorted({sample.env for sample in samples})
    if len(envs) > 1:
        raise UsageError(
            f"returns of {' and '.join(envs)} cannot be compared: pass runs of one "
            "environment"
        )
    return samples


def _scores(samples: list[Sample]) -> Table:
    table = Table(
        title=f"{samples[0].env}: returns of the greedy policy, and steps to solve",
        caption="Brackets: 95% intervals over agents (bootstrap; Kaplan-Meier).",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("run", overflow="fold")
    for column in ("agents", "IQM", "lowest"):
        table.add_column(column, justify="right", no_wrap=True)
    solvable = any(sample.solved_return is not None for sample in samples)
    if solvable:
        table.add_column("solved", justify="right", no_wrap=True)
        table.add_column("median steps\nto solve", justify="right", no_wrap=True)
    for sample in samples:
        cells = [
            sample.name,
            _agents(sample),
            *_returns(sample),
        ]
        if solvable:
            cells += _solving(sample)
        table.add_row(*cells)
    return table


def _agents(sample: Sample) -> str:
    diverged = np.isnan(sample.greedy).sum()
    note = f"\n{diverged} diverged" if diverged else ""
    return f"{len(sample.seeds)}{note}"


def _returns(sample: Sample) -> list[str]:
    """Of the agents that have not diverged, whose number stands beside them."""
    known = sample.greedy[np.isfinite(sample.greedy)]
    if not known.size:
        return ["", ""]
    iqm = statistics.text(statistics.interquartile_mean(known), ".1f")
    return [iqm, f"{known.min():.1f}"]


def _worst_if_diverged(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), -np.inf, x)


def _solving(sample: Sample) -> list[str]:
    if sample.solved_return is None:
        return ["", ""]
    solved = np.isfinite(sample.steps_to_solve).sum()
    median = statistics.survival(sample.steps_to_solve, sample.env_steps).median
    return [str(solved), statistics.text(median, ",.0f")]


def _against_the_first(samples: list[Sample]) -> Table:
    first, *others = samples
    table = Table(
        title=f"against {first.name}",
        caption="P(better): of an agent's return, ties halved, with its 95% bootstrap "
        "interval; p: log-rank test of the times to solve. Both take agents as "
        "independent, also where seeds are shared.",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("run", "P(better)", "p"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for other in others:
        better = statistics.probability_of_improvement(
            _worst_if_diverged(other.greedy), _worst_if_diverged(first.greedy)
        )
        p = _log_rank(other, first)
        cells = statistics.text(better, ".2f"), "" if p is None else f"{p:.2g}"
        table.add_row(other.name, *cells)
    return table


def _log_rank(a: Sample, b: Sample) -> float | None:
    if a.solved_return != b.solved_return:
        return None  # not the same event
    if not np.isfinite(np.concatenate([a.steps_to_solve, b.steps_to_solve])).any():
        return None  # nobody has solved it
    return statistics.log_rank(
        a.steps_to_solve, a.env_steps, b.steps_to_solve, b.env_steps
    )


def _caveat(runs: Sequence[str], samples: list[Sample]) -> str:
    def score(sample: Sample) -> float:
        known = sample.greedy[np.isfinite(sample.greedy)]
        return statistics.interquartile_mean(known).estimate if known.size else -np.inf

    best = max(samples, key=score)
    return (
        f"Highest IQM: {best.name}. It was chosen among {len(samples)} on the seeds it "
        f"is scored on, {best.seeds.min()} to {best.seeds.max()}, which flatters it: "
        "report it on other seeds (--seed)."
    )
