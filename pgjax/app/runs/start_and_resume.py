"""A run: every combination of a grid, for every seed, trained, evaluated and recorded.

Without a grid it is the seeds of one combination. Agents train in batches, each in a
directory of its own, from which the run's own files are made; so a run that was stopped
goes on, and one that is complete can be given more seeds, values and steps.
"""

from __future__ import annotations

import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.agent_descriptions import described
from pgjax.app.runs.agent_loggers import Agent, rename_curves
from pgjax.app.runs.batches import CHECKPOINTS, ROWS, Store
from pgjax.app.runs.checkpoint_metadata import check_newest
from pgjax.app.runs.devices import least_width
from pgjax.app.runs.files import misfit_told
from pgjax.app.runs.hosts import from_first, several
from pgjax.app.runs.loggers import check_loggers
from pgjax.app.runs.new_directory import new_directory
from pgjax.app.runs.progress import Reporter
from pgjax.app.runs.results import CONFIG, SUMMARY
from pgjax.app.runs.run_checkpoints import Checkpoints
from pgjax.app.runs.session import Part, Session, store_of
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.plan import Plan, Ranges, make_plan, plan_again, plan_more
from pgjax.app.settings.presets import PresetFile
from pgjax.app.settings.ranges import check_int
from pgjax.app.settings.request import Request, extended, make_request
from pgjax.app.settings.unused import check_effects


def start(
    algorithm: str,
    preset: str | PresetFile,
    given: Mapping[str, Any],
    execution: Execution,
    *,
    recorded: Mapping[str, Any] = types.MappingProxyType({}),
    out: str | None = None,
    agents_at_once: int | None = None,
) -> tuple[pathlib.Path, int]:
    """Trains, evaluates and records; returns the run's directory and an exit code.

    Args:
      algorithm: its name.
      preset: as for `make_config`.
      given: settings by name; a list of values for those of the grid.
      execution: how it is carried out.
      recorded: other settings, of a run that is made again; some may have no effect.
      out: the directory to make; named after the run by default.
      agents_at_once: how many train side by side; by default as many as memory holds.

    Raises:
      UsageError: for what cannot be, or would have no effect, before any long work.
    """
    asked = {**recorded, **given}
    plan = planned(algorithm, preset, asked, execution.log, agents_at_once)
    check_plan(plan, given)
    name = f"{algorithm}-{plan.groups[0].config.env}"
    name = f"sweep-{algorithm}" if plan.request.grid else name
    return begin(plan, execution, out=out, name=name)


def planned(
    algorithm: str,
    preset: str | PresetFile,
    given: Mapping[str, Any],
    log: Sequence[str] = (),
    agents_at_once: int | None = None,
) -> Plan:
    """What a run would do, the same in all processes; see `start`.

    Raises:
      UsageError: for what cannot be.
    """
    if agents_at_once is not None:
        check_int("agents_at_once", agents_at_once)
    request = make_request(algorithm, preset, given, log)
    request = Request(**from_first(request._asdict))  # all train the same
    plan = make_plan(request, agents_at_once)
    if several():  # as much as the first process has memory for
        ranges = from_first(lambda: plan.ranges)
        plan = _plan_again(request, ranges, agents_at_once)
    return plan


def begin(
    plan: Plan,
    execution: Execution,
    *,
    out: str | None = None,
    name: str = "",
    part: Part | None = None,
) -> tuple[pathlib.Path, int]:
    """Carries out a plan; returns the run's directory and an exit code.

    Args:
      plan: as of `planned`, and checked.
      execution: how it is carried out.
      out: the directory to make.
      name: what its name begins with, by default.
      part: of a study, which it is.
    """
    with new_directory(out, name) as run:
        session = Session(run, plan, execution, part)
        from_first(lambda: run_record.record_run(run, plan))
        with run_record.locked_by_first(run):
            return run, session.run()


def resume(
    run: pathlib.Path,
    given: Mapping[str, Any],
    execution: Execution,
    part: Part | None = None,
) -> int:
    """Goes on with a run, from its last checkpoints, to the same bits.

    Args:
      run: its directory.
      given: settings; they must be those of the run, or more seeds, values and steps.
        "agents_at_once" is for batches that are new.
      execution: how it is carried out; the loggers are those of the run.
      part: of a study, which it is.

    Raises:
      UsageError: if there is nothing to go on with, or other settings are given.
    """
    given = dict(given)
    at_once = given.pop("agents_at_once", None)
    if at_once is not None:
        check_int("agents_at_once", at_once)
    with run_record.locked_by_first(run):
        request, ranges, at_once, renamed = from_first(
            lambda: _to_go_on(run, given, execution, at_once)
        )
        plan = _plan_again(Request(**request), ranges, at_once)

        def begin() -> None:
            run_record.note_resumed(run, plan)
            with Reporter().failure_told("curves keep the names that they had"):
                rename_curves(run, plan.request.log, _renamed(plan, renamed))

        execution = execution._replace(log=plan.request.log)
        return Session(run, plan, execution, part).run(begin)


