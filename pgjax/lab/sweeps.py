"""A sweep: groups of agents, batch after batch, in one directory that can be resumed.

config.json   the grid, every group's settings, the versions and devices
metrics.csv   one row per agent and logged update, with the grid's settings as columns
summary.json  a row per agent, and totals
params/       the parameters of the agents of each batch, in summary.json's order
parts/        while it runs: what each finished batch gave, and the checkpoints of
              the one that is training
"""

from __future__ import annotations

import contextlib
import csv
import json
import pathlib
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgjax.lab import store
from pgjax.lab.build import Experiment, build
from pgjax.lab.checkpoints import Checkpoints
from pgjax.lab.config import Config, to_json
from pgjax.lab.errors import UsageError
from pgjax.lab.execution import Execution
from pgjax.lab.grid import Agents, Group, make_groups
from pgjax.lab.loggers import check_loggers, merge_parquet, open_loggers
from pgjax.lab.memory import agents_that_fit, block_size
from pgjax.lab.progress import Progress, Reporter, count, plural, process_age
from pgjax.lab.signals import noted
from pgjax.lab.summary import agent_rows, print_points, summarize


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
    def num_agents(self) -> int:
        """How many are trained in all."""
        return sum(len(batch.agents.seeds) for batch in self.batches)


def sweep(
    algorithm: str,
    preset: str,
    given: Mapping[str, Any],
    grid: Mapping[str, Sequence],
    *,
    out: str | None,
    agents_at_once: int | None,
    execution: Execution,
) -> int:
    """Trains every combination of a grid for every seed; returns the exit code.

    Args:
      algorithm: its name.
      preset: as for `make_config`.
      given: settings that all agents share.
      grid: names of settings, and the values of each.
      out: the directory to make; named after the sweep by default.
      agents_at_once: how many train side by side; by default as many as memory holds.
      execution: how it is carried out.
    """
    log = execution.log
    if agents_at_once is not None and agents_at_once < 1:
        raise UsageError(f"--agents-at-once must be at least 1, got {agents_at_once}")
    request: dict[str, Any] = {
        "algorithm": algorithm,
        "log": list(log),
        "preset": preset,
        "given": dict(given),
        "grid": {name: list(values) for name, values in grid.items()},
    }
    plan = _plan(request, agents_at_once)
    check_loggers(log, max(len(batch.agents.seeds) for batch in plan.batches))
    # Free memory may be another when it is resumed; batches must be the same.
    request["batches"] = [len(batch.agents.seeds) for batch in plan.batches]
    directory = store.choose_run(out, f"sweep-{plan.groups[0].config.algorithm}")
    store.create_run(directory, {"sweep": request, "groups": _settings_of(plan.groups)})
    with store.locked(directory):
        return _run(directory, plan, execution)


def resume(
    directory: pathlib.Path, given: Mapping[str, Any], execution: Execution
) -> int:
    """Goes on with a sweep that was stopped, from its last checkpoint.

    Args:
      directory: of the sweep; finished batches are kept.
      given: settings, which must be those of the sweep; lists for those of the grid.
      execution: how; the loggers are those of the sweep.

    Raises:
      UsageError: if the directory is no sweep, other settings are given, or this
        version of pgjax would train other settings than it was started with.
    """
    with store.locked(directory):
        plan, log = _plan_again(directory, given)
        store.note_resumed(directory, {})
        return _run(directory, plan, execution._replace(log=log))


def _plan_again(
    directory: pathlib.Path, given: Mapping[str, Any]
) -> tuple[Plan, Sequence[str]]:
    """A sweep's plan and its loggers, having seen that it can go on."""
    record = store.load_record(directory)
    if "sweep" not in record:
        raise UsageError(f"{directory} is not a sweep; `pgjax sweep` makes one")
    if (directory / "summary.json").is_file():
        raise UsageError(f"{directory} is complete: there is nothing to resume")
    request = record["sweep"]
    told = json.loads(json.dumps({**request["given"], **request["grid"]}))
    differing = [
        f"--{name.replace('_', '-')} (the sweep: {told.get(name, 'its default')})"
        for name, value in json.loads(json.dumps(dict(given))).items()
        if value != told.get(name)
    ]
    if differing:
        raise UsageError(
            f"{directory} has other settings: {'; '.join(differing)}; leave them out, "
            "or start another sweep"
        )
    check_loggers(request.get("log", ()))
    plan = _plan(request, request["batches"])
    if _settings_of(plan.groups) != record["groups"]:
        raise UsageError(
            f"{directory} was started with other settings than this version of pgjax "
            "gives the same command; use the version that started it"
        )
    return plan, request.get("log", ())


