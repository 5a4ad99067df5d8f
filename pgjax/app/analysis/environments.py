"""Methods compared across environments, by normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pgjax.app.analysis import aggregates, pairs, ranking, score_tables
from pgjax.app.analysis.bootstrap import FEW, FEWEST
from pgjax.app.analysis.normalization import Scale, scales
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import place_of
from pgjax.app.errors import UsageError
from pgjax.app.settings.grid import label
from pgjax.app.settings.run_settings import OF_ONE_ENV
from pgjax.app.shown_names import in_words, one_line
from pgjax.app.tables import Column, Table

# Settings that do not make another method.
_NO_METHOD = OF_ONE_ENV | {"env", "seed", "seeds", "log_every", "eval_episodes"}
_NO_METHOD |= {"algorithm"}  # which a method is named by
_STATISTICS = (
    ("iqm", "IQM", aggregates.iqm),
    ("mean", "mean", aggregates.mean),
    ("median", "median", aggregates.median),
    ("optimality_gap", "optimality\ngap", aggregates.optimality_gap),
)


class Method(NamedTuple):
    """What was trained on every environment, in the same way."""

    name: str
    samples: list[Sample]  # one for each environment, in the order of their names
    scores: list[np.ndarray]  # (n_k,) normalised, of agents that have not diverged


def methods(samples: Sequence[Sample], path: str | None) -> list[Method]:
    """The samples by their methods: algorithms, and what differs within one.

    Raises:
      UsageError: if a method lacks an environment or has it twice; without a scale.
    """
    envs = sorted({sample.env for sample in samples})
    known = scales(envs, path)
    found: dict[str, dict[str, Sample]] = {}
    for sample, name in zip(samples, _names(samples), strict=True):
        of = found.setdefault(name, {})
        if sample.env in of:
            raise UsageError(
                f"{of[sample.env].name} and {sample.name} are both {name} on "
                f"{sample.env}: leave one of them out"
            )
        of[sample.env] = sample
    for name, of in found.items():
        if missing := [env for env in envs if env not in of]:
            raise UsageError(
                f"{name} has no run of {' and '.join(missing)}, which others have: "
                "methods are compared on the same environments; --where env=NAME takes "
                "one environment"
            )
    return [
        _method(name, [of[env] for env in envs], known) for name, of in found.items()
    ]


def _method(name: str, samples: list[Sample], known: dict[str, Scale]) -> Method:
    for sample in samples:
        if not sample.known.size:
            raise UsageError(f"every agent of {sample.name} has diverged: no score")
    scores = [known[s.env].normalize(s.known) for s in samples]
    return Method(one_line(name), samples, scores)


def _names(samples: Sequence[Sample]) -> list[str]:
    """The algorithm, and the settings that differ within it on one environment."""
    apart: dict[str, dict[str, None]] = {}
    for env in {sample.env for sample in samples}:
        own = [sample for sample in samples if sample.env == env]
        for algorithm in {sample.algorithm for sample in own}:
            configs = [s.config for s in own if s.algorithm == algorithm]
            names = dict.fromkeys(name for config in configs for name in config)
            for name in names:
                values = {str(label(config.get(name))) for config in configs}
                if len(values) > 1 and name.partition(".")[0] not in _NO_METHOD:
                    apart.setdefault(algorithm, {})[name] = None
    return [
        ", ".join(
            [
                s.algorithm or "unknown",
                *(
                    f"{in_words(name)} {label(s.config.get(name))}"
                    for name in apart.get(s.algorithm, ())
                ),
            ]
        )
        for s in samples
    ]


def refuse_scale(samples: Sequence[Sample], path: str | None) -> None:
    """Sees that no scale is given for samples of one environment, which need none.

    Raises:
      UsageError: if one is.
    """
    if path is not None:
        raise UsageError(
            f"--normalize {path}: all runs are of {samples[0].env}, whose returns are "
            "compared as they are; leave it out, or give runs of other environments"
        )


def ranked(found: Sequence[Method], by: str = "iqm") -> list[Method]:
    """The methods, best first, by normalised scores; one that diverged is the worst.

    Args:
      found: methods.
      by: iqm or mean.

    Raises:
      UsageError: for another score, which has no scale of its own.
    """
    statistics = {"iqm": aggregates.iqm, "mean": aggregates.mean}
    if by not in statistics:
        raise UsageError(
            f"--sort-by {by}: of several environments, methods are put in order by "
            "iqm or mean of normalised scores"
        )

    def keys(method: Method) -> list[float]:
        pairs = zip(method.samples, method.scores, strict=True)
        strata = [
            np.concatenate([known, np.full(sample.num_diverged, -np.inf)])[None]
            for sample, known in pairs
        ]
        order = [by, *(name for name in statistics if name != by)]
        everyone = [float(statistics[name](strata)[0]) for name in order]
        diverged = sum(sample.num_diverged for sample in method.samples)
        rest = float(statistics[by]([x[None] for x in method.scores])[0])
        return [-x for x in everyone] + [diverged, -rest]

    return sorted(found, key=keys)


def tables(
    samples: Sequence[Sample],
    path: str | None,
    against: Sequence[str],
    sort_by: str | None = None,
    *,
    most: int | None = None,
) -> list[Table]:
    """Methods on all environments together, compared, and on each environment.

    Args:
      samples: of several environments.
      path: see `scales`.
      against: the method that others are compared with, see `selection.place_of`, or
        "best"; by default the first.
      sort_by: the score by which methods, and runs of each environment, are in order;
        None to leave them.
      most: rows of each environment; None for all.
    """
    found = methods(samples, path)
    order = ranked(found, sort_by or "iqm")
    if list(against) == ["best"]:
        first = order[0]
    else:
        first = found[place_of([(m.name, m.samples) for m in found], against)]
    if sort_by:
        found = order
    several = [aggregate_table(found)]
    if len(found) > 1:
        several.append(comparison_table(found, first))
    for env in sorted({sample.env for sample in samples}):
        own = [sample for sample in samples if sample.env == env]
        if sort_by:
            own = ranking.ranked(own, sort_by)
        table = score_tables.scores(own, full=False, most=most)
        several.append(table._replace(key=env))
    return several


def best(samples: Sequence[Sample], path: str | None, by: str = "iqm") -> list[str]:
    """The best method in words, and how to see if that holds.

    Args:
      samples: of several environments.
      path: see `scales`.
      by: see `ranked`.
    """
    order = ranked(methods(samples, path), by)
    if len(order) == 1:
        return []
    first, heading = order[0], {"iqm": "IQM", "mean": "mean"}[by]
    statistic = {key: of for key, _, of in _STATISTICS}[by]
    told = [
        f"Best: {first.name} (highest {heading} of normalised scores, "
        f"{float(statistic([x[None] for x in first.scores])[0]):.3f})."
        if not any(sample.num_diverged for sample in first.samples)
        else f"Best: {first.name} (agents of it diverged)."
    ]
    if all(sample.run for sample in first.samples):
        told.append(
            f"It was chosen among {len(order)} on the seeds it is scored on, which "
            "flatters it. On other seeds:"
        )
        told += [f"    {ranking.rerun(sample, samples)}" for sample in first.samples]
    return told


def aggregate_table(found: Sequence[Method]) -> Table:
    """Normalised scores of each method, over all environments."""
    envs = [sample.env for sample in found[0].samples]
    rows = [
        [
            method.name,
            sum(len(sample.seeds) for sample in method.samples),
            *(aggregates.aggregate(of, method.scores) for _, _, of in _STATISTICS),
        ]
        for method in found
    ]
    note = (
        "Normalised: 0 is random actions, 1 the reference. Brackets: 95% stratified "
        "bootstrap intervals over agents. IQM: over all agents of all environments; "
        "median: over the environments' means; optimality gap: how far agents are "
        "below 1, the lower the better."
    )
    fewest = [min(map(len, method.scores)) for method in found]
    if any(FEWEST <= number < FEW for number in fewest):
        note += f" With fewer than {FEW} agents, the intervals are too narrow."
    return Table(
        f"Normalised scores over {', '.join(envs)}",
        [
            Column("method", "method", left=True),
            Column("agents", "agents", "d", fixed=True),
            *(Column(key, heading, ".3f") for key, heading, _ in _STATISTICS),
        ],
        rows,
        [note],
        "normalized",
    )


def comparison_table(found: Sequence[Method], first: Method) -> Table:
    """Every method compared with one of them, averaged over environments."""
    rows = []
    for method in found:
        if method is not first:
            each = [
                score_tables.better(one, other)
                for one, other in zip(method.samples, first.samples, strict=True)
            ]
            rows.append([method.name, pairs.average(each)])
    note = (
        "P(better): that an agent's return is higher than one of the other's on the "
        "same environment, averaged over environments; interval of Zou and Donner from "
        "Newcombe's."
    )
    columns = [Column("method", "method", left=True)]
    columns.append(Column("p_better", "P(better)", ".2f"))
    return Table(f"Against {first.name}", columns, rows, [note], "against")
