"""Every algorithm on CartPole, and PPO on everything that has a preset.

    python -m experiments.family            the recorded table: about an hour on 2 cores
    python -m experiments.family --quick    2 seeds and few steps: does it run?
    python -m experiments.family --only ppo-Pendulum-v1 ppo-Acrobot-v1

Seeds start at 30,000: none was used to choose a preset. Each row is one `pgjax train`,
whose config, summary and curve are kept; the table is made from the summaries, and
where Gymnasium has the environment, from the same policies played there.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import platform
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

import pgjax as pg
from pgjax.lab import runs
from pgjax.lab.real_gymnasium import TWINS

RESULTS = pathlib.Path("experiments/results/family")  # from the root of the clone
FIRST_SEED = 30_000
KEPT = ("config.json", "summary.json", "learning_curve.png", "params.npz")


class Row(NamedTuple):
    """One line of the table."""

    algorithm: str
    env: str
    seeds: int
    aim: float | None = None
    solve_aim: int | None = None  # env steps, median
    preset: str | None = None

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.preset or self.env}"


ROWS = (
    Row("reinforce", "CartPole-v1", 64, 500.0, 86_000),
    Row("a2c", "CartPole-v1", 64, 500.0, 100_000),
    Row("ppo", "CartPole-v1", 64, 500.0, 60_000),
    Row("trpo", "CartPole-v1", 64, 500.0),
    Row("ppo", "Acrobot-v1", 16, -90.0),
    Row("ppo", "Pendulum-v1", 16, -200.0),
    Row("ppo", "MountainCarContinuous-v0", 16, 90.0),
    Row("ppo", "Catch-bsuite", 16, 0.99),
    Row("ppo", "Breakout-MinAtar", 10, 20.0),
    Row("ppo", "Reacher-misc", 10, preset="seven-joint-arm"),
)


def main() -> None:
    """Runs what is asked for, then writes the table of all that has been run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    out = arguments.out or (
        pathlib.Path("runs/family-quick") if arguments.quick else RESULTS
    )
    for row in ROWS:
        if row.name in arguments.only:
            run(row, out / row.name, quick=arguments.quick)
    write_table(out)
    print((out / "README.md").read_text())


