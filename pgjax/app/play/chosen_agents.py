"""Agents of a run, and which of them are meant: by settings, seeds, or as the best."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pgjax.app.errors import UsageError
from pgjax.app.runs.run_record import load_record
from pgjax.app.runs.study_record import runs_of
from pgjax.app.settings.build import Experiment
from pgjax.app.settings.env_params import full_names, is_param
from pgjax.app.settings.grid import Agents, is_value, label
from pgjax.app.settings.run_settings import Config


class Trained(NamedTuple):
    """Agents of a run whose programs are the same but for numbers."""

    config: Config
    experiment: Experiment
    agents: Agents
    params: Any  # leaves (S, ...)


def wanted(
    run: pathlib.Path, where: Mapping[str, Any] | None, *, best: bool
) -> dict[str, Any]:
    """The settings that agents must have.

    Args:
      run: the run's directory.
      where: settings that were given, by name.
      best: whether to add those of the best combination that has them, by the rule of
        `pgjax compare`; the run must be complete.
    """
    given = dict(where or {})
    if not best:
        return given
    from pgjax.app.analysis import ranking, selection

    samples = selection.load_all([str(run)], given)
    return given | ranking.ranked(samples)[0].settings


def runs_with(
    study: pathlib.Path, where: Mapping[str, Any]
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """The runs of a study in which there are such agents, and settings of their grids.

    Args:
      study: its directory; all of its runs must be complete.
      where: settings by name, "algorithm" and "env" among them.

    Raises:
      UsageError: if there are none.
    """
    found = []
    for run in runs_of(study):
        request = load_record(run).request
        about = {"algorithm": request.algorithm, "env": request.settings["env"]}
        rest = {name: x for name, x in where.items() if name not in about}
        rest = full_names(rest, request.grid)
        apart = all(x == where.get(name, x) for name, x in about.items())
        if apart and all(
            any(is_value(label(y), x) for y in request.grid.get(name, ()))
            for name, x in rest.items()
        ):
            found.append((run, rest))
    if not found:
        told = " ".join(f"{name}={value}" for name, value in where.items())
        raise UsageError(f"--where {told}: no run of {study} has such agents")
    return found


def find(
    groups: Sequence[Trained], where: Mapping[str, Any]
) -> list[tuple[Trained, int]]:
    """The agents that have these settings: their groups, and places in them.

    Raises:
      UsageError: if there is none.
    """
    labels = list(groups[0].agents.labels)
    where = full_names(where, labels)
    if unknown := where.keys() - set(labels):
        known = f"its grid has {', '.join(labels)}" if labels else "it has no grid"
        raise UsageError(f"--where {min(unknown)}: {known}")
    found = [
        (group, i)
        for group in groups
        for i in range(len(group.agents.seeds))
        if all(
            is_value(group.agents.labels[name][i], value)
            for name, value in where.items()
        )
    ]
    if not found:
        told = " ".join(f"{name}={value}" for name, value in where.items())
        there = "; ".join(
            f"{name}: {', '.join(_values_of(groups, name))}" for name in where
        )
        raise UsageError(f"no agent of the run has {told}; there are {there}")
    return found


def choose(
    groups: Sequence[Trained], seed: int | None, where: Mapping[str, Any]
) -> tuple[Trained, int, Any]:
    """One agent: its group, its seed, and its parameters; by default the first.

    Args:
      groups: of a run.
      seed: its seed.
      where: its settings in the grid, by name; those that leave one agent.

    Raises:
      UsageError: if there is no such agent, or there are several.
    """
    labels = list(groups[0].agents.labels)
    where = full_names(where, labels)
    found = find(groups, where)
    seeds = [int(group.agents.seeds[i]) for group, i in found]
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise UsageError(
            f"the run has no seed {seed}; it has {min(seeds)} to {max(seeds)}"
        )
    if seeds.count(seed) > 1 and labels:
        values = " ".join(
            f"{name}={groups[0].agents.labels[name][0]}"
            for name in labels
            if name not in where
        )
        raise UsageError(
            f"the run has {seeds.count(seed)} agents of seed {seed}: say which, "
            f"such as --where {values}, or take --best-combination"
        )
    group, i = found[seeds.index(seed)]
    params = jax.tree.map(lambda x: x[i], group.params)
    return _in_own_world(group, i), seed, params


def _in_own_world(group: Trained, i: int) -> Trained:
    """The group, whose environment has the parameters of one of its agents."""
    values = {k: float(x[i]) for k, x in group.agents.values.items() if is_param(k)}
    pieces = group.experiment.make(values)
    return group._replace(experiment=group.experiment._replace(**pieces._asdict()))


def restrict(groups: Sequence[Trained], where: Mapping[str, Any]) -> list[Trained]:
    """The groups with those agents only that have these settings; see `find`."""
    places: dict[int, list[int]] = {}
    for group, i in find(groups, where):
        places.setdefault(id(group), []).append(i)
    return [
        group._replace(
            agents=group.agents.take(np.array(of)),
            params=jax.tree.map(lambda x, of=of: x[np.array(of)], group.params),
        )
        for group in groups
        if (of := places.get(id(group)))
    ]


def _values_of(groups: Sequence[Trained], name: str) -> list[str]:
    """The values of a setting in the run's grid, as they are written."""
    found = (str(x) for group in groups for x in group.agents.labels[name])
    return list(dict.fromkeys(found))
