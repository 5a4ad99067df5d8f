"""What samples come to, as tables of text: for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pgjax.app.analysis import intervals
from pgjax.app.analysis.samples import Sample

FEW = 10  # agents, for a bootstrap to be trusted


class Table(NamedTuple):
    """A title, columns, rows of cells and a caption; a cell may have two lines."""

    title: str
    columns: list[str]  # the first is text, the others numbers
    rows: list[list[str]]
    caption: str


def scores(samples: Sequence[Sample], *, full: bool) -> Table:
    """Returns of the trained greedy policies, and steps to solve.

    Args:
      samples: of one environment.
      full: whether mean and median stand beside the interquartile mean.
    """
    columns: dict[str, Callable[[Sample], str]] = {
        "run": lambda sample: sample.name,
        "agents": _agents,
        "IQM": _of_returns(intervals.interquartile_mean),
    }
    if full:
        columns["mean"] = _of_returns(intervals.bootstrapped_mean)
        columns["median"] = _of_returns(intervals.median)
    columns["lowest"] = _lowest
    if any(sample.solved_return is not None for sample in samples):
        columns["solved"] = _solved
        columns["median steps\nto solve"] = _steps_to_solve
    return Table(
        f"{samples[0].env}: returns of the greedy policy, and steps to solve",
        list(columns),
        [[cell(sample) for cell in columns.values()] for sample in samples],
        "Brackets: 95% intervals over agents ("
        + ("IQM and mean: bootstrap; median: order statistics; " if full else "")
        + ("steps: Kaplan-Meier)." if full else "bootstrap; Kaplan-Meier).")
        + _about_solving(samples)
        + _about_few(samples),
    )


def _about_solving(samples: Sequence[Sample]) -> str:
    levels = sorted({s.solved_return for s in samples} - {None})  # type: ignore
    if not levels:
        return ""
    above = " or ".join(f"{level:g}" for level in levels)
    return f" Solved: the mean of 100 training episodes, sampled, exceeded {above}."


def _about_few(samples: Sequence[Sample]) -> str:
    if min(len(sample.seeds) for sample in samples) >= FEW:
        return ""
    return f" With fewer than {FEW} agents, bootstrap intervals are too narrow."


def differences(samples: Sequence[Sample]) -> str:
    """In what tasks and budgets differ, which no table would tell; "" for nothing."""
    told = []
    for name in samples[0].conditions:
        values: dict[str, list[str]] = {}
        for sample in samples:
            values.setdefault(sample.conditions[name], []).append(sample.name)
        if len(values) > 1:
            each = "; ".join(f"{value}: {', '.join(x)}" for value, x in values.items())
            told.append(f"{name.replace('_', ' ')} ({each})")
    if not told:
        return ""
    return f"Not the same task or budget: these differ in {', '.join(told)}."


def against_the_first(samples: Sequence[Sample]) -> Table:
    """Every other sample compared with the first."""
    first, *others = samples
    rows = []
    for other in others:
        better = intervals.probability_of_improvement(
            _worst_if_diverged(other.greedy), _worst_if_diverged(first.greedy)
        )
        p = _log_rank(other, first)
        rows.append(
            [
                other.name,
                intervals.text(better, ".2f"),
                "no test" if p is None or np.isnan(p) else f"{p:.2g}",
            ]
        )
    return Table(
        f"against {first.name}",
        ["run", "P(better)", "p"],
        rows,
        "P(better): of an agent's return, ties halved, with its 95% bootstrap "
        "interval; p: log-rank test of the times to solve. Both take agents as "
        "independent, also where seeds are shared.",
    )


def caveat(samples: Sequence[Sample]) -> str:
    """The best sample, and why that flatters it."""

    def score(sample: Sample) -> float:
        known = sample.greedy[np.isfinite(sample.greedy)]
        return intervals.iqm(known) if known.size else -np.inf

    highest = max(map(score, samples))
    best = [sample for sample in samples if np.isclose(score(sample), highest)]
    seeds = best[0].seeds
    return (
        f"Highest IQM: {', '.join(sample.name for sample in best)}. The best was "
        f"chosen among {len(samples)} on the seeds it is scored on, {seeds.min()} to "
        f"{seeds.max()}, which flatters it: report it on other seeds (--seed)."
    )


def _agents(sample: Sample) -> str:
    diverged = np.isnan(sample.greedy).sum()
    note = f"\n{diverged} diverged" if diverged else ""
    return f"{len(sample.seeds)}{note}"


def _of_returns(
    statistic: Callable[[np.ndarray], intervals.Interval],
) -> Callable[[Sample], str]:
    """A statistic of the agents that have not diverged, whose number is told."""

    def cell(sample: Sample) -> str:
        known = sample.greedy[np.isfinite(sample.greedy)]
        return intervals.text(statistic(known), ".1f") if known.size else ""

    return cell


def _lowest(sample: Sample) -> str:
    known = sample.greedy[np.isfinite(sample.greedy)]
    return f"{known.min():.1f}" if known.size else ""


def _solved(sample: Sample) -> str:
    if sample.solved_return is None:
        return ""
    return str(np.isfinite(sample.steps_to_solve).sum())


def _steps_to_solve(sample: Sample) -> str:
    if sample.solved_return is None:
        return ""
    median = intervals.survival(sample.steps_to_solve, sample.env_steps).median
    return intervals.text(median, ",.0f")


def _worst_if_diverged(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), -np.inf, x)


def _log_rank(a: Sample, b: Sample) -> float | None:
    if a.solved_return != b.solved_return:
        return None  # not the same event
    if not np.isfinite(np.concatenate([a.steps_to_solve, b.steps_to_solve])).any():
        return None  # nobody has solved it
    return intervals.log_rank(
        a.steps_to_solve, a.env_steps, b.steps_to_solve, b.env_steps
    )
