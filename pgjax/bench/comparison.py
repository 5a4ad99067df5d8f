"""What an A/B comparison came to: speeds, their ratio, and how to say it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pgjax.app.analysis.bootstrap import Interval, bootstrap
from pgjax.bench.processes import Repetition

FEWEST = 6  # rounds that an interval can be drawn from


class Spread(NamedTuple):
    """How numbers are spread: quantiles."""

    minimum: float
    first_quartile: float
    median: float
    third_quartile: float
    maximum: float


class Side(NamedTuple):
    """What one of the two did."""

    what: str
    versions: dict[str, str]
    compile_seconds: float
    speed: Spread  # environment steps per second
    repetitions: tuple[Repetition, ...]  # in the order of rounds


class Comparison(NamedTuple):
    """What both did, and by how much the first is faster."""

    ours: Side
    theirs: Side
    ratio: Interval  # of the median speeds, ours to theirs


def summarize(
    answers: Sequence[Mapping[str, Any]], rounds: Sequence[tuple[Repetition, ...]]
) -> Comparison:
    """The comparison that two workers' answers and repetitions make.

    Args:
      answers: what each said when it was ready.
      rounds: as returned by `take_turns`.
    """
    speeds = np.array([[repetition.speed for repetition in pair] for pair in rounds])
    ours, theirs = (
        Side(
            answer["what"],
            answer["versions"],
            answer["compile_seconds"],
            Spread(*np.quantile(speeds[:, k], (0, 0.25, 0.5, 0.75, 1)).tolist()),
            tuple(pair[k] for pair in rounds),
        )
        for k, answer in enumerate(answers)
    )
    return Comparison(ours, theirs, ratio(speeds))


def ratio(speeds: np.ndarray) -> Interval:
    """The ratio of the medians, with its percentile bootstrap interval.

    Whole rounds are drawn: what slowed down both in a round says nothing.

    Args:
      speeds: (rounds, 2) positive; with fewer than 6 rounds the interval is infinite.
    """

    def of_medians(rows: np.ndarray) -> np.ndarray:  # (R, n, 2) to (R,)
        medians = np.median(rows, axis=1)
        return medians[:, 0] / medians[:, 1]

    estimate = float(of_medians(speeds[None])[0])
    if len(speeds) < FEWEST:
        return Interval(estimate, -math.inf, math.inf)
    low, high = np.quantile(bootstrap(of_medians, speeds), (0.025, 0.975))
    return Interval(estimate, float(low), float(high))


def rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """A table: what a row is about, ours, theirs."""
    sides = comparison.ours, comparison.theirs
    cells: dict[str, list[str]] = {
        "": [side.what for side in sides],
        "steps/s, median": [short(side.speed.median) for side in sides],
        "middle half": [_between(*side.speed[1:4:2]) for side in sides],
        "all": [_between(*side.speed[::4]) for side in sides],
        "compiling": [f"{side.compile_seconds:.1f} s" for side in sides],
    }
    for name in dict.fromkeys([*sides[0].versions, *sides[1].versions]):
        cells[name] = [side.versions.get(name, "-") for side in sides]
    return [(name, ours, theirs) for name, (ours, theirs) in cells.items()]


def describe(comparison: Comparison) -> str:
    """The outcome in a sentence.

    >>> one = Spread(9e5, 1e6, 1.2e6, 1.3e6, 1.4e6)
    >>> ours = Side("new", {}, 1.0, one, ())
    >>> theirs = Side("old", {}, 1.0, one._replace(median=1e6), ())
    >>> print(describe(Comparison(ours, theirs, Interval(1.2, 1.1, 1.3))))
    new: 1.20 M steps/s, 1.20 times [1.10, 1.30] as many as old: 1.00 M steps/s
    """
    ours, theirs, (estimate, low, high) = comparison
    enough = math.isfinite(low)
    interval = f"[{_times(low)}, {_times(high)}]" if enough else "[too few rounds]"
    return (
        f"{ours.what}: {short(ours.speed.median)} steps/s, {_times(estimate)} times "
        f"{interval} as many as {theirs.what}: {short(theirs.speed.median)} steps/s"
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Plain JSON data."""
    return plain(comparison)


def plain(x: Any) -> Any:
    """NamedTuples as objects, infinities and NaN as null, for JSON."""
    if hasattr(x, "_asdict"):
        return {name: plain(value) for name, value in x._asdict().items()}
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, tuple):
        return [plain(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def short(x: float) -> str:
    """A large number in a few letters, such as 1.20 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if x >= 0.9995 * size:
            return f"{x / size:#.3g}".rstrip(".") + unit
    return f"{x:.3g}"


def _times(x: float) -> str:
    return f"{x:.2f}" if x < 10 else f"{x:,.0f}"


def _between(low: float, high: float) -> str:
    return f"{short(low)} to {short(high)}"
