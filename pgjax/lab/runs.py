"""What the commands do: train, evaluate and render, each on a run directory."""

from __future__ import annotations

import contextlib
import csv
import pathlib
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import pgjax as pg
from pgjax.lab import store
from pgjax.lab.build import Experiment, build
from pgjax.lab.config import Config
from pgjax.lab.errors import UsageError
from pgjax.lab.progress import Reporter, count, process_age, seconds
from pgjax.lab.signals import noted

if TYPE_CHECKING:
    from pgjax.lab.trainer import Training


def train(config: Config, *, out: str | None, quiet: bool) -> int:
    """Trains, evaluates and records; returns the exit code.

    Args:
      config: the checked settings.
      out: the run directory to make; named after the run by default.
      quiet: whether to print nothing but errors.
    """
    from pgjax.lab import trainer

    run = store.choose_run(out, config)
    experiment = build(config)
    reporter = Reporter(quiet)
    with noted(signal.SIGINT) as received:
        reporter.console.print(
            f"{config.algorithm} ({config.preset}) on {config.env}: {config.seeds} "
            f"seeds x {count(config.steps)} env steps, {_devices()}",
            soft_wrap=True,
        )
        with reporter.phase("compiling", "compiled"):
            programs = trainer.compile_programs(config, experiment, received)
    store.create_run(run, config)
    with contextlib.closing(store.MetricsFile(run / "metrics.csv")) as file:
        training = trainer.train_agents(config, programs, file, reporter)
    store.save_params(run / "params.npz", training.params)
    draw_learning_curve(run, config)
    if training.interrupted:
        reporter.console.print(
            f"interrupted; what was trained is saved in {run}; evaluating it "
            "(Ctrl-C again to skip that)",
            soft_wrap=True,
        )
    returns = trainer.evaluate_agents(config, programs, training.params)
    summary = _summary(config, training, returns, programs.seconds, process_age())
    store.write_json(run / "summary.json", summary)
    if not quiet:
        _print_summary(run, config, summary)
    return 130 if training.interrupted else 0


def _devices() -> str:
    kinds = [device.device_kind for device in jax.devices()]
    return f"{len(kinds)} x {kinds[0]}" if len(kinds) > 1 else kinds[0]


def _summary(
    config: Config,
    training: Training,
    returns: np.ndarray,
    compile_seconds: float,
    wall_seconds: float,
) -> dict[str, Any]:
    seeds = [
        {
            "seed": config.seed + i,
            "env_steps": int(training.env_steps[i]),
            "steps_to_solve": _number(training.steps_to_solve[i]),
            "seconds_to_solve": _number(training.seconds_to_solve[i]),
            "greedy_return": _spread(returns[i, 0]),
            "sampled_return": _spread(returns[i, 1]),
        }
        for i in range(config.seeds)
    ]
    return {
        "interrupted": training.interrupted,
        "solved_return": config.solved_return,
        "eval_episodes": config.eval_episodes,
        "env_steps": int(training.env_steps.sum()),
        "compile_seconds": round(compile_seconds, 3),
        "train_seconds": round(training.seconds, 3),
        "wall_seconds": round(wall_seconds, 3),
        "seeds": seeds,
    }


def _number(x: float) -> float | None:
    return None if np.isnan(x) else float(x)


def _spread(returns: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(returns.mean()),
        "std": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        "min": float(returns.min()),
    }


def _print_summary(run: pathlib.Path, config: Config, summary: dict[str, Any]) -> None:
    table = Table(title=f"{config.algorithm} on {config.env}", title_justify="left")
    table.add_column("seed", justify="right")
    episodes = f"{config.eval_episodes} episodes"
    table.add_column(f"greedy return\nmean of {episodes}", justify="right")
    table.add_column(f"sampled return\nmean of {episodes}", justify="right")
    level = config.solved_return
    if level is not None:
        table.add_column(
            f"env steps to solve\nmean of 100 > {level:g}", justify="right"
        )
    for row in summary["seeds"]:
        cells = [
            str(row["seed"]),
            f"{row['greedy_return']['mean']:.1f}",
            f"{row['sampled_return']['mean']:.1f}",
        ]
        if level is not None:
            steps = row["steps_to_solve"]
            cells.append("not solved" if steps is None else f"{steps:,.0f}")
        table.add_row(*cells)
    console = Console(highlight=False)
    console.print(table)
    wall, compiling = summary["wall_seconds"], summary["compile_seconds"]
    training = summary["train_seconds"]
    speed = summary["env_steps"] / max(training, 1e-9)
    console.print(
        f"{seconds(wall)} in all: compiling {seconds(compiling)}, training "
        f"{seconds(training)} ({count(summary['env_steps'])} env steps, "
        f"{count(speed)}/s)",
        soft_wrap=True,
    )
    firsts = [row["seconds_to_solve"] for row in summary["seeds"]]
    firsts = [first for first in firsts if first is not None]
    if firsts:
        console.print(f"first seed solved {seconds(min(firsts))} after the start")
    console.print(
        f"results in {run} (learning_curve.png, metrics.csv, summary.json)\n"
        f"next: pgjax evaluate {run}    pgjax render {run}",
        soft_wrap=True,
    )