def _settings_of(groups: list[Group]) -> list[dict[str, Any]]:
    return json.loads(json.dumps([to_json(group.config) for group in groups]))


def _plan(request: Mapping[str, Any], sizes: int | list[int] | None) -> Plan:
    """The plan; batches are of the sizes listed, or at most so large, or what fits."""
    groups = make_groups(
        request["algorithm"], request["preset"], request["given"], request["grid"]
    )
    experiments = [build(group.config) for group in groups]
    batches: list[Batch] = []
    for number, (group, experiment) in enumerate(zip(groups, experiments, strict=True)):
        total = len(group.agents.seeds)
        most = sizes if isinstance(sizes, int) else total
        if sizes is None:
            most = agents_that_fit(experiment, total, block_size(group.config.num_envs))
        start = 0
        while start < total:
            size = sizes[len(batches)] if isinstance(sizes, list) else most
            agents = group.agents.take(slice(start, start + size))
            batches.append(Batch(len(batches), number, agents))
            start += size
    return Plan(groups, experiments, batches)


def _run(directory: pathlib.Path, plan: Plan, execution: Execution) -> int:
    from pgjax.lab import trainer

    reporter = Reporter(execution.quiet)
    config = plan.groups[0].config
    reporter.console.print(
        f"{plural(plan.num_agents, 'agent')} x {count(config.steps)} env steps: "
        f"{plural(len(plan.groups), 'compilation')}, "
        f"{plural(len(plan.batches), 'batch', 'batches')}",
        soft_wrap=True,
    )
    parts = directory / "parts"
    parts.mkdir(exist_ok=True)
    seconds = {"compile": 0.0, "train": 0.0}
    programs: dict[tuple[int, int], Any] = {}
    total = plan.num_agents * config.steps
    with (
        noted(signal.SIGINT, signal.SIGTERM) as received,
        reporter.training(total) as progress,
    ):
        share = _Share(progress, plan.num_agents)
        for batch in plan.batches:
            part = parts / f"{batch.number:03d}"
            if (part / "rows.json").is_file():
                share.add(json.loads((part / "rows.json").read_text()))
                continue
            group, experiment = plan.groups[batch.group], plan.experiments[batch.group]
            size = batch.group, len(batch.agents.seeds)
            try:
                if size not in programs:
                    programs = {}  # of another group: they are not needed again
                    programs[size] = trainer.compile_programs(
                        group.config, experiment, batch.agents, received
                    )
                    seconds["compile"] += programs[size].seconds
                rows = _train(
                    part,
                    execution,
                    group.config,
                    batch,
                    programs[size],
                    share,
                    received,
                    seconds,
                )
            except KeyboardInterrupt:
                rows = None
            if rows is None:
                reporter.console.print(
                    f"stopped; {_finished(parts)} of {len(plan.batches)} batches are "
                    "finished, and the one that was training is saved; to go on:\n"
                    f"    pgjax sweep --resume {directory}",
                    soft_wrap=True,
                )
                return 128 + received[0] if received else 130
            share.add(rows)
    summary = _finish(directory, plan, seconds)
    if not execution.quiet:
        print_points(directory, config, summary, list(plan.groups[0].agents.labels))
    return 0


def _finished(parts: pathlib.Path) -> int:
    return len(list(parts.glob("*/rows.json")))


