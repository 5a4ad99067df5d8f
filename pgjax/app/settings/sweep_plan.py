"""What a sweep is to do: which agents train side by side, in what order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pgjax.app.settings.build import Experiment, build
from pgjax.app.settings.config import to_json
from pgjax.app.settings.grid import Agents, Group, make_groups
from pgjax.app.settings.limits import agents_that_fit


class Batch(NamedTuple):
    """Agents that train side by side."""

    number: int
    group: int
    agents: Agents


class Plan(NamedTuple):
    """What a sweep is to do, known before it starts."""

    groups: list[Group]
    experiments: list[Experiment]
    batches: list[Batch]

    @property
    def sizes(self) -> list[int]:
        """How many agents each batch has."""
        return [len(batch.agents.seeds) for batch in self.batches]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Of each group, as JSON would read them."""
        return json.loads(json.dumps([to_json(group.config) for group in self.groups]))

    @property
    def num_agents(self) -> int:
        """How many are trained in all."""
        return sum(self.sizes)


def make_plan(request: Mapping[str, Any], sizes: int | list[int] | None) -> Plan:
    """Puts the combinations of a grid into groups, and those into batches.

    Args:
      request: the algorithm, the preset, the settings given, and the grid.
      sizes: of all batches; or how large one may be; or None for what memory holds.
    """
    groups = make_groups(
        request["algorithm"], request["preset"], request["given"], request["grid"]
    )
    experiments = [build(group.config) for group in groups]
    batches: list[Batch] = []
    for number, (group, experiment) in enumerate(zip(groups, experiments, strict=True)):
        total = len(group.agents.seeds)
        most = sizes if isinstance(sizes, int) else total
        if sizes is None:
            most = agents_that_fit(group.config, experiment, total)
        start = 0
        while start < total:
            size = sizes[len(batches)] if isinstance(sizes, list) else most
            agents = group.agents.take(slice(start, start + size))
            batches.append(Batch(len(batches), number, agents))
            start += size
    return Plan(groups, experiments, batches)
