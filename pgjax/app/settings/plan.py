"""How a run is carried out: which agents train side by side, in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pgjax.app.settings.build import Experiment, build
from pgjax.app.settings.grid import Agents, Group
from pgjax.app.settings.limits import agents_that_fit
from pgjax.app.settings.ranges import AGENTS
from pgjax.app.settings.request import Request
from pgjax.app.settings.run_settings import Config, to_settings

# What tells no agent of a run from another of the same settings: who else is trained,
# and for how long.
_OF_THE_RUN = "seeds", "seed", "steps"
# Who is in a batch: places in the order of the summary, such as "0:4 8:12".
Ranges = str


class Batch(NamedTuple):
    """Agents that train side by side, of one group."""

    number: int
    group: int
    places: np.ndarray  # (S,) where they are in the order of the summary
    agents: Agents


class Plan(NamedTuple):
    """What a run does, known before it starts."""

    request: Request
    groups: list[Group]
    experiments: list[Experiment]
    batches: list[Batch]
    agents_at_once: int | None = None  # that a user allows; None for what memory holds

    @property
    def num_agents(self) -> int:
        """How many are trained in all."""
        return sum(len(group.agents.seeds) for group in self.groups)

    @property
    def names(self) -> list[str]:
        """The settings of the grid."""
        return list(self.groups[0].agents.labels)

    @property
    def pairs(self) -> list[tuple[Config, Experiment]]:
        """The config of each group, and what `build` made of it."""
        configs = (group.config for group in self.groups)
        return list(zip(configs, self.experiments, strict=True))

    @property
    def ranges(self) -> list[Ranges]:
        """Who is in each batch."""
        return [_ranges(batch.places) for batch in self.batches]


def make_plan(request: Request, agents_at_once: int | None = None) -> Plan:
    """Puts the agents of a request into batches.

    Args:
      request: what is asked for.
      agents_at_once: how large a batch may be; None for what memory holds.
    """
    plan = _without_batches(request, agents_at_once)
    places = [np.arange(first, stop) for first, stop in _extents(plan.groups)]
    return _with_batches(plan, [], places)


def plan_again(
    request: Request, ranges: Sequence[Ranges], agents_at_once: int | None = None
) -> Plan | None:
    """The plan of a run that was started; None for batches that it cannot have.

    Args:
      request: what was asked for.
      ranges: of its batches.
      agents_at_once: as of `make_plan`.
    """
    plan = _without_batches(request, agents_at_once)
    extents = _extents(plan.groups)
    batches = []
    for number, of in enumerate(ranges):
        places = _places(of)
        group = _group_of(places, extents)
        if group is None:
            return None
        batches.append(_batch(plan, number, group, places))
    everyone = np.concatenate([batch.places for batch in batches] or [np.zeros(0, int)])
    if not np.array_equal(np.sort(everyone), np.arange(plan.num_agents)):
        return None
    return plan._replace(batches=batches)


def plan_more(before: Plan, request: Request) -> Plan:
    """The plan of a request that a run is extended to: its batches, and new ones.

    Args:
      before: the plan of the run.
      request: the same settings, or more seeds, values and steps.
    """
    plan = _without_batches(request, before.agents_at_once)
    place = {who: i for i, who in enumerate(_identities(plan.groups))}
    now = np.array([place[who] for who in _identities(before.groups)])
    extents = _extents(plan.groups)
    old = [now[batch.places] for batch in before.batches]
    new = [np.setdiff1d(np.arange(first, stop), now) for first, stop in extents]
    kept = []
    for number, places in enumerate(old):
        group = _group_of(places, extents)
        assert group is not None
        kept.append(_batch(plan, number, group, places))
    return _with_batches(plan, kept, new)


def _without_batches(request: Request, agents_at_once: int | None) -> Plan:
    groups = request.groups
    experiments = [build(group.config) for group in groups]
    return Plan(request, groups, experiments, [], agents_at_once)


def _with_batches(
    plan: Plan, batches: list[Batch], places: Sequence[np.ndarray]
) -> Plan:
    """Adds batches of the agents at some places of each group."""
    batches = list(batches)
    for group, of in enumerate(places):
        total, most = len(of), plan.agents_at_once
        if total and most is None:
            config, experiment = plan.groups[group].config, plan.experiments[group]
            most = agents_that_fit(config, experiment, total)
        for start in range(0, total, most or total or 1):
            part = of[start : start + (most or total)]
            batches.append(_batch(plan, len(batches), group, part))
    return plan._replace(batches=batches)


def _batch(plan: Plan, number: int, group: int, places: np.ndarray) -> Batch:
    first, _ = _extents(plan.groups)[group]
    agents = plan.groups[group].agents.take(places - first)
    return Batch(number, group, places, agents)


def _extents(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Where each group's agents are in the order of the summary."""
    ends = np.cumsum([len(group.agents.seeds) for group in groups]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _group_of(places: np.ndarray, extents: Sequence[tuple[int, int]]) -> int | None:
    for group, (first, stop) in enumerate(extents):
        if len(places) and first <= places.min() and places.max() < stop:
            return group
    return None


def _identities(groups: Sequence[Group]) -> Iterator[Any]:
    """What tells each agent from all others, whatever the grid it is in."""
    for group in groups:
        settings = str(settings_of(group))
        values = zip(*group.agents.values.values(), strict=True)
        names = tuple(group.agents.values)
        if not names:
            values = (() for _ in group.agents.seeds)  # type: ignore[assignment]
        for seed, of in zip(group.agents.seeds, values, strict=True):
            yield settings, tuple(sorted(zip(names, of, strict=True))), int(seed)


def settings_of(group: Group) -> dict[str, Any]:
    """What the agents of a group share, whoever else is trained, and for how long."""
    apart = *_OF_THE_RUN, *group.agents.values
    settings = to_settings(group.config)
    shared = {name: x for name, x in settings.items() if name not in apart}
    return {"algorithm": group.config.algorithm, **shared}


def _ranges(places: np.ndarray) -> Ranges:
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    return " ".join(f"{of[0]}:{of[-1] + 1}" for of in np.split(places, breaks))


def _places(ranges: Ranges) -> np.ndarray:
    pairs = [[int(x) for x in part.split(":")] for part in ranges.split()]
    if not pairs or max(stop for _, stop in pairs) > AGENTS:
        return np.zeros(0, int)
    return np.concatenate([np.arange(first, stop) for first, stop in pairs])
