"""One process's part of a run: its batches, compiled, trained and recorded."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

from jax.sharding import Mesh

from pgjax.app.errors import DamagedFileError
from pgjax.app.runs import batches, host_loop
from pgjax.app.runs.agent_descriptions import trained_with
from pgjax.app.runs.batch_progress import BatchProgress
from pgjax.app.runs.batches import BATCHES, Finished, Spent, Store
from pgjax.app.runs.compiled_programs import Programs, compile_programs
from pgjax.app.runs.devices import (
    check_memory,
    devices_told,
    is_on_host,
    least_width,
    mesh_of,
)
from pgjax.app.runs.host_programs import host_programs
from pgjax.app.runs.hosts import from_first, is_first, on_first
from pgjax.app.runs.outcome import put_together, write_outcome
from pgjax.app.runs.params import save_params
from pgjax.app.runs.periodic_evaluation_table import cost_told
from pgjax.app.runs.progress import Reporter, count, plural
from pgjax.app.runs.signals import ENDING, FINISHING, Received, exit_code, noted
from pgjax.app.runs.summary import add_evaluations, agent_rows, title_of
from pgjax.app.runs.summary_tables import print_line, print_outcome
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.free_memory import exhaustion_told
from pgjax.app.settings.grid import Agents
from pgjax.app.settings.limits import what_to_lower
from pgjax.app.settings.plan import Batch, Plan
from pgjax.app.shown_names import as_argument

STOPPING = "stopping; what was trained is saved ...\n"


def store_of(run: pathlib.Path, plan: Plan, batch: Batch) -> Store:
    """Where a batch of a run is recorded."""
    group = plan.groups[batch.group]
    settings = trained_with(group, batch.agents, plan.request.log)
    directory = run / BATCHES / f"{batch.number:03d}"
    return Store(directory, settings, batch.agents.seeds.tolist())


def to_go_on(directory: pathlib.Path) -> str:
    """What to do where training was stopped: of a run, or a study."""
    return f"to go on:\n    pgjax train --resume {as_argument(directory)}"


class _StoppedError(Exception):
    """Training was stopped by a signal; what there is has been saved."""

    def __init__(self, code: int, told: str):
        super().__init__(told)
        self.code = code


class Part(NamedTuple):
    """Which run of a study it is."""

    study: pathlib.Path  # its directory
    place: str  # such as "2 of 6"


class Session:
    """One process's part of a run."""

    def __init__(
        self,
        run: pathlib.Path,
        plan: Plan,
        execution: Execution,
        part: Part | None = None,
    ):
        self._run, self._plan, self._execution = run, plan, execution
        self._part = part
        self._quiet = execution.quiet or not is_first()
        self._reporter = Reporter(self._quiet)
        self._stores = [store_of(run, plan, batch) for batch in plan.batches]
        self._finished: list[Finished | None] = []
        self._programs: dict[tuple[int, int], Programs] = {}
        self._compile_seconds = 0.0
        self._before = Spent()  # by other processes
        check_memory(plan, execution)

    def run(self, begin: Callable[[], None] = lambda: None) -> int:
        """Trains what is not finished yet; returns the exit code.

        Args:
          begin: called once it is sure to go on, before anything is written.
        """
        self._begin = begin
        with noted(*ENDING) as received:
            self._reporter.say(self._title())
            config = self._plan.groups[0].config
            if config.eval_every is not None:
                self._reporter.say(cost_told(config, self._plan.experiments[0]))
            self._before = Spent(*from_first(self._spent_before))
            self._finished = [self._found(store) for store in self._stores]
            left = [x for x in self._plan.batches if self._finished[x.number] is None]
            if left:
                self._compile_first(left[0], received)
        say = "" if self._quiet else FINISHING
        with noted(*ENDING, say=say) as received:
            try:
                self._train_all(received)
            except _StoppedError as stopped:
                on_first(self._put_together)
                whole = self._part.study if self._part else self._run
                self._reporter.say(f"{stopped}; {to_go_on(whole)}")
                return stopped.code
            on_first(self._begin_once)
            return from_first(self._finish)

    def _spent_before(self) -> Spent:
        return reduce(Spent.at_least, map(batches.spent_until, self._stores), Spent())

    def _begin_once(self) -> None:
        begin, self._begin = self._begin, lambda: None
        begin()

    def _title(self) -> str:
        plan, config = self._plan, self._plan.groups[0].config
        who = "agent" if plan.names else "seed"
        title = (
            f"{title_of(config, plan.names)}: {plural(plan.num_agents, who)} x "
            f"{count(config.steps)} env steps, {devices_told(self._mesh(0))}"
        )
        if is_on_host(plan, 0):
            title += ", environments on the host, one agent after the other"
        if self._part:
            title = f"{self._part.place}: {title}"
        if len(plan.batches) == 1:
            return title
        compilations = plural(len(plan.groups), "compilation")
        return f"{title}: {compilations}, {self._number_of_batches()}"

    def _number_of_batches(self) -> str:
        return plural(len(self._plan.batches), "batch", "batches")

    def _found(self, store: Store) -> Finished | None:
        """What a finished batch came to; a damaged one is set aside."""

        def load() -> Any:
            try:
                return batches.load_finished(store)
            except DamagedFileError as error:
                aside = batches.set_aside(store)
                told = f"{error}; it is set aside as {aside}, and trained again"
                self._reporter.warn(told)
                return None

        found = from_first(load)
        return None if found is None else Finished(*found)

    def _compile_first(self, batch: Batch, received: list[int]) -> None:
        with (
            exhaustion_told(lambda: self._saved(batch)),
            self._reporter.phase("compiling", "compiled"),
        ):
            self._compiled(batch, received)

    def _compiled(self, batch: Batch, received: list[int]) -> Programs:
        """The programs of a batch; those of another group are not needed again."""
        size = batch.group, len(batch.agents.seeds)
        if size not in self._programs:
            group = self._plan.groups[batch.group]
            devices = self._execution.devices
            width = least_width(group.config, len(group.agents.seeds), devices)
            compiled = partial(compile_programs, width=width)
            make = host_programs if is_on_host(self._plan, batch.group) else compiled
            programs = make(
                group.config,
                self._plan.experiments[batch.group],
                batch.agents,
                self._mesh(batch.group),
                received,
            )
            self._programs = {size: programs}
            self._compile_seconds += programs.seconds
        return self._programs[size].of(batch.agents)

    def _mesh(self, group: int) -> Mesh:
        """The devices of a group: the same for all of its batches, whatever their size.

        Programs for other numbers of devices round otherwise.
        """
        return mesh_of(self._plan, group, self._execution)

    def _train_all(self, received: Received) -> None:
        plan = self._plan
        from_first(lambda: (self._run / BATCHES).mkdir(exist_ok=True))
        with self._reporter.training() as progress:
            share = BatchProgress(progress, plan.num_agents)
            for batch in plan.batches:
                finished = self._finished[batch.number]
                if finished is None:
                    with exhaustion_told(partial(self._saved, batch)):
                        finished = self._train(batch, share, received)
                    self._finished[batch.number] = finished
                share.add(finished)

    def _train(
        self, batch: Batch, share: BatchProgress, received: Received
    ) -> Finished:
        """Trains and evaluates a batch, and records what it came to."""
        with contextlib.ExitStack() as stack:  # closes what keeps its metrics
            return self._train_within(stack, batch, share, received)

    def _train_within(
        self,
        stack: contextlib.ExitStack,
        batch: Batch,
        share: BatchProgress,
        received: Received,
    ) -> Finished:
        store, agents = self._stores[batch.number], batch.agents
        programs = self._compiled(batch, received)
        from_first(lambda: store.directory.mkdir(exist_ok=True))
        training = host_loop.train(
            self._plan.groups[batch.group],
            agents,
            programs,
            self._execution,
            store,
            run=self._run,
            stack=stack,
            begin=self._begin_once,
            before=self._before,
            compile_seconds=self._compile_seconds,
            progress=share,
            received=received,
            tell=self._reporter.say,
            warn=self._reporter.warn,
        )
        self._before = training.before
        on_first(lambda: save_params(store.params, training.params))
        if training.evaluations is not None:
            on_first(lambda: save_params(store.best_params, training.best_params))
        if training.stopped:
            steps = count(share.steps_before + training.log.env_steps.sum())
            told = f"stopped after {steps} env steps, and saved"
            raise _StoppedError(128 + training.stopped, told)
        rows = self._rows(agents, programs, training, received)
        training.logger.end(rows)
        spent = self._before.compiling + self._compile_seconds, training.evaluating
        finished = Finished(rows, training.seconds, training.log.age, *spent)
        on_first(lambda: batches.write_finished(store, finished))
        if not self._plan.names:
            self._tell_diverged(finished)
        return finished

    def _rows(
        self,
        agents: Agents,
        programs: Programs,
        training: host_loop.Training,
        received: Received,
    ) -> list[dict[str, Any]]:
        """Evaluates agents that are trained: a row of the summary for each."""

        def returns_of(params: Any) -> Any:
            return host_loop.evaluate_agents(agents, programs, params, received)

        received.say = received.say and STOPPING
        try:
            rows = agent_rows(agents, training.log, returns_of(training.params))
            if training.evaluations is not None:
                best = returns_of(training.best_params)
                add_evaluations(rows, training.evaluations, best)
        except KeyboardInterrupt as interrupt:
            told = "stopped before the evaluation was done; all training is saved"
            raise _StoppedError(exit_code(interrupt), told) from None
        received.say = received.say and FINISHING
        return rows

    def _tell_diverged(self, finished: Finished) -> None:
        for row in finished.rows:
            if found := row["diverged"]:
                self._reporter.say(
                    f"seed {row['seed']} diverged: at update {found['update']} its "
                    f"{found['quantity']} was not finite; it was stopped before that "
                    "update"
                )

    def _put_together(self) -> None:
        put_together(
            self._run, self._plan, self._stores, self._finished, self._reporter
        )

    def _finish(self) -> int:
        """Writes the results of all; returns the exit code."""
        self._put_together()
        finished = [x for x in self._finished if x is not None]
        show = None if self._quiet else print_line if self._part else print_outcome
        return write_outcome(self._run, self._plan, finished, show)

    def _saved(self, batch: Batch) -> str:
        """What is left where memory ran out, and what to do."""
        config = self._plan.groups[batch.group].config
        advice = what_to_lower(config, self._plan.experiments[batch.group])
        store = self._stores[batch.number]
        rest = "nothing was saved"
        if store.has_checkpoints:
            rest = (
                f"{self._run} has the last checkpoint, for --resume where there is "
                "more memory"
            )
        if len(self._plan.batches) == 1:
            return f"{rest}; {advice}"
        done = sum((x.directory / batches.ROWS).exists() for x in self._stores)
        most = max(len(x.seeds) for x in self._stores)
        return (
            f"{done} of {self._number_of_batches()} are saved in {self._run}; start "
            f"another run with fewer --agents-at-once (now {most}), or {advice}"
        )