def _plan_again(
    request: Request, ranges: Sequence[Ranges], agents_at_once: int | None
) -> Plan:
    plan = plan_again(request, ranges, agents_at_once)
    if plan is None:
        raise UsageError("its batches are not of its agents")
    return plan


def _to_go_on(
    run: pathlib.Path,
    given: Mapping[str, Any],
    execution: Execution,
    agents_at_once: int | None,
) -> tuple[dict[str, Any], list[Ranges], int | None, dict[str, str]]:
    """What a run is to do from now on, having seen that it can.

    Its request, its batches, how large new ones may be, and other names of its agents.
    """
    before = _plan_of(run)
    before = before._replace(agents_at_once=agents_at_once or before.agents_at_once)
    request = extended(before.request, given, run=run)
    extends, complete = request != before.request, (run / SUMMARY).exists()
    if complete and not extends:
        raise UsageError(
            f"{run} is complete: there is nothing to resume; more --seeds, values of "
            "its grid, or --steps where no learning rate falls to 0, train it further"
        )
    plan = plan_more(before, request) if extends else before
    if told := run_record.code_changed(run_record.load_record(run).content):
        Reporter().warn(f"{run}: {told}")
    if extends:
        check_plan(plan, given)
    more_steps = before.request.settings["steps"] != request.settings["steps"]
    for batch in plan.batches[: len(before.batches)]:
        store = store_of(run, plan, batch)
        if complete:
            _check_goes_on(run, store, more_steps=more_steps)
        # Before anything is compiled.
        check_newest(store.directory / CHECKPOINTS, store.settings)
    if _were_alone(before, plan, execution.devices):
        Reporter().warn(
            f"{run}: agents are kept as they were trained, alone on their device: in a "
            "run made at once they differ, by rounding at first"
        )
    renamed: dict[str, str] = {}
    for old, new in zip(before.batches, plan.batches, strict=False):
        names = (
            [agent.name for agent in described(of.groups[x.group], x.agents)]
            for of, x in ((before, old), (plan, new))
        )
        renamed |= dict(zip(*names, strict=True))
    return request._asdict(), plan.ranges, plan.agents_at_once, renamed


def _renamed(plan: Plan, names: Mapping[str, str]) -> dict[str, Agent]:
    """Agents with another name than before, by that."""
    agents = {
        agent.name: agent
        for batch in plan.batches
        for agent in described(plan.groups[batch.group], batch.agents)
    }
    return {old: agents[new] for old, new in names.items() if old != new}


def _plan_of(run: pathlib.Path) -> Plan:
    """The plan of a run, whatever a hand, or a bit, has made of its record."""
    record, path = run_record.load_record(run), run / CONFIG
    if not record.batches:
        raise UsageError(
            f"{path} is of a version before 0.2.0: this pgjax reads the run, and the "
            "one that wrote it can go on with it"
        )
    with misfit_told(path):
        check_loggers(record.request.log)
        return _plan_again(record.request, record.batches, record.agents_at_once)


def check_plan(plan: Plan, given: Mapping[str, Any]) -> None:
    """Sees that every setting has an effect, and that the loggers can be had."""
    check_effects(given, plan.pairs)
    largest = max(len(batch.agents.seeds) for batch in plan.batches)
    check_loggers(plan.request.log, largest)


def _check_goes_on(run: pathlib.Path, store: Store, *, more_steps: bool) -> None:
    """Sees that a batch of a complete run has what extending it needs.

    Raises:
      UsageError: if it has not; nothing was touched.
    """
    there = (store.directory / ROWS).exists()
    if there and more_steps:
        there = Checkpoints(store.directory / CHECKPOINTS).has_one
    if not there:
        raise UsageError(
            f"{run} is complete, and {store.directory} has nothing whole to go on "
            "from; nothing was overwritten"
        )


def _were_alone(before: Plan, now: Plan, num_devices: int | None) -> bool:
    """Whether agents would have shared their device in a run made at once."""
    for batch, again in zip(before.batches, now.batches, strict=False):
        groups = before.groups[batch.group], now.groups[again.group]
        if now.experiments[again.group].rollout.on_host:  # where each one is alone
            continue
        width, wider = (
            least_width(group.config, len(group.agents.seeds), num_devices)
            for group in groups
        )
        if width < wider:
            return True
    return False
