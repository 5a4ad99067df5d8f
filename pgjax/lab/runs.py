"""Training, from a config to a run directory."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import pathlib
import signal
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pgjax.lab import store
from pgjax.lab.build import build
from pgjax.lab.checkpoints import Checkpoints
from pgjax.lab.config import Config, check, to_json
from pgjax.lab.errors import UsageError
from pgjax.lab.execution import Execution
from pgjax.lab.grid import agents_of
from pgjax.lab.loggers import check_loggers, open_loggers
from pgjax.lab.progress import Reporter, count, plural
from pgjax.lab.signals import noted
from pgjax.lab.summary import agent_rows, print_summary, summarize, title_of


def train(config: Config, execution: Execution, *, out: str | None) -> int:
    """Trains, evaluates and records; returns the exit code.

    Args:
      config: the checked settings.
      execution: how.
      out: the run directory to make; named after the run by default.
    """
    check_loggers(execution.log, config.seeds)
    run = store.choose_run(out, f"{config.algorithm}-{config.env}")
    session = _Session(config, execution)
    session.compile()
    store.create_run(run, {"config": to_json(config), "log": list(execution.log)})
    with store.locked(run):
        return session.run(run, saved=None)


def resume(run: pathlib.Path, given: Mapping[str, Any], execution: Execution) -> int:
    """Goes on with a run that was stopped, from its last checkpoint, to the same bits.

    Args:
      run: its directory.
      given: settings; they must be those of the run, but more steps may be asked for.
      execution: how; the loggers are those of the run.

    Raises:
      UsageError: if there is nothing to go on with, or other settings are given.
    """
    with store.locked(run):
        record = store.load_record(run)
        config = extended(run, store.load_config(run), given)
        more = to_json(config) != to_json(store.load_config(run))
        if (run / "summary.json").is_file() and not more:
            raise UsageError(
                f"{run} is complete: there is nothing to resume; more --steps would "
                "train it further"
            )
        execution = execution._replace(log=record.get("log", ()))
        check_loggers(execution.log, config.seeds)
        session = _Session(config, execution)
        session.compile()
        saved = session.load(run)
        store.note_resumed(run, {"config": to_json(config)})
        (run / "summary.json").unlink(missing_ok=True)
        return session.run(run, saved)


def extended(run: pathlib.Path, config: Config, given: Mapping[str, Any]) -> Config:
    """The config of a run with what was given again, which may only be more steps.

    Raises:
      UsageError: naming what differs.
    """
    told = to_json(config) | config.algorithm_options
    differing = [
        f"--{name.replace('_', '-')} {value} (the run: {told.get(name)})"
        for name, value in given.items()
        if name != "steps" and value != told.get(name)
    ]
    steps = given.get("steps", config.steps)
    if steps < config.steps:
        differing.append(f"--steps {steps} (the run: {config.steps}, or more)")
    if steps > config.steps and config.anneal_learning_rate:
        differing.append(
            f"--steps {steps} (the run: {config.steps}, over which its learning rate "
            "falls to 0)"
        )
    if differing:
        raise UsageError(
            f"{run} has other settings: {'; '.join(differing)}; leave them out, or "
            "start another run"
        )
    config = dataclasses.replace(config, steps=steps)
    check(config)
    return config


class _Session:
    """One process's part of a run."""

    def __init__(self, config: Config, execution: Execution):
        self._config, self._execution = config, execution
        self._agents, self._experiment = agents_of(config), build(config)
        self._reporter = Reporter(execution.quiet)

    def compile(self) -> None:
        """Compiles what training needs."""
        from pgjax.lab import trainer

        config = self._config
        self._reporter.console.print(
            f"{title_of(config)}: {plural(config.seeds, 'seed')} x "
            f"{count(config.steps)} env steps, {_devices()}",
            soft_wrap=True,
        )
        with (
            noted(signal.SIGINT) as received,
            self._reporter.phase("compiling", "compiled"),
        ):
            self._programs = trainer.compile_programs(
                config, self._experiment, self._agents, received
            )

    def load(self, run: pathlib.Path) -> Any:
        """Where the run was stopped; None if it had not come to a checkpoint."""
        from pgjax.lab import trainer

        with self._checkpoints(run) as checkpoints:
            saved = trainer.load(
                self._config, self._agents, self._programs, checkpoints
            )
        if saved is None:
            self._tell(f"{run} has no checkpoint: it starts from the beginning")
        else:
            updates = saved.log["updates"].max()
            self._tell(f"going on after {plural(int(updates), 'update')}")
        return saved

    def run(self, run: pathlib.Path, saved: Any) -> int:
        """Trains and evaluates; returns the exit code."""
        training, received = self._train(run, saved)
        store.save_params(run / "params.npz", training.params)
        draw_learning_curve(run, self._config)
        if received:
            self._tell(
                f"stopped after {count(training.log.env_steps.sum())} env steps, and "
                f"saved; to go on:\n    pgjax train --resume {run}"
            )
            return 128 + received[0]
        return self._finish(run, training)

    def _train(self, run: pathlib.Path, saved: Any) -> tuple[Any, list[int]]:
        from pgjax.lab import trainer

        config, reporter = self._config, self._reporter
        position = 0 if saved is None else int(saved.metrics_bytes)
        with (
            self._checkpoints(run) as checkpoints,
            open_loggers(
                self._execution.log, run, shared=run, position=position
            ) as logger,
            noted(
                signal.SIGINT,
                signal.SIGTERM,
                tell=lambda: self._tell("finishing this chunk, then saving ..."),
            ) as received,
            reporter.training(config.seeds * config.steps) as progress,
        ):
            training = trainer.train_agents(
                config,
                self._agents,
                self._programs,
                logger,
                progress,
                received,
                checkpoints,
                saved,
            )
        return training, received

    def _finish(self, run: pathlib.Path, training: Any) -> int:
        from pgjax.lab import trainer

        agents, programs, log = self._agents, self._programs, training.log
        returns = trainer.evaluate_agents(agents, programs, training.params)
        for agent, seed in enumerate(agents.seeds):
            if told := log.divergence_of(agent):
                self._tell(
                    f"seed {seed} diverged: at update {told[0]} its {told[1]} was not "
                    "finite; it was stopped before that update"
                )
        summary = summarize(
            self._config,
            agent_rows(agents, log, returns),
            compile_seconds=programs.seconds,
            train_seconds=log.seconds,
            wall_seconds=log.age,
        )
        store.write_json(run / "summary.json", summary)
        if not self._execution.quiet:
            print_summary(run, self._config, summary)
        return int(bool(np.all(log.diverged)))

    def _checkpoints(self, run: pathlib.Path) -> Any:
        return contextlib.closing(
            Checkpoints(
                run / "checkpoints",
                every=self._execution.checkpoint_every,
                tell=self._tell,
            )
        )

    def _tell(self, text: str) -> None:
        self._reporter.console.print(text, soft_wrap=True, markup=False)


def _devices() -> str:
    kinds = [device.device_kind for device in jax.devices()]
    return f"{len(kinds)} x {kinds[0]}" if len(kinds) > 1 else kinds[0]


def draw_learning_curve(run: pathlib.Path, config: Config) -> None:
    """Draws learning_curve.png from metrics.csv, where there is one."""
    from pgjax.lab.plots import learning_curve

    if not (run / "metrics.csv").is_file():
        return
    with (run / "metrics.csv").open(newline="") as file:
        rows = [
            (int(row["seed"]), float(row["env_steps"]), float(row["recent_return"]))
            for row in csv.DictReader(file)
            if row["recent_return"]
        ]
    if not rows:
        return
    seed, env_steps, recent = np.array(rows).T
    agents = [seed == number for number in np.unique(seed)]
    learning_curve(
        run / "learning_curve.png",
        [env_steps[agent] for agent in agents],
        [recent[agent] for agent in agents],
        title=title_of(config),
        solved_return=config.solved_return,
    )
