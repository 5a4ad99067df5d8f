"""A study: several algorithms on several environments, each pair a run of its own.

Its record says what it is asked to do, and so which runs there are: one that is not
there yet is started; one that has not finished, or is asked for more, goes on.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record, start_and_resume
from pgjax.app.runs.devices import check_memory
from pgjax.app.runs.hosts import from_first, is_first
from pgjax.app.runs.new_directory import has_results, new_directory
from pgjax.app.runs.outcome import code_of
from pgjax.app.runs.progress import Reporter, begin_again, plural
from pgjax.app.runs.results import CONFIG, STUDY, SUMMARY, load_summary
from pgjax.app.runs.session import Part, to_go_on
from pgjax.app.runs.signals import ENDING, exit_code, noted
from pgjax.app.runs.study_record import load_asked, write_asked
from pgjax.app.settings.cells import (
    Asked,
    Cell,
    cells_of,
    only_somewhere,
    with_more,
)
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.notation import spelled_as_file
from pgjax.app.settings.plan import Plan
from pgjax.app.settings.ranges import flag
from pgjax.app.settings.request import extended
from pgjax.app.settings.unused import without_effect


class Planned(NamedTuple):
    """A cell, and what its run is to do."""

    cell: Cell
    given: dict[str, Any]  # settings that do something in it
    plan: Plan


def start(
    asked: Asked, execution: Execution, *, out: str | None = None
) -> tuple[pathlib.Path, int]:
    """Trains every algorithm on every environment; the directory and an exit code.

    Args:
      asked: what to do.
      execution: how it is carried out.
      out: the directory to make; named after the algorithms by default.

    Raises:
      UsageError: for what cannot be in one of the runs, before any long work.
    """
    asked = Asked(**from_first(asked._asdict))
    planned = _planned(asked, execution)
    name = f"study-{'-'.join(asked.algorithm)}"
    with new_directory(out, name) as study:
        from_first(lambda: write_asked(study, asked))
        with run_record.locked_by_first(study):
            return study, _carry_out(study, asked, planned, execution)


def resume(study: pathlib.Path, given: Mapping[str, Any], execution: Execution) -> int:
    """Goes on with a study, or does more; returns an exit code.

    Args:
      study: its directory.
      given: more algorithms, environments, seeds, values or steps, by name; what is
        left out stays as it is.
      execution: how it is carried out; the loggers are those of the study.

    Raises:
      UsageError: if there is nothing to do, or other settings are given, before
        anything is touched.
    """

    record = study / STUDY

    def found() -> tuple[dict[str, Any], bool]:
        before = load_asked(record)
        now = with_more(before, given, study=study)
        return now._asdict(), now != before

    with run_record.locked_by_first(study):
        fields, more = from_first(found)
        asked = Asked(**fields)
        execution = execution._replace(log=asked.log)
        with spelled_as_file(record, asked.settings, given):
            planned = _planned(asked, execution)
        states = [from_first(lambda x=x: _state(study, x)) for x in planned]  # type: ignore[misc]
        if set(states) == {"complete"}:
            raise UsageError(
                f"{study} is complete: there is nothing to resume; more algorithms, "
                "--env, --seeds or values of its grid train it further"
            )
        if more:
            from_first(lambda: write_asked(study, asked))
        return _carry_out(study, asked, planned, execution)


def _planned(asked: Asked, execution: Execution) -> list[Planned]:
    """What each run is to do, having seen that all can.

    Raises:
      UsageError: naming the algorithm and the environment; for a setting that does
        something in none of the runs.
    """
    found: list[Planned] = []
    reasons: dict[str, str] = {}
    for cell in cells_of(asked):
        try:
            planned, idle = _plan(asked, cell, execution)
        except UsageError as error:
            error.args = (f"{cell}: {error}",)
            raise
        found.append(planned)
        reasons = idle | reasons
    used = {name for planned in found for name in planned.given}
    for name, why in reasons.items():
        if name not in used:
            raise UsageError(f"{flag(name)} would do nothing: {why}")
    return found


def _plan(
    asked: Asked, cell: Cell, execution: Execution
) -> tuple[Planned, dict[str, str]]:
    """What a run is to do, and the settings that would do nothing in it, and why."""

    def plan_with(given: Mapping[str, Any]) -> Plan:
        about = cell.algorithm, asked.chosen, given, asked.log, asked.agents_at_once
        return start_and_resume.planned(*about)

    given, plan = cell.given, plan_with(cell.given)
    if idle := without_effect(given, plan.pairs):
        given = {name: x for name, x in given.items() if name not in idle}
        plan = plan_with(given)
    start_and_resume.check_plan(plan, given)
    check_memory(plan, execution)
    return Planned(cell, given, plan), idle


def _state(study: pathlib.Path, planned: Planned) -> str:
    """What a run is: new, stopped or complete.

    Raises:
      UsageError: if it has other settings.
    """
    directory = study / planned.cell.name
    if not (directory / CONFIG).exists():
        if directory.exists() and has_results(directory):
            raise UsageError(f"{directory} is in the way: it has no {CONFIG}")
        return "new"
    request = run_record.load_record(directory).request
    more = extended(request, planned.given, run=directory) != request
    complete = (directory / SUMMARY).exists() and not more
    return "complete" if complete else "stopped"


def _carry_out(
    study: pathlib.Path,
    asked: Asked,
    planned: Sequence[Planned],
    execution: Execution,
) -> int:
    """Trains what is not complete, run after run; returns an exit code."""
    reporter = Reporter(execution.quiet or not is_first())
    reporter.say(_title(asked, planned))
    codes: list[int] = []
    with noted(*ENDING) as received:
        for i, one in enumerate(planned):
            part = Part(study, f"{i + 1} of {len(planned)}")
            begin_again()
            try:
                if received:
                    raise KeyboardInterrupt
                codes.append(_carry_out_one(study, one, execution, part))
            except KeyboardInterrupt as interrupt:
                reporter.say(f"stopped; {to_go_on(study)}")
                return 128 + received[0] if received else exit_code(interrupt)
            if codes[-1] >= 128:
                return codes[-1]
    if is_first() and not execution.quiet:
        from pgjax.app.analysis.study_tables import print_study

        print_study(study)
    return min(codes)


def _carry_out_one(
    study: pathlib.Path, planned: Planned, execution: Execution, part: Part
) -> int:
    directory = study / planned.cell.name
    state = from_first(lambda: _state(study, planned))
    if state == "complete":
        return from_first(lambda: code_of((load_summary(directory) or {})["agents"]))
    if state == "stopped":
        return start_and_resume.resume(directory, planned.given, execution, part)
    # Of a process that was killed before it had written down what it does.
    from_first(lambda: shutil.rmtree(directory, ignore_errors=True))
    _, code = start_and_resume.begin(
        planned.plan, execution, out=str(directory), part=part
    )
    return code


def _title(asked: Asked, planned: Sequence[Planned]) -> str:
    """What is done, in a line or two."""
    title = (
        f"{', '.join(asked.algorithm)} on {', '.join(asked.env)}: "
        f"{plural(len(planned), 'run')}, {_agents(planned)}"
    )
    taken = [(one.cell, one.given) for one in planned]
    only = only_somewhere(asked, taken)
    return f"{title}\n{only}" if only else title


def _agents(planned: Sequence[Planned]) -> str:
    return plural(sum(one.plan.num_agents for one in planned), "agent")