def run(row: Row, directory: pathlib.Path, *, quick: bool) -> None:
    """Trains, plays the result in Gymnasium, and keeps the small files."""
    shutil.rmtree(directory, ignore_errors=True)
    command = ["pgjax", "train", row.algorithm]
    command += ["--preset", row.preset] if row.preset else ["--env", row.env]
    command += ["--seeds", str(2 if quick else row.seeds), "--seed", str(FIRST_SEED)]
    command += ["--steps", "3000", "--eval-episodes", "5"] if quick else []
    command += ["--out", str(directory)]
    print(" ".join(command), flush=True)
    subprocess.run(
        [sys.executable, "-m", "pgjax.cli", *command[1:], "--quiet"], check=True
    )
    record: dict[str, Any] = {"command": " ".join(command), "cpu": _cpu()}
    record["random_return"] = float(random_returns(directory).mean())
    if row.env in TWINS:
        episodes = 5 if quick else 100
        returns = runs.returns_in_gymnasium(directory, episodes=episodes, seed=0)
        record["gymnasium"] = {"greedy_returns": returns.mean(1).tolist()}
    (directory / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    for path in directory.iterdir():
        if path.name not in (*KEPT, "record.json"):
            path.unlink()


def random_returns(directory: pathlib.Path) -> np.ndarray:
    """Returns of 1,000 episodes of uniformly random actions in a run's environment."""
    env = runs.load(directory)[1].env

    def policy(_: None, obs: Any) -> RandomActions:
        return RandomActions(env.action_space, obs.shape[0])

    def play(key: Any) -> Any:
        return pg.evaluate(key, env, policy, None, num_episodes=1000, greedy=False)

    return np.asarray(jax.jit(play)(jax.random.key(FIRST_SEED))[0])


class RandomActions(NamedTuple):
    """A distribution in which all actions of a space are equally likely."""

    space: Any
    num: int

    def sample(self, key: Any) -> Any:
        """One action per environment."""
        if isinstance(self.space, pg.Discrete):
            return jax.random.randint(key, (self.num,), 0, self.space.n)
        shape = self.num, *self.space.shape
        return jax.random.uniform(
            key, shape, minval=self.space.low, maxval=self.space.high
        )

    def mode(self) -> Any:
        """There is no best action: any."""
        return self.sample(jax.random.key(0))


def write_table(out: pathlib.Path) -> None:
    """README.md, from whatever runs are there."""
    found = [row for row in ROWS if (out / row.name / "record.json").is_file()]
    lines = [
        "# Evaluation of the presets",
        "",
        "Made by `python -m experiments.family`. Returns: each seed plays 100 complete "
        "episodes; the mean over seeds with its 95% interval (Student's t), and the "
        "lowest seed; beside it 1,000 episodes of uniformly random actions. Seeds from "
        "30,000 on, which no preset was chosen on. Steps to solve: env steps until the "
        "mean of the last 100 *training* episodes exceeds the level; median over seeds "
        "with its 95% interval (order statistics), unsolved seeds counted as infinite.",
        "",
        "| run | seeds | env steps each | random | aim | greedy | lowest | sampled | "
        "real Gymnasium, greedy | steps to solve (aim) | wall time, all seeds |",
        "|---" * 11 + "|",
        *(_line(row, out / row.name) for row in found),
        "",
        "Commands, one per row:",
        "",
        "```",
        *(_load(out / row.name / "record.json")["command"] for row in found),
        "```",
        "",
        *_machines(out, found),
    ]
    (out / "README.md").write_text("\n".join(lines) + "\n")


def _line(row: Row, directory: pathlib.Path) -> str:
    summary = _load(directory / "summary.json")
    record = _load(directory / "record.json")
    seeds = summary["seeds"]
    greedy, sampled = (
        np.array([seed[kind]["mean"] for seed in seeds])
        for kind in ("greedy_return", "sampled_return")
    )
    real = record.get("gymnasium")
    solve = np.array([seed["steps_to_solve"] or math.inf for seed in seeds])
    level = summary["solved_return"]
    aim = f" ({row.solve_aim:,})" if row.solve_aim else ""
    cells = [
        row.name,
        str(len(seeds)),
        f"{summary['env_steps'] // len(seeds):,}",
        f"{record['random_return']:.2f}",
        "" if row.aim is None else f"{row.aim:g}",
        _mean(greedy),
        f"{greedy.min():.2f}",
        _mean(sampled),
        _mean(np.array(real["greedy_returns"])) if real else "",
        "" if level is None else f"{_median(solve)}, level {level:g}{aim}",
        f"{summary['wall_seconds']:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def _mean(x: np.ndarray) -> str:
    if len(x) < 2:
        return f"{x.mean():.2f}"
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return f"{x.mean():.2f} ± {half:.2f}"


def _median(x: np.ndarray) -> str:
    """The median, and the order statistics that enclose it with at least 95%."""
    x = np.sort(x)
    low = int(stats.binom.ppf(0.025, len(x), 0.5))
    ends = x[max(low - 1, 0)], x[min(len(x) - low, len(x) - 1)]
    solved = np.isfinite(x).sum()
    middle = x[(len(x) - 1) // 2 : len(x) // 2 + 1].mean()
    text = [f"{end:,.0f}" if math.isfinite(end) else "never" for end in (middle, *ends)]
    return f"{text[0]} [{text[1]}, {text[2]}], {solved} of {len(x)}"


def _machines(out: pathlib.Path, found: list[Row]) -> list[str]:
    """What the runs were made with, and which, where they differ."""
    rows: dict[str, list[str]] = {}
    for row in found:
        config = _load(out / row.name / "config.json")
        versions = ", ".join(f"{k} {v}" for k, v in config["versions"].items() if v)
        cpu = _load(out / row.name / "record.json")["cpu"]
        devices = len(config["devices"])
        machine = f"{cpu}, {devices} XLA devices; Python {config['python']}, {versions}"
        rows.setdefault(machine, []).append(row.name)
    if len(rows) == 1:
        return [f"{next(iter(rows))}."]
    return [f"- {', '.join(names)}: {machine}." for machine, names in rows.items()]


def _cpu() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        model = next(line for line in text.splitlines() if "model name" in line)
        return model.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _load(path: pathlib.Path) -> Any:
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
