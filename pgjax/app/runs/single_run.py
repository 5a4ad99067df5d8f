"""Training, from a config to a run directory."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pgjax._internal.meshes import ENV
from pgjax.app.errors import UsageError
from pgjax.app.runs import host_loop, run_record
from pgjax.app.runs.checkpoint_metadata import check_newest
from pgjax.app.runs.compiled_programs import compile_programs
from pgjax.app.runs.devices import choose_mesh
from pgjax.app.runs.files import misfit_told, write_whole
from pgjax.app.runs.hosts import from_first, is_first, on_first, several
from pgjax.app.runs.loggers import check_loggers
from pgjax.app.runs.metrics_reader import read_curves
from pgjax.app.runs.new_directory import new_directory
from pgjax.app.runs.params import save_params
from pgjax.app.runs.progress import Reporter, count, plural
from pgjax.app.runs.results import SUMMARY, write_summary
from pgjax.app.runs.signals import ENDING, FINISHING, Received, exit_code, noted
from pgjax.app.runs.summary import agent_rows, print_summary, summarize, title_of
from pgjax.app.settings.build import build
from pgjax.app.settings.config import Config, check, from_json, to_json
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.grid import agents_of
from pgjax.app.settings.limits import check_run, what_to_lower
from pgjax.app.settings.memory import exhaustion_told
from pgjax.app.settings.unused import check_effects
from pgjax.app.shown_names import as_argument


def train(
    config: Config,
    execution: Execution,
    *,
    out: str | None,
    given: Mapping[str, Any] = types.MappingProxyType({}),
) -> int:
    """Trains, evaluates and records; returns the exit code.

    Args:
      config: the checked settings.
      execution: how it is carried out.
      out: the run directory to make; named after the run by default.
      given: the settings that a user gave, each of which is to have an effect.
    """
    check_loggers(execution.log, config.seeds)
    config = from_json(from_first(lambda: to_json(config)))  # all train the same
    with new_directory(out, f"{config.algorithm}-{config.env}") as run:
        session = _Session(config, execution)
        session.check(given)
        settings = {"config": to_json(config), "log": list(execution.log)}
        from_first(lambda: run_record.record_run(run, settings))
        with run_record.locked_by_first(run):
            session.compile()
            return session.run(run)


def resume(run: pathlib.Path, given: Mapping[str, Any], execution: Execution) -> int:
    """Goes on with a run that was stopped, from its last checkpoint, to the same bits.

    Args:
      run: its directory.
      given: settings; they must be those of the run, but more steps may be asked for.
      execution: how it is carried out; the loggers are those of the run.

    Raises:
      UsageError: if there is nothing to go on with, or other settings are given.
    """
    with run_record.locked_by_first(run):
        settings = from_first(lambda: _settings_to_go_on(run, given))
        config = from_json(settings["config"])
        execution = execution._replace(log=settings["log"])
        session = _Session(config, execution)
        session.compile()
        return session.run(run, begin=lambda: run_record.note_resumed(run, settings))


def _settings_to_go_on(run: pathlib.Path, given: Mapping[str, Any]) -> dict[str, Any]:
    if "sweep" in run_record.load_record(run):
        command = f"pgjax sweep --resume {as_argument(run)}"
        raise UsageError(f"{run} is a sweep: `{command}` goes on")
    before = run_record.load_config(run)
    config = extended(run, before, given)
    if (run / SUMMARY).exists() and config == before:
        raise UsageError(
            f"{run} is complete: there is nothing to resume"
            + ("" if config.anneal_learning_rate else "; more --steps train it further")
        )
    if (run / SUMMARY).exists() and not _has_checkpoints(run):
        raise UsageError(
            f"{run} is complete, and has no checkpoints to go on from; nothing was "
            "overwritten"
        )
    log = list(run_record.load_record(run).get("log", ()))
    with misfit_told(run / "config.json"):
        check_loggers(log, config.seeds)
        settings = host_loop.settings_of(config, agents_of(config), log)
    check_newest(run / "checkpoints", settings)  # before anything is compiled
    return {"config": to_json(config), "log": log}


def _has_checkpoints(run: pathlib.Path) -> bool:
    return any(path.name.isdigit() for path in (run / "checkpoints").glob("*"))


def extended(run: pathlib.Path, config: Config, given: Mapping[str, Any]) -> Config:
    """The config of a run with what was given again, which may only be more steps.

    Raises:
      UsageError: naming what differs.
    """
    told = json.loads(json.dumps(to_json(config) | config.algorithm_options))
    again = json.loads(json.dumps(dict(given)))  # tuples and lists alike
    differing = [
        f"--{name.replace('_', '-')} {value} (the run: {told.get(name)})"
        for name, value in again.items()
        if value != told.get(name)
        if name != "steps" and (name, value) != ("preset", "default")
    ]
    steps = given.get("steps", config.steps)
    if steps != config.steps and config.anneal_learning_rate:
        differing.append(
            f"--steps {steps} (the run: {config.steps}, over which its learning rate "
            "falls to 0; one with --no-anneal-learning-rate can be extended)"
        )
    elif steps < config.steps:
        differing.append(f"--steps {steps} (the run: {config.steps}, or more)")
    if differing:
        raise UsageError(
            f"{run} has other settings: {'; '.join(differing)}; leave them out, or "
            "start another run"
        )
    config = dataclasses.replace(config, steps=steps)
    check(config)
    return config


CURVE = "learning_curve.png"
STOPPING = "stopping; what was trained is saved ...\n"


class _Session:
    """One process's part of a run."""

    def __init__(self, config: Config, execution: Execution):
        self._config, self._execution = config, execution
        self._agents, self._experiment = agents_of(config), build(config)
        self._mesh = choose_mesh(config, config.seeds, execution.devices)
        check_run(config, self._experiment, config.seeds, self._mesh)
        self._quiet = execution.quiet or not is_first()
        self._reporter = Reporter(self._quiet)

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises UsageError for settings without an effect."""
        check_effects(given, [(self._config, self._experiment)])

    def compile(self) -> None:
        """Compiles what training needs."""
        with exhaustion_told(lambda: f"nothing was saved; {self._advice()}"):
            self._compile()

    def _compile(self) -> None:
        config = self._config
        with noted(*ENDING) as received:
            self._tell(
                f"{title_of(config)}: {plural(config.seeds, 'seed')} x "
                f"{count(config.steps)} env steps, {_told(self._mesh)}"
            )
            with self._reporter.phase("compiling", "compiled"):
                self._programs = compile_programs(
                    config, self._experiment, self._agents, self._mesh, received
                )

    def run(self, run: pathlib.Path, begin: Callable[[], None] = lambda: None) -> int:
        """Trains and evaluates; returns the exit code."""
        with (
            noted(*ENDING, say="" if self._quiet else FINISHING) as received,
            exhaustion_told(lambda: f"{saved_in(run)}; {self._advice()}"),
        ):
            code, training = self._run(run, begin, received)
            on_first(lambda: self._draw(run, training))
            return code

    def _run(
        self, run: pathlib.Path, begin: Callable[[], None], received: Received
    ) -> tuple[int, host_loop.Training]:
        training = self._train(run, begin, received)

        on_first(lambda: save_params(run / "params.npz", training.params))
        if training.stopped:
            self._tell(
                f"stopped after {count(training.log.env_steps.sum())} env steps, and "
                f"saved; to go on:\n    pgjax train --resume {as_argument(run)}"
            )
            return 128 + training.stopped, training
        received.say = received.say and STOPPING
        try:
            returns = host_loop.evaluate_agents(
                self._agents, self._programs, training.params, received
            )
        except KeyboardInterrupt as interrupt:
            self._tell(
                "stopped before the evaluation was done; all training is saved; to go "
                f"on:\n    pgjax train --resume {as_argument(run)}"
            )
            return exit_code(interrupt), training
        return self._finish(run, training, returns), training

    def _draw(self, run: pathlib.Path, training: host_loop.Training) -> None:
        """Draws the learning curve; where that fails, all results are there already."""
        agents = self._agents.seeds[training.log.diverged == 0].tolist()
        with self._reporter.failure_told(f"{run / CURVE} was not drawn"):
            draw_learning_curve(run, self._config, agents)

    def _train(
        self, run: pathlib.Path, begin: Callable[[], None], received: Received
    ) -> host_loop.Training:
        config, reporter = self._config, self._reporter
        with reporter.training(config.seeds * config.steps) as progress:
            return host_loop.train(
                config,
                self._agents,
                self._programs,
                self._execution,
                host_loop.Files(run, shared=run, begin=begin),
                progress=progress,
                received=received,
                tell=self._tell,
                warn=self._reporter.warn,
            )

    def _finish(
        self, run: pathlib.Path, training: host_loop.Training, returns: np.ndarray
    ) -> int:
        agents, programs, log = self._agents, self._programs, training.log
        for agent, seed in enumerate(agents.seeds):
            if found := log.divergence_of(agent):
                update, quantity = found
                self._tell(
                    f"seed {seed} diverged: at update {update} its {quantity} was not "
                    "finite; it was stopped before that update"
                )
        summary = summarize(
            self._config,
            agent_rows(agents, log, returns),
            compile_seconds=programs.seconds,
            train_seconds=training.seconds,
            wall_seconds=log.age,
        )
        on_first(lambda: write_summary(run, summary))
        if not self._quiet:
            print_summary(run, self._config, summary)
        return int(bool(np.all(log.diverged)))

    def _advice(self) -> str:
        return what_to_lower(self._config, self._experiment)

    def _tell(self, text: str) -> None:
        self._reporter.console.print(text, soft_wrap=True)


def saved_in(run: pathlib.Path) -> str:
    """What is left of a run that could not go on."""
    if not _has_checkpoints(run):
        return "nothing was saved"
    return f"{run} has the last checkpoint, for --resume where there is more memory"


def _told(mesh: Mesh) -> str:
    """The devices, and how they are shared."""
    devices = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    if mesh.size == 1:
        devices = mesh.devices.flat[0].device_kind
    if several():
        devices += f" of {jax.process_count()} processes"
    env = mesh.shape[ENV]
    return devices if env == 1 else f"{devices}, {env} for each agent's environments"


def draw_learning_curve(
    run: pathlib.Path, config: Config, seeds: Sequence[int]
) -> None:
    """Draws learning_curve.png from metrics.csv, where there is one.

    Args:
      run: its directory.
      config: its settings.
      seeds: whose curves are drawn; others are those that diverged.
    """
    from pgjax.app.analysis.learning_curve import learning_curve

    path = run / "metrics.csv"
    if not path.exists():
        return
    everyone = {(str(seed),) for seed in agents_of(config).seeds}
    curves = read_curves(path, (), everyone)
    drawn = [curves[agent] for seed in seeds if (agent := (str(seed),)) in curves]
    if not drawn:
        return
    env_steps, recent = zip(*drawn, strict=True)
    title, level = title_of(config), config.solved_return
    write_whole(
        run / CURVE,
        lambda file: learning_curve(
            file, env_steps, recent, title=title, solved_return=level
        ),
    )
