"""Which sample is best: scores in an order, ties told, and the winner run again.

An agent that diverged is worse than any other. So a score that it enters is below any
number: of these, fewer that diverged are better, and then the others' IQM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from pgjax.app.analysis import intervals
from pgjax.app.analysis.bootstrap import FEW
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.survival import survival
from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import is_param
from pgjax.app.settings.ranges import flag
from pgjax.app.shown_names import as_argument, quoted

SortBy = Literal["iqm", "mean", "area", "solved", "steps"]
_TIE = 1e-9  # relative difference of scores that are the same


class Score(NamedTuple):
    """A number by which samples are put in order; the higher the better."""

    name: str  # in words
    of: Callable[[Sample], float]
    form: str  # how it is written


def scores(samples: Sequence[Sample]) -> dict[str, Score]:
    """What samples can be put in order by."""
    budget = common_budget(samples)
    return {
        "iqm": Score("IQM", _iqm, ".1f"),
        "mean": Score("mean", _mean, ".1f"),
        "area": Score("area", lambda sample: _area(sample, budget), ".1f"),
        "solved": Score("share solved", _share_solved, ".0%"),
        "steps": Score("median steps to solve", _fewest_steps, ",.0f"),
        "whole": Score("share that has not diverged", _share_whole, ".0%"),
        "known": Score("IQM of agents that have not diverged", _known_iqm, ".1f"),
    }


def common_budget(samples: Sequence[Sample]) -> float:
    """The fewest environment steps that a sample was asked for, or trained for."""
    asked = [sample.config.get("steps") for sample in samples]
    if all(isinstance(steps, int | float) for steps in asked):
        return float(min(asked))  # type: ignore[type-var, arg-type]
    return float(min(sample.env_steps.max() for sample in samples))


def areas(sample: Sample, budget: float) -> np.ndarray:
    r"""(n,) the area under each agent's learning curve, over its length.

    (1/B) \int_0^B R(s) ds, by the trapezoidal rule, where R is the mean return of the
    last 100 training episodes and B the budget in environment steps: the mean return on
    the way. Before the first value of R, that one counts; after an agent has stopped,
    its last.

    Args:
      sample: n agents that have not diverged.
      budget: B, above 0.
    """
    found = []
    for steps, returns in sample.curves.agents.values():
        grid = np.union1d(np.clip(steps, 0, budget), [0.0, budget])
        with np.errstate(over="ignore"):  # of returns near the largest number
            whole = np.trapezoid(np.interp(grid, steps, returns), grid)
        found.append(whole / budget)
    return np.array(found)


def area(sample: Sample, budget: float) -> float:
    """The mean over agents of their areas; NaN where there are no curves."""
    found = areas(sample, budget)
    return float(found.mean()) if found.size else float("nan")


def ranked(samples: Sequence[Sample], by: str = "iqm") -> list[Sample]:
    """The samples, best first; ties are broken by the other scores, then the order."""
    chain = _chain(samples, by)
    keys = {
        id(sample): [_number(score.of(sample)) for score in chain] for sample in samples
    }

    def rounded(sample: Sample) -> tuple[float, ...]:
        # Scores that differ by rounding are the same.
        return tuple(-float(f"{x:.9g}") for x in keys[id(sample)])

    return sorted(samples, key=rounded)


def told_best(samples: Sequence[Sample], by: str = "iqm") -> str:
    """The best sample, and which ties were broken by what.

    Args:
      samples: as `ranked` puts them.
      by: the score by which they are.
    """
    best = samples[0]
    left: list[Sample] = list(samples)
    told: list[str] = []
    for score in _chain(samples, by):
        highest = _number(score.of(best))
        tied = [s for s in left if _same(_number(score.of(s)), highest)]
        if len(tied) == len(left) and told:
            continue  # it tells none from another
        value = format(
            abs(highest) if score.name.startswith("median") else highest, score.form
        )
        if not np.isfinite(highest):
            value = "none (agents diverged)" if best.num_diverged else "none"
        among = f", as have {len(tied)} of {len(left)}" if len(tied) > 1 else ""
        told.append(f"{_word(score, first=not told)} {value}{among}")
        left = tied
        if len(left) == 1:
            break
    ties = "" if len(left) == 1 else f"; {len(left)} are alike in all of these"
    diverged = ""
    if best.num_diverged:
        diverged = f"{best.num_diverged} of {len(best.seeds)} agents diverged; "
    return f"Best: {best.name} ({diverged}{'; among those, '.join(told)}{ties})."


def told_score(sample: Sample, samples: Sequence[Sample], by: str = "iqm") -> str:
    """The score by which samples are put in order, of one of them: IQM 478.2."""
    score = scores(samples)[by]
    value = abs(score.of(sample)) if by == "steps" else score.of(sample)
    if not np.isfinite(value):
        return f"{score.name} none"
    return f"{score.name} {format(value, score.form)}"


def rerun(best: Sample, samples: Sequence[Sample]) -> str:
    """The command that trains the best again, on seeds that none of these had."""
    seed = max(int(s.seeds.max()) for s in samples if len(s.seeds)) + 1
    number = max(len(best.seeds), FEW)
    words = [_as_flag(name, best.config[name]) for name in best.settings]
    path = as_argument(f"{best.run}/config.json")
    return " ".join(
        ["pgjax train --config", path, *words, f"--seed {seed}", f"--seeds {number}"]
    )


def _as_flag(name: str, value: Any) -> str:
    if is_param(name):
        return f"{flag(name)} {str(value).lower()}"
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {_argument(value)}"


def _argument(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return quoted(",".join(map(str, value)))
    return quoted(value)


def _chain(samples: Sequence[Sample], by: str) -> list[Score]:
    known, names = scores(samples), get_args(SortBy)
    if by not in names:
        raise UsageError(f"--sort-by must be one of {', '.join(names)}, got {by!r}")
    order = [by, *(name for name in ("iqm", "mean", "area", "solved") if name != by)]
    return [known[name] for name in [*order, "whole", "known"]]


def _word(score: Score, *, first: bool) -> str:
    if score.name.startswith("median"):
        return f"fewest {score.name}"
    return f"highest {score.name}"


def _same(a: float, b: float) -> bool:
    if a == b or not (np.isfinite(a) and np.isfinite(b)):
        return a == b
    return abs(a - b) <= _TIE * max(abs(a), abs(b))


def _number(x: float) -> float:
    return -np.inf if np.isnan(x) else x


def _iqm(sample: Sample) -> float:
    """Below any number if agents of the middle half have diverged."""
    return float(intervals.iqm_of_rows(worst_if_diverged(sample.greedy)[None])[0])


def _mean(sample: Sample) -> float:
    return -np.inf if sample.num_diverged else float(sample.greedy.mean())


def _area(sample: Sample, budget: float) -> float:
    return -np.inf if sample.num_diverged else area(sample, budget)


def worst_if_diverged(x: np.ndarray) -> np.ndarray:
    """Scores of agents, where one that diverged (NaN) is below any number."""
    return np.where(np.isfinite(x), x, -np.inf)


def _share_whole(sample: Sample) -> float:
    return 1.0 - sample.num_diverged / len(sample.seeds)


def _known_iqm(sample: Sample) -> float:
    return intervals.iqm(sample.known) if sample.known.size else float("nan")


def _share_solved(sample: Sample) -> float:
    return sample.num_solved / len(sample.seeds)


def _fewest_steps(sample: Sample) -> float:
    return -survival(sample.steps_to_solve, sample.env_steps).median.estimate
