"""A sweep: groups of agents, batch after batch, in one directory that can be resumed.

config.json   the grid, every group's settings, the versions and devices
metrics.csv   one row per agent and logged update, with the grid's settings as columns
summary.json  a row per agent, totals, and the checksums of the other results
params/       the parameters of the agents of each batch, in summary.json's order
parts/        while it runs: what each finished batch gave, and the checkpoints of
              the one that is training; see `pgjax.app.runs.sweep_parts`
"""

from __future__ import annotations

import json
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pgjax.app.errors import DamagedFileError, UsageError
from pgjax.app.runs import host_loop, run_record, sweep_parts
from pgjax.app.runs.compiled_programs import Programs, compile_programs
from pgjax.app.runs.devices import choose_mesh
from pgjax.app.runs.files import misfit_told
from pgjax.app.runs.hosts import from_first, is_first, largest, on_first
from pgjax.app.runs.loggers import check_loggers, copy_to_parquet
from pgjax.app.runs.new_directory import new_directory
from pgjax.app.runs.params import save_params
from pgjax.app.runs.progress import Progress, Reporter, count, plural, process_age
from pgjax.app.runs.results import SUMMARY, write_summary
from pgjax.app.runs.signals import ENDING, FINISHING, exit_code, noted, stop_if
from pgjax.app.runs.summary import agent_rows, print_points, summarize
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.limits import check_run, what_to_lower
from pgjax.app.settings.memory import exhaustion_told
from pgjax.app.settings.ranges import check_int
from pgjax.app.settings.sweep_plan import Batch, Plan, make_plan
from pgjax.app.settings.unused import check_effects
from pgjax.app.shown_names import as_argument


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
    if agents_at_once is not None:
        check_int("agents_at_once", agents_at_once)
    asked = {
        "algorithm": algorithm,
        "log": list(execution.log),
        "preset": preset,
        "given": dict(given),
        "grid": {name: list(values) for name, values in grid.items()},
    }
    request: dict[str, Any] = from_first(lambda: asked)  # all train the same
    if agents_at_once is None:  # as much as the first process has memory for
        sizes = from_first(lambda: make_plan(request, None).sizes)
    plan = make_plan(request, sizes if agents_at_once is None else agents_at_once)
    check_effects(
        {**request["given"], **request["grid"]},
        [(g.config, x) for g, x in zip(plan.groups, plan.experiments, strict=True)],
    )
    check_loggers(
        request["log"], max(len(batch.agents.seeds) for batch in plan.batches)
    )
    # Free memory may be another when it is resumed; batches must be the same.
    request["batches"] = plan.sizes
    settings = {"sweep": request, "groups": plan.settings}
    with new_directory(out, f"sweep-{plan.groups[0].config.algorithm}") as directory:
        from_first(lambda: run_record.record_run(directory, settings))
        with run_record.locked_by_first(directory):
            return _Session(directory, plan, execution).run()


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
    with run_record.locked_by_first(directory):
        request = from_first(lambda: _request_again(directory, given))
        plan, log = make_plan(request, request["batches"]), request.get("log", ())
        from_first(lambda: run_record.note_resumed(directory, {}))
        return _Session(directory, plan, execution._replace(log=log)).run()