def draw_learning_curve(run: pathlib.Path, config: Config) -> None:
    """Draws learning_curve.png from metrics.csv."""
    from pgjax.lab.plots import learning_curve

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
        title=f"{config.algorithm} on {config.env}",
        solved_return=config.solved_return,
    )


def load(run: pathlib.Path) -> tuple[Config, Experiment, Any]:
    """A run's config, its pieces, and the parameters of all its agents."""
    config = store.load_config(run)
    experiment = build(config)
    _, rollout, algorithm = experiment

    def init(key: Any) -> Any:
        return pg.init_train_state(key, rollout, algorithm).learner.params

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), config.seeds))
    like = jax.eval_shape(jax.vmap(init), keys)
    return config, experiment, store.load_params(run / "params.npz", like)


def evaluate(run: str, *, backend: str, episodes: int, seed: int) -> int:
    """Evaluates every agent of a run, greedy and sampled, and prints a table."""
    config, experiment, params = load(pathlib.Path(run))
    if not 1 <= episodes <= 2**20:
        raise UsageError(f"--episodes must be in [1, {2**20}], got {episodes}")
    _check_seed(seed)
    play = {"gymnax": _play_gymnax, "gymnasium": _play_gymnasium}[backend]
    table = Table(
        title=f"{config.algorithm} on {config.env}, {backend}: returns of "
        f"{episodes} complete episodes",
        title_justify="left",
    )
    for column in ("seed", "greedy mean", "std", "min", "sampled mean", "std", "min"):
        table.add_column(column, justify="right")
    with Reporter().phase("playing", "played"):
        greedy, sampled = (
            play(experiment, params, episodes, seed, greedy=greedy)
            for greedy in (True, False)
        )
    for i in range(config.seeds):
        spreads = (_spread(greedy[i]), _spread(sampled[i]))
        cells = [f"{x:.1f}" for s in spreads for x in (s["mean"], s["std"], s["min"])]
        table.add_row(str(config.seed + i), *cells)
    Console(highlight=False).print(table)
    return 0


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise UsageError(f"--seed must be in [0, 2**31), got {seed}")


def returns_in_gymnasium(
    run: pathlib.Path, *, episodes: int, seed: int, greedy: bool = True
) -> np.ndarray:
    """Returns of a run's agents in the real Gymnasium, (agents, episodes)."""
    _, experiment, params = load(run)
    return _play_gymnasium(experiment, params, episodes, seed, greedy=greedy)


def _play_gymnax(
    experiment: Experiment, params: Any, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    @jax.jit
    @jax.vmap
    def play(params: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), int(greedy))
        returns, _ = pg.evaluate(
            key,
            experiment.env,
            experiment.algorithm.policy,
            params,
            num_episodes=episodes,
            greedy=greedy,
        )
        return returns

    return np.asarray(play(params))


def _play_gymnasium(
    experiment: Experiment, params: Any, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    from pgjax.lab import real_gymnasium

    env, _, algorithm = experiment
    num_agents = len(jax.tree.leaves(params)[0])
    act = real_gymnasium.make_actor(env, algorithm.policy, greedy=greedy)
    return np.stack(
        [
            real_gymnasium.evaluate(
                env,
                partial(act, jax.tree.map(lambda x, i=i: x[i], params)),
                num_episodes=episodes,
                seed=seed,
            )
            for i in range(num_agents)
        ]
    )


def render(run: str, *, out: str | None, agent: int | None, seed: int) -> int:
    """Plays one episode of a run's agent in Gymnasium and writes it as a GIF."""
    from pgjax.lab.gif import write_gif

    directory = pathlib.Path(run)
    config, experiment, params = load(directory)
    numbers = range(config.seed, config.seed + config.seeds)
    agent = numbers[0] if agent is None else agent
    if agent not in numbers:
        raise UsageError(
            f"the run has no seed {agent}; it has {numbers[0]} to {numbers[-1]}"
        )
    path = pathlib.Path(out) if out else directory / "policy.gif"
    if path.suffix != ".gif":
        raise UsageError(f"--out must end in .gif, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--out is in {path.parent}, which is no directory")
    _check_seed(seed)
    own = jax.tree.map(lambda x: x[agent - config.seed], params)
    num_frames = write_gif(path, experiment, own, seed=seed)
    print(f"{path}: {num_frames} frames of seed {agent}'s greedy policy")
    return 0
