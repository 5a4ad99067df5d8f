"""Which samples of which runs: loading, filtering, and names that tell them apart."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pgjax.app.analysis.samples import Sample, load_samples
from pgjax.app.errors import UsageError
from pgjax.app.runs.study_record import runs_of
from pgjax.app.settings.env_params import full_names
from pgjax.app.settings.grid import is_value, label
from pgjax.app.shown_names import in_words, one_line


def load_all(
    runs: Sequence[str], where: Mapping[str, Any] | None = None
) -> list[Sample]:
    """The samples of several directories, with names that tell them apart.

    Args:
      runs: directories of runs, and of studies.
      where: settings, by name, that a sample must have to be taken.

    Raises:
      UsageError: for what is no finished run, or if no sample is left.
    """
    directories = [path for run in runs for path in runs_of(pathlib.Path(run))]
    resolved = [path.resolve() for path in directories]
    for path, directory in zip(directories, resolved, strict=True):
        if resolved.count(directory) > 1:
            told = f"{path} is given twice, and would look like twice as much"
            raise UsageError(told)
    samples = [sample for path in directories for sample in load_samples(path)]
    samples = chosen(samples, where or {})
    return [
        s._replace(name=one_line(name), env=one_line(s.env))
        for s, name in zip(samples, _names(samples), strict=True)
    ]


def chosen(samples: Sequence[Sample], where: Mapping[str, Any]) -> list[Sample]:
    """The samples that have these settings.

    Raises:
      UsageError: if there are none, naming the values that there are.
    """
    where = full_names(where, _known(samples))
    for name in where:
        values = [s.config[name] for s in samples if name in s.config]
        if not values:
            swept = list(dict.fromkeys(x for s in samples for x in s.settings))
            known = f"the grid has {', '.join(swept)}" if swept else "there is no grid"
            raise UsageError(f"--where {name}: no run has such a setting; {known}")
        if not any(is_value(label(x), where[name]) for x in values):
            there = ", ".join(dict.fromkeys(str(label(x)) for x in values))
            raise UsageError(
                f"--where {name}={where[name]}: no run has that value; there are "
                f"{there}"
            )
    left = [s for s in samples if has(s, where)]
    if not left:
        told = " ".join(f"{name}={value}" for name, value in where.items())
        raise UsageError(f"--where {told}: no run has all of these")
    return left


def has(sample: Sample, where: Mapping[str, Any]) -> bool:
    """Whether a sample has these settings."""
    return all(
        name in sample.config and is_value(label(sample.config[name]), value)
        for name, value in where.items()
    )


def baseline(samples: Sequence[Sample], against: Sequence[str], best: Sample) -> Sample:
    """The sample that others are compared with; the first by default.

    Args:
      samples: all of them.
      against: words: "best", a run, settings as NAME=VALUE; they must leave one sample.
      best: the best.

    Raises:
      UsageError: if they leave none, or several.
    """
    if list(against) == ["best"]:
        return best
    return samples[place_of([(s.name, [s]) for s in samples], against)]


def place_of(
    groups: Sequence[tuple[str, Sequence[Sample]]], against: Sequence[str]
) -> int:
    """The place of the group that is meant; the first by default.

    Args:
      groups: names and samples: of one, or of a method on several environments.
      against: a name, or words: runs, settings as NAME=VALUE, which all of the samples
        must have; they must leave one group.

    Raises:
      UsageError: if they leave none, or several.
    """
    if not against:
        return 0
    told = " ".join(against)
    left = [i for i, (name, _) in enumerate(groups) if name == told]
    left = left or list(range(len(groups)))
    known = _known([sample for _, of in groups for sample in of])
    for word in against if len(left) > 1 or groups[left[0]][0] != told else ():
        name, equals, value = word.partition("=")
        asked = full_names({name: value}, known)
        if equals and asked.keys() <= known:
            left = [i for i in left if all(has(s, asked) for s in groups[i][1])]
        else:
            left = [
                i
                for i in left
                if word == groups[i][0]
                or any(word in _names_of(s) for s in groups[i][1])
            ]
    if len(left) != 1:
        found = f"none of them, such as {groups[0][0]}"
        if left:
            one, other = (groups[i][0] for i in left[:2])
            found = f"{len(left)} of them, such as {one} and {other}"
        raise UsageError(
            f"--against {told} is {found}: name a run, settings as NAME=VALUE, or best"
        )
    return left[0]


def _known(samples: Sequence[Sample]) -> set[str]:
    """The settings that any of the samples has."""
    return {name for sample in samples for name in sample.config}


def _names_of(sample: Sample) -> set[str]:
    path = sample.run
    return {sample.name, path, path.rstrip("/"), pathlib.Path(path).name}


def varied(samples: Sequence[Sample]) -> list[str]:
    """The settings of grids that differ among samples, in order."""
    names = dict.fromkeys(name for s in samples for name in s.settings)
    return [
        name for name in names if len({s.settings.get(name, "") for s in samples}) > 1
    ]


def _names(samples: Sequence[Sample]) -> list[str]:
    """What tells samples apart: their runs, and the settings that vary in them."""
    several = len({s.run for s in samples}) > 1
    base = Counter(pathlib.Path(run).name for run in {s.run for s in samples})
    names = []
    for s in samples:
        folder = pathlib.Path(s.run).name
        run = folder if base[folder] == 1 else s.run
        own = [x for x in samples if x.run == s.run]
        settings = {name: s.settings[name] for name in varied(own)}
        if not settings and not several and s.settings:
            settings = s.settings
        rest = ", ".join(f"{in_words(k)} {v}" for k, v in settings.items())
        names.append(
            rest if rest and not several else f"{run}: {rest}" if rest else run
        )
    return names
