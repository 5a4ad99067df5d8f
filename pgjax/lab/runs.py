"""Training, from a config to a run directory."""

from __future__ import annotations

import csv
import pathlib
import signal
from collections.abc import Sequence

import jax
import numpy as np

from pgjax.lab import store
from pgjax.lab.build import build
from pgjax.lab.config import Config, to_json
from pgjax.lab.grid import agents_of
from pgjax.lab.loggers import check_loggers, open_loggers
from pgjax.lab.progress import Reporter, count, plural, process_age
from pgjax.lab.signals import noted
from pgjax.lab.summary import agent_rows, print_summary, summarize, title_of


def train(
    config: Config, *, out: str | None, log: Sequence[str] = (), quiet: bool
) -> int:
    """Trains, evaluates and records; returns the exit code.

    Args:
      config: the checked settings.
      out: the run directory to make; named after the run by default.
      log: names of loggers, beside metrics.csv.
      quiet: whether to print nothing but errors.
    """
    from pgjax.lab import trainer

    check_loggers(log, config.seeds)

    run = store.choose_run(out, f"{config.algorithm}-{config.env}")
    experiment, agents = build(config), agents_of(config)
    reporter = Reporter(quiet)
    with noted(signal.SIGINT) as received:
        reporter.console.print(
            f"{title_of(config)}: {plural(config.seeds, 'seed')} x "
            f"{count(config.steps)} env steps, {_devices()}",
            soft_wrap=True,
        )
        with reporter.phase("compiling", "compiled"):
            programs = trainer.compile_programs(config, experiment, agents, received)
    store.create_run(run, {"config": to_json(config)})

    def tell() -> None:
        reporter.console.print("finishing this chunk, then saving ...")

    with (
        open_loggers(log, run, shared=run) as logger,
        noted(signal.SIGINT, signal.SIGTERM, tell=tell) as received,
        reporter.training(config.seeds * config.steps) as progress,
    ):
        training = trainer.train_agents(
            config, agents, programs, logger, progress, received
        )
    store.save_params(run / "params.npz", training.params)
    draw_learning_curve(run, config)
    if received:
        reporter.console.print(
            f"interrupted; what was trained is saved in {run}; evaluating it "
            "(Ctrl-C again to skip that)",
            soft_wrap=True,
        )
    returns = trainer.evaluate_agents(agents, programs, training.params)
    summary = summarize(
        config,
        agent_rows(agents, training.log, returns),
        interrupted=bool(received),
        compile_seconds=programs.seconds,
        train_seconds=training.seconds,
        wall_seconds=process_age(),
    )
    store.write_json(run / "summary.json", summary)
    if not quiet:
        print_summary(run, config, summary)
    return 128 + received[0] if received else 0


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