def _train(
    part: pathlib.Path,
    execution: Execution,
    config: Config,
    batch: Batch,
    programs: Any,
    share: _Share,
    received: list[int],
    seconds: dict[str, float],
) -> list[dict[str, Any]] | None:
    """One batch, whose rows are written last; None if it was interrupted."""
    from pgjax.lab import trainer

    part.mkdir(exist_ok=True)
    start = time.perf_counter()
    labels, directory = list(batch.agents.labels), part.parent.parent
    with contextlib.closing(
        Checkpoints(
            part / "checkpoints", every=execution.checkpoint_every, at_end=False
        )
    ) as checkpoints:
        saved = trainer.load(config, batch.agents, programs, checkpoints)
        position = 0 if saved is None else int(saved.metrics_bytes)
        with open_loggers(
            execution.log, part, shared=directory, labels=labels, position=position
        ) as logger:
            training = trainer.train_agents(
                config,
                batch.agents,
                programs,
                logger,
                share,
                received,
                checkpoints,
                saved,
            )
    if received:
        return None
    store.save_params(part / "params.npz", training.params)
    returns = trainer.evaluate_agents(batch.agents, programs, training.params)
    rows = agent_rows(batch.agents, training.log, returns)
    seconds["train"] += time.perf_counter() - start
    store.write_json(part / "rows.json", rows)
    shutil.rmtree(part / "checkpoints", ignore_errors=True)
    return rows


def _finish(
    directory: pathlib.Path, plan: Plan, seconds: dict[str, float]
) -> dict[str, Any]:
    """Puts the parts together; the summary is written last."""
    parts = [directory / "parts" / f"{batch.number:03d}" for batch in plan.batches]
    rows = [
        row for part in parts for row in json.loads((part / "rows.json").read_text())
    ]
    _merge_metrics(parts, directory)
    (directory / "params").mkdir(exist_ok=True)
    for part in parts:
        shutil.copy(part / "params.npz", directory / "params" / f"{part.name}.npz")
    summary = summarize(
        plan.groups[0].config,
        rows,
        compile_seconds=seconds["compile"],
        train_seconds=seconds["train"],
        wall_seconds=process_age(),
    )
    store.write_json(directory / "summary.json", summary)
    shutil.rmtree(directory / "parts")
    return summary


def _merge_metrics(parts: list[pathlib.Path], directory: pathlib.Path) -> None:
    """One table of the parts' tables, in each format that they have."""
    tables = [part / "metrics.csv" for part in parts]
    if all(table.is_file() for table in tables):
        _merge(tables, directory / "metrics.csv")
    tables = [part / "metrics.parquet" for part in parts]
    if all(table.is_file() for table in tables):
        from pyarrow import parquet

        whole = [parquet.read_table(table) for table in tables]
        merge_parquet(whole, directory / "metrics.parquet")


def _merge(parts: list[pathlib.Path], whole: pathlib.Path) -> None:
    """One table of several; cells that a part has no column for are empty."""
    columns: dict[str, None] = {}
    for path in parts:
        with path.open(newline="") as file:
            columns |= dict.fromkeys(next(csv.reader(file)))
    with whole.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(columns), restval="")
        writer.writeheader()
        for path in parts:
            with path.open(newline="") as file:
                writer.writerows(csv.DictReader(file))


class _Share:
    """A batch's part in the progress of the whole sweep."""

    def __init__(self, progress: Progress, num_agents: int):
        self._progress, self._num_agents = progress, num_agents
        self._steps = self._agents = 0
        self._solved: int | None = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Counts a batch that is finished."""
        self._agents += len(rows)
        self._steps += sum(row["env_steps"] for row in rows)
        solved = sum(row["steps_to_solve"] is not None for row in rows)
        self._solved = None if self._solved is None else self._solved + solved

    def update(
        self,
        *,
        steps: int,
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
    ) -> None:
        """Tells how far the present batch is."""
        if num_solved is not None:
            num_solved = None if self._solved is None else self._solved + num_solved
        self._progress.update(
            steps=self._steps + steps,
            done=(self._agents + done * num_agents) / self._num_agents,
            num_agents=self._num_agents,
            mean_return=mean_return,
            num_solved=num_solved,
        )