def _request_again(directory: pathlib.Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep was asked to do, having seen that it can go on."""
    record = run_record.load_record(directory)
    if "sweep" not in record:
        raise UsageError(f"{directory} is not a sweep; `pgjax sweep` makes one")
    if (directory / SUMMARY).exists():
        raise UsageError(
            f"{directory} is complete: there is nothing to resume, and a sweep cannot "
            "be given more steps"
        )
    request = record["sweep"]
    path = directory / "config.json"
    with misfit_told(path):  # whatever a hand, or a bit, has made of it
        first = record["groups"][0]
        told = first | first["algorithm_options"] | request["grid"]
        sizes = request["batches"]
        if not all(type(size) is int and size > 0 for size in sizes):
            raise DamagedFileError(path, "a batch of no agents")
        plan = make_plan(request, sizes)
        if plan.sizes != sizes:
            told = f"batches {sizes}, which should be {plan.sizes}"
            raise DamagedFileError(path, told)
    given = json.loads(json.dumps(dict(given)))
    differing = [
        f"--{name.replace('_', '-')} {value} (the sweep: {told.get(name)})"
        for name, value in given.items()
        if value != told.get(name) and (name, value) != ("preset", "default")
    ]
    if differing:
        raise UsageError(
            f"{directory} has other settings: {'; '.join(differing)}; leave them out, "
            "or start another sweep"
        )
    if plan.settings != record["groups"]:
        raise UsageError(
            f"{directory} was started with other settings than this version of pgjax "
            f"gives the same command: {_first_difference(plan.settings, record)}; "
            "restore config.json, or use the version that started it"
        )
    check_loggers(request.get("log", ()))
    return request


def _first_difference(groups: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """The first setting that a sweep's request and its record of groups differ in."""
    for one, other in zip(groups, record["groups"], strict=False):
        for name in one | other:
            if one.get(name) != other.get(name):
                return f"{name} {other.get(name)} and {one.get(name)}"
    return f"{len(record['groups'])} and {len(groups)} groups"


class _Session:
    """One process's part of a sweep."""

    def __init__(self, directory: pathlib.Path, plan: Plan, execution: Execution):
        self._directory, self._plan, self._execution = directory, plan, execution
        self._config = plan.groups[0].config  # of which the steps and level are all's
        self._reporter = Reporter(execution.quiet or not is_first())
        self._parts = directory / "parts"
        self._programs: dict[tuple[int, int], Programs] = {}
        self._compile_seconds = self._train_seconds = 0.0

    def run(self) -> int:
        """Trains the batches that are not finished; returns the exit code."""
        plan, steps = self._plan, self._config.steps
        self._tell(
            f"{plural(plan.num_agents, 'agent')} x {count(steps)} env steps: "
            f"{plural(len(plan.groups), 'compilation')}, "
            f"{plural(len(plan.batches), 'batch', 'batches')}"
        )
        from_first(lambda: self._parts.mkdir(exist_ok=True))
        say = "" if self._execution.quiet or not is_first() else FINISHING
        with noted(*ENDING, say=say) as received:
            try:
                with self._reporter.training(plan.num_agents * steps) as progress:
                    share = _Share(progress, plan.num_agents)
                    for batch in plan.batches:
                        stop_if(largest(*received[:1] or [0]))
                        with exhaustion_told(partial(self._saved, batch)):
                            share.add(self._rows(batch, share, received))
            except KeyboardInterrupt as interrupt:
                self._tell_stopped()
                return exit_code(interrupt)
            return self._finish() if is_first() else 0

    def _rows(
        self, batch: Batch, share: _Share, received: list[int]
    ) -> list[dict[str, Any]]:
        """What the agents of a batch came to.

        Raises:
          KeyboardInterrupt: if it was stopped.
        """
        part = self._part(batch)
        rows = from_first(lambda: self._finished_rows(part))
        if rows is not None:
            return rows
        programs = self._compiled(batch, received)
        from_first(lambda: part.directory.mkdir(exist_ok=True))
        start = time.perf_counter()
        training = host_loop.train(
            self._plan.groups[batch.group].config,
            batch.agents,
            programs,
            self._execution,
            host_loop.Files(part.directory, shared=self._directory, at_end=False),
            progress=share,
            received=received,
            tell=self._tell,
            warn=self._reporter.warn,
        )
        stop_if([training.stopped])
        # To the end, also with a signal: it is short, and nothing is lost.
        returns = host_loop.evaluate_agents(batch.agents, programs, training.params, [])
        rows = agent_rows(batch.agents, training.log, returns)
        self._train_seconds += time.perf_counter() - start

        def record() -> None:
            save_params(part.directory / sweep_parts.PARAMS, training.params)
            sweep_parts.write_rows(part, rows)
            shutil.rmtree(part.directory / "checkpoints", ignore_errors=True)

        on_first(record)
        return rows

    def _part(self, batch: Batch) -> sweep_parts.Part:
        settings = self._plan.settings[batch.group]
        directory = self._parts / f"{batch.number:03d}"
        return sweep_parts.Part(directory, settings, batch.agents)

    def _finished_rows(self, part: sweep_parts.Part) -> sweep_parts.Rows | None:
        """The rows of a part that is finished and whole; a damaged one is set aside."""
        try:
            return sweep_parts.load_rows(part)
        except DamagedFileError as error:
            aside = sweep_parts.set_aside(part)
            self._reporter.warn(
                f"{error}; it is set aside as {aside}, and trained again"
            )
            return None

    def _compiled(self, batch: Batch, received: list[int]) -> Programs:
        """The programs of a batch; those of another group are not needed again."""
        size = batch.group, len(batch.agents.seeds)
        if size not in self._programs:
            config = self._plan.groups[batch.group].config
            mesh = choose_mesh(config, size[1], self._execution.devices)
            experiment = self._plan.experiments[batch.group]
            check_run(config, experiment, size[1], mesh)
            programs = compile_programs(
                config, experiment, batch.agents, mesh, received
            )
            self._programs = {size: programs}
            self._compile_seconds += programs.seconds
        return self._programs[size].of(batch.agents)

    def _saved(self, batch: Batch) -> str:
        """What is left where memory ran out, and what to do."""
        config = self._plan.groups[batch.group].config
        advice = what_to_lower(config, self._plan.experiments[batch.group])
        return (
            f"{self._finished()} are saved in {self._directory}; start another sweep "
            f"with fewer --agents-at-once (now {max(self._plan.sizes)}), or {advice}"
        )

    def _finished(self) -> str:
        finished = len(list(self._parts.glob("*/rows.json")))
        return f"{finished} of {plural(len(self._plan.batches), 'batch', 'batches')}"

    def _tell_stopped(self) -> None:
        self._tell(
            f"stopped; {self._finished()} finished; to go on from the last "
            f"checkpoint:\n    pgjax sweep --resume {as_argument(self._directory)}"
        )

    def _finish(self) -> int:
        """Puts the parts together, writes the summary, and then removes the parts."""
        directory, config = self._directory, self._config
        names = list(self._plan.groups[0].agents.labels)
        rows = sweep_parts.put_together(
            list(map(self._part, self._plan.batches)), directory
        )
        summary = summarize(
            config,
            rows,
            compile_seconds=self._compile_seconds,
            train_seconds=self._train_seconds,
            wall_seconds=process_age(),
        )
        write_summary(directory, summary)
        shutil.rmtree(self._parts, ignore_errors=True)
        if "parquet" in self._execution.log:
            with self._reporter.failure_told("metrics.parquet was not written"):
                copy_to_parquet(directory, names)
        if not self._execution.quiet:
            print_points(directory, config, summary, names)
        return int(all(row["diverged"] for row in rows))

    def _tell(self, text: str) -> None:
        self._reporter.console.print(text, soft_wrap=True)


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
