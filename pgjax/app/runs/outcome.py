"""What a run came to: its own files, made of those of its batches, and what is printed.

metrics.csv, params.npz and learning_curve.png are also of a run that was stopped, as
far as it came; summary.json is written last, of one that is complete.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pgjax.app.runs.batches import Finished, Store
from pgjax.app.runs.files import write_whole
from pgjax.app.runs.merge import Part, Share, merge_metrics, merge_params
from pgjax.app.runs.metrics_reader import read_curves
from pgjax.app.runs.parquet import PARQUET, copy_to_parquet
from pgjax.app.runs.periodic_evaluation_log import COLUMNS as EVALUATION_COLUMNS
from pgjax.app.runs.progress import Reporter
from pgjax.app.runs.results import (
    BEST_PARAMS,
    CURVE,
    EVALUATIONS,
    METRICS,
    PARAMS,
    write_summary,
)
from pgjax.app.runs.summary import summarize, title_of
from pgjax.app.settings.plan import Plan
from pgjax.app.settings.run_settings import Config


def put_together(
    run: pathlib.Path,
    plan: Plan,
    stores: Sequence[Store],
    finished: Sequence[Finished | None],
    reporter: Reporter,
) -> None:
    """Writes the table, the parameters, and the learning curve, of what there is.

    A table that was damaged keeps no run from its other results; it is told.

    Args:
      run: its directory.
      plan: what it does.
      stores: of its batches, in order.
      finished: what each came to, as far as it is known.
      reporter: tells what was not written.
    """
    pairs = list(zip(plan.batches, stores, strict=True))
    parts = [Part(s.metrics, b.places) for b, s in pairs if s.metrics.exists()]
    if parts:  # unless with --log none
        with reporter.failure_told(f"{run / METRICS} was not written"):
            _merge_metrics(run, plan, parts, finished)
        if "parquet" in plan.request.log:
            with reporter.failure_told(f"{run / PARQUET} was not written"):
                copy_to_parquet(run, labels_of(plan))
    rounds = [Part(s.evaluations, b.places) for b, s in pairs if s.evaluations.exists()]
    if rounds:
        with reporter.failure_told(f"{run / EVALUATIONS} was not written"):
            names, each = _labels(plan)
            columns = EVALUATION_COLUMNS
            merge_metrics(rounds, run / EVALUATIONS, each, names, first=columns)
            if "parquet" in plan.request.log:
                copy_to_parquet(run, labels_of(plan), EVALUATIONS)
    _put_params_together(run / PARAMS, plan, [s.params for s in stores])
    if plan.groups[0].config.eval_every is not None:
        best = [store.best_params for store in stores]
        _put_params_together(run / BEST_PARAMS, plan, best)
    if not plan.names:
        with reporter.failure_told(f"{run / CURVE} was not drawn"):
            draw_learning_curve(run, plan, _diverged(plan, finished))


def _put_params_together(
    whole: pathlib.Path, plan: Plan, paths: Sequence[pathlib.Path]
) -> None:
    """Makes one file of those of the batches, once all are there."""
    if not all(path.exists() for path in paths):
        return
    shares: list[list[Share]] = [[] for _ in plan.groups]
    firsts = np.cumsum([0, *(len(g.agents.seeds) for g in plan.groups)])
    for batch, path in zip(plan.batches, paths, strict=True):
        places = batch.places - firsts[batch.group]
        shares[batch.group].append(Share(path, places))
    merge_params(shares, whole)


def _merge_metrics(
    run: pathlib.Path,
    plan: Plan,
    parts: Sequence[Part],
    finished: Sequence[Finished | None],
) -> None:
    names, each = _labels(plan)
    every = plan.groups[0].config.log_every
    diverged = _diverged(plan, finished)
    merge_metrics(parts, run / METRICS, each, names, every=every, diverged=diverged)


def _diverged(plan: Plan, finished: Sequence[Finished | None]) -> set[int]:
    """The places of agents that diverged, as far as it is known."""
    return {
        int(place)
        for batch, of in zip(plan.batches, finished, strict=True)
        for place, row in zip(batch.places, of.rows if of else (), strict=False)
        if row["diverged"]
    }


def _labels(plan: Plan) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of what tells agents apart, and the values of each agent."""
    labels = labels_of(plan)
    return list(labels), list(zip(*labels.values(), strict=True))


def labels_of(plan: Plan) -> dict[str, list[Any]]:
    """What tells agents apart, in the order of the summary: settings, then the seed."""
    labels: dict[str, list[Any]] = {name: [] for name in [*plan.names, "seed"]}
    for group in plan.groups:
        for name, of in group.agents.labels.items():
            labels[name] += of.tolist()
        labels["seed"] += group.agents.seeds.tolist()
    return labels


def write_outcome(
    run: pathlib.Path,
    plan: Plan,
    finished: Sequence[Finished],
    show: Callable[[pathlib.Path, Config, dict[str, Any], list[str]], None] | None,
) -> int:
    """Writes summary.json of a run that is complete, and shows it.

    Args:
      run: its directory.
      plan: what it did.
      finished: what each batch came to.
      show: prints it; None for nothing.

    Returns:
      An exit code: 1 if every agent has diverged.
    """
    config = plan.groups[0].config
    rows = _rows(plan, finished)
    summary = summarize(
        config,
        rows,
        compile_seconds=max(batch.compiling for batch in finished),
        train_seconds=sum(batch.seconds for batch in finished),
        wall_seconds=max(batch.age for batch in finished),
        evaluating_seconds=sum(batch.evaluating for batch in finished),
    )
    write_summary(run, summary)
    if show is not None:
        show(run, config, summary, plan.names)
    return code_of(rows)


def code_of(rows: Sequence[Mapping[str, Any]]) -> int:
    """The exit code of a run, by the rows of its summary: 1 if all agents diverged."""
    return int(all(row.get("diverged") for row in rows))


def _rows(plan: Plan, finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row per agent, in the order of the summary."""
    labels = labels_of(plan)
    rows: list[dict[str, Any]] = [{} for _ in labels["seed"]]
    for batch, of in zip(plan.batches, finished, strict=True):
        for place, row in zip(batch.places.tolist(), of.rows, strict=True):
            apart = {name: labels[name][place] for name in plan.names}
            rows[place] = {"seed": row["seed"], **apart, **row}
    return rows


def draw_learning_curve(
    run: pathlib.Path, plan: Plan, diverged: Collection[int]
) -> None:
    """Draws a run without a grid from its metrics.csv, where there is one.

    Args:
      run: its directory.
      plan: what it does.
      diverged: places of agents that are left out, which the figure tells.
    """
    from pgjax.app.analysis.learning_curve import learning_curve

    path, config = run / METRICS, plan.groups[0].config
    if not path.exists():
        return
    seeds = plan.groups[0].agents.seeds
    everyone = [(str(x),) for place, x in enumerate(seeds) if place not in diverged]
    curves = read_curves(path, (), set(everyone))
    drawn = [curves[agent] for agent in everyone if agent in curves]
    if not drawn:
        return
    env_steps, recent = zip(*drawn, strict=True)
    title, level = title_of(config), config.solved_return
    evaluations = []
    if (run / EVALUATIONS).exists():
        table, column = run / EVALUATIONS, "mean_return"
        evaluations = list(read_curves(table, (), set(everyone), column).values())
    write_whole(
        run / CURVE,
        lambda file: learning_curve(
            *(file, env_steps, recent, evaluations),
            title=title,
            solved_return=level,
            diverged=len(diverged),
        ),
    )
