"""Notes to be read with tables of scores: what the intervals and the tests are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgjax.app.analysis import ranking
from pgjax.app.analysis.bootstrap import FEW, FEWEST
from pgjax.app.analysis.samples import Sample


def evaluated(samples: Sequence[Sample]) -> list[Sample]:
    """Those whose agents were held against a threshold while they trained."""
    return [s for s in samples if s.evaluated and s.evaluated.has_threshold]


def level(samples: Sequence[Sample]) -> str:
    """What evaluations were held against, in a word or two."""
    levels = {sample.solved_return for sample in evaluated(samples)}
    return f"{levels.pop():g}" if len(levels) == 1 else "the level"


def about_intervals(samples: Sequence[Sample], *, full: bool) -> str:
    """What the intervals of scores are, and the area."""
    kinds = "IQM and mean: bootstrap"
    kinds += "; median: order statistics" if full else ""
    if any(sample.solved_return is not None for sample in samples):
        kinds += "; solved: Clopper-Pearson; steps: Kaplan-Meier"
    told = f"Brackets: 95% intervals over agents ({kinds}). Lowest: the worst agent."
    if any(FEWEST <= sample.known.size < FEW for sample in samples):
        told += f" With fewer than {FEW} agents, bootstrap intervals are too narrow."
    if any(sample.num_diverged for sample in samples):
        told += (
            " Returns are of agents that have not diverged; where samples are put in "
            "order, one that diverged is worse than any other."
        )
    if any(sample.curves.env_steps.size for sample in samples):
        told += (
            " Area: under the learning curve, per step: the mean return of training up "
            f"to {ranking.common_budget(samples):,.0f} steps."
        )
    return told


def about_solving(samples: Sequence[Sample]) -> str:
    """What counts as solved; "" where no level does."""
    levels = sorted({s.solved_return for s in samples} - {None})  # type: ignore
    if not levels:
        return ""
    above = " or ".join(f"{level:g}" for level in levels)
    told = f" Solved: the mean of 100 training episodes, sampled, exceeded {above}."
    if evaluated(samples):
        told += (
            f" To {level(samples)}, greedy: the first evaluation while training whose "
            f"mean, greedy, was {above} or more; nobody looked since the one before."
        )
    return told


def about_gymnasium(samples: Sequence[Sample]) -> str:
    """What was played in Gymnasium; "" where nothing was."""
    played = [s for s in samples if s.gymnasium is not None]
    if not played:
        return ""
    episodes = sorted({s.gymnasium_episodes for s in played})
    told = (
        f" Mean in Gymnasium: of the same policies, greedy, in "
        f"{' or '.join(map(str, episodes))} episodes there, as `pgjax evaluate "
        "--backend gymnasium` found; the other scores are of where they were trained."
    )
    if any(np.isnan(s.gymnasium).any() for s in played if s.gymnasium is not None):
        told += " Agents that did not play there, or diverged, are left out."
    return told


def about_tests(samples: Sequence[Sample], number: int) -> str:
    """What compares samples: P(better), differences, and so many tests."""
    told = (
        "P(better): that an agent's return is higher than one of the other's, ties "
        "halved, with Newcombe's 95% interval; difference: bootstrap"
    )
    if any(sample.num_diverged for sample in samples):
        told += ", of agents that have not diverged"
    told += "."
    if number:
        told += " p: log-rank test of the times to solve"
        many = f", for one comparison made alone; Holm: for all {number} at once"
        told += f"{many if number > 1 else ''}."
    return told + " Agents are taken as independent, also where seeds are shared."
