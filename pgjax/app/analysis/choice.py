"""The best in words, and what checks it: the same settings on seeds of their own.

A best of many, scored on the seeds it was chosen on, is flattered. Trained again on
other seeds, it has a number that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pgjax.app.analysis import ranking, score_tables
from pgjax.app.analysis.samples import Sample
from pgjax.app.settings.grid import label

# Settings that change neither what an agent learns nor what it is trained on.
_OF_THE_RUN = {
    *("seed", "seeds", "env_devices"),
    *("log_every", "updates_per_chunk", "eval_every", "eval_episodes"),
}


class _Checked(NamedTuple):
    chosen: Sample
    fresh: Sample  # the same, on other seeds


def are_repeated(one: Sample, other: Sample) -> bool:
    """Whether they are one algorithm with one set of settings, and share no seed."""
    if (one.algorithm, one.env) != (other.algorithm, other.env):
        return False
    if np.intersect1d(one.seeds, other.seeds).size:
        return False
    names = (one.config.keys() | other.config.keys()) - _OF_THE_RUN
    return all(
        str(label(one.config.get(name))) == str(label(other.config.get(name)))
        for name in names
    )


def _checked(order: Sequence[Sample]) -> _Checked | None:
    """What checks the best: of a grid's combination, a run without one, if it can."""
    best = order[0]
    repeated = [s for s in order if are_repeated(best, s)]
    if not repeated:
        return None
    alone = [s for s in repeated if not s.settings]
    swept = [s for s in repeated if s.settings]
    if swept and not best.settings:
        return _Checked(swept[0], best)
    return _Checked(best, (alone or swept)[0])


def check_name(order: Sequence[Sample]) -> str | None:
    """The sample that checks the best on other seeds; None where there is none."""
    checked = _checked(order)
    return checked.fresh.name if checked else None


def rerun(order: Sequence[Sample]) -> str | None:
    """The command that trains the best on other seeds; None where that was done."""
    if _checked(order) or not order[0].run:
        return None
    return ranking.rerun(order[0], order)


def told(order: Sequence[Sample], by: str = "iqm") -> list[str]:
    """The best sample in words: ties, the runner-up, and how to see if it holds.

    Args:
      order: two or more, as `ranking.ranked` puts them.
      by: the score by which they are.
    """
    checked = _checked(order)
    others = [s for s in order[1:] if not are_repeated(order[0], s)]
    found = []
    if others:
        found += [ranking.told_best(order, by), _told_runner_up(order[0], others[0])]
    if checked:
        return [*found, *_told_check(checked, order, by)]
    seeds = order[0].seeds
    found.append(
        f"It was chosen among {len(order)} on the seeds it is scored on, "
        f"{seeds.min()} to {seeds.max()}, which flatters it, and the interval above "
        "with it. On other seeds:"
    )
    command = rerun(order)
    return [*found, f"    {command}"] if command else found


def _told_runner_up(first: Sample, second: Sample) -> str:
    middle, low, high = score_tables.better(first, second)
    line = (
        f"Against the runner-up, {second.name}: P(better) {middle:.2f} "
        f"[{low:.2f}, {high:.2f}]"
    )
    difference = score_tables.difference(first, second)
    if difference is not None and np.isfinite(difference.low):
        middle, low, high = difference
        line += f"; difference of means {middle:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"{line}."


def _told_check(checked: _Checked, order: Sequence[Sample], by: str) -> list[str]:
    """Both numbers of a combination: where it was chosen, and where it was not."""
    chosen, fresh = (
        f"{s.name}: {ranking.told_score(s, order, by)} on seeds "
        f"{s.seeds.min()} to {s.seeds.max()}"
        for s in checked
    )
    number = _num_combinations(order)
    among = f" among {number}" if number > 1 else ""
    return [
        f"{checked.fresh.name} has the settings of {checked.chosen.name}, on other "
        f"seeds: it is the check of the choice{among}.",
        f"    {fresh}, unflattered",
        f"    {chosen}, which flatter it if it was chosen on them",
    ]


def _num_combinations(order: Sequence[Sample]) -> int:
    """How many differ in more than their seeds."""
    different: list[Sample] = []
    for sample in order:
        if not any(are_repeated(sample, s) for s in different):
            different.append(sample)
    return len(different)
