"""The article's figures with 1,024 seeds per arm, and what is true of its claims.

    python -m experiments.article            about 20 minutes on 2 cores
    python -m experiments.article --quick    8 seeds and few steps: does it run?

Five baselines by the article's recipe (`--preset article`), each one `pgjax train`: its
own plain and mean, and three that it does not have. Steps to solve are compared with
those of its own PyTorch code (experiments/reference/article_torch.json): an agent that
has not solved the task by 400,000 steps is a censored observation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.common import read_json
from experiments.gradient_variance import (
    LABELS,
    STAGES,
    against_none,
    draw_noise,
    on_cartpole,
)
from experiments.gradients import BASELINES
from pgjax.app.analysis import comparison_figures, intervals, survival
from pgjax.app.analysis.bootstrap import Interval
from pgjax.app.analysis.samples import Curves, Sample
from pgjax.app.machine import about_this_machine

RESULTS = pathlib.Path("experiments/results/article")
REFERENCE = pathlib.Path(__file__).parent / "reference" / "article_torch.json"
FIRST_SEED = 50_000
CAP = 400_000  # environment steps
LEVEL = 450.0
COLLAPSED = 20.0
REFERENCE_ARMS = {"none": "plain", "mean": "mean_baseline"}
GRID = np.linspace(0, CAP, 81)


def main() -> None:
    """Trains every arm, then writes results.json, README.md and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parser.add_argument("--seeds", type=int, default=None, help="default: 1,024")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    parser.add_argument("--redraw", action="store_true", help="from results.json only")
    arguments = parser.parse_args()
    quick = arguments.quick
    seeds = arguments.seeds or (8 if quick else 1024)
    out = arguments.out or (pathlib.Path("runs/article-quick") if quick else RESULTS)
    if arguments.redraw:
        return report(out)
    out.mkdir(parents=True, exist_ok=True)
    runs = pathlib.Path("runs") / f"{out.name}-arms"  # large, and not kept
    shutil.rmtree(runs, ignore_errors=True)
    arms = {name: run(name, runs / name, seeds, quick=quick) for name in BASELINES}
    gradients = on_cartpole(
        sizes=(4,),
        stages=(0, 4) if quick else STAGES,
        num_agents=2 if quick else 32,
        num_episodes=32 if quick else 512,
        seed=FIRST_SEED,
    )
    results = {
        "command": "python -m experiments.article",
        **about_this_machine(),
        "first_seed": FIRST_SEED,
        "arms": arms,
        "gradients": gradients,
    }
    (out / "results.json").write_text(json.dumps(results) + "\n")
    report(out)


def run(
    name: str, directory: pathlib.Path, seeds: int, *, quick: bool
) -> dict[str, Any]:
    """Trains one arm; returns what is kept of it."""
    command = ["pgjax", "train", "reinforce", "--preset", "article"]
    command += ["--baseline", name, "--seeds", str(seeds), "--seed", str(FIRST_SEED)]
    command += ["--updates-per-chunk", "20"]
    command += ["--eval-episodes", "2"]
    command += ["--steps", "20000"] if quick else []
    command += ["--out", str(directory)]
    print(" ".join(command), flush=True)
    start = time.perf_counter()
    module = [sys.executable, "-m", "pgjax.app.cli", *command[1:], "--quiet"]
    process = subprocess.Popen(module, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    wall, peak = time.perf_counter() - start, usage.ru_maxrss  # KiB
    summary = read_json(directory / "summary.json")
    print(f"  {wall:.0f} s, {peak / 2**20:.1f} GiB at most", flush=True)
    return {
        "command": " ".join(command),
        "wall_seconds": round(wall, 1),
        "train_seconds": summary["train_seconds"],
        "peak_memory_gib": round(peak / 2**20, 2),
        "env_steps": [row["env_steps"] for row in summary["agents"]],
        "steps_to_solve": [row["steps_to_solve"] for row in summary["agents"]],
        **curves(directory / "metrics.csv"),
    }


def curves(path: pathlib.Path) -> dict[str, Any]:
    """Quantiles over agents along training, and each agent's variance of Q-values.

    The last is the sample variance of the returns that weigh the log-probs, baseline
    subtracted, over a batch of four episodes: what the article logs.
    """
    names = ("env_steps", "recent_return", "advantage_variance")
    agents: dict[str, list[list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["recent_return"]:
                values = [float(row[name] or "nan") for name in names]
                agents.setdefault(row["seed"], []).append(values)
    tables = [np.array(rows).T for rows in agents.values()]

    def quantiles(column: int, *, held: bool) -> list[list[float]]:
        right = None if held else np.nan  # a solved agent keeps its return
        values = np.stack(
            [np.interp(GRID, t[0], t[column], t[column][0], right) for t in tables]
        )
        known = np.isfinite(values).sum(0) >= 8
        return [
            [*np.nanquantile(x, [0.1, 0.25, 0.5, 0.75, 0.9]).round(3)] if k else None
            for x, k in zip(values.T, known, strict=True)
        ]

    mean = np.stack([np.interp(GRID, t[0], t[1]) for t in tables]).mean(0)
    return {
        "grid": GRID.tolist(),
        "return_mean": mean.round(3).tolist(),
        "return_quantiles": quantiles(1, held=True),
        "variance_quantiles": quantiles(2, held=False),
        "variance_at_end": [round(float(t[2][-10:].mean()), 1) for t in tables],
        "last_return": [round(float(t[1][-1]), 1) for t in tables],
    }


def sample(arm: dict[str, Any], label: str) -> Sample:
    """An arm as the tables and figures take it."""
    steps = np.array([np.nan if s is None else s for s in arm["steps_to_solve"]], float)
    steps[steps > CAP] = np.nan
    last = np.minimum(np.array(arm["env_steps"], float), CAP)
    seeds = np.arange(len(steps))
    nothing = Curves(np.zeros(0), np.zeros((0, 0)))
    return Sample(
        label, "CartPole-v1", seeds, np.full(len(steps), np.nan), steps, last, LEVEL,
        nothing,
    )  # fmt: skip


def reference_sample(name: str) -> Sample:
    """The article's own code, as recorded."""
    rows = read_json(REFERENCE)["variants"][REFERENCE_ARMS[name]]
    arm = {
        "steps_to_solve": [row["steps_to_solve"] for row in rows],
        "env_steps": [row["steps_run"] for row in rows],
    }
    return sample(arm, f"article's code, {LABELS[name].split(' (')[0]}")


def ratio_of_medians(a: Sample, b: Sample, seed: int = 0) -> Interval:
    """Median steps to solve of a over that of b, with its bootstrap interval."""
    rng = np.random.default_rng(seed)
    x, y = (np.nan_to_num(s.steps_to_solve, nan=np.inf) for s in (a, b))

    def medians(x: np.ndarray) -> np.ndarray:
        return np.median(rng.choice(x, (4000, len(x))), axis=1)

    low, high = np.quantile(medians(x) / medians(y), [0.025, 0.975])
    return Interval(float(np.median(x) / np.median(y)), float(low), float(high))


def log_rank(a: Sample, b: Sample) -> float:
    """The log-rank test's p-value; NaN where nobody has solved the task."""
    if not np.isfinite([*a.steps_to_solve, *b.steps_to_solve]).any():
        return float("nan")
    return log_rank(a.steps_to_solve, a.env_steps, b.steps_to_solve, b.env_steps)


def report(out: pathlib.Path) -> None:
    """README.md and the figures, from results.json."""
    results = read_json(out / "results.json")
    arms = results["arms"]
    samples = {name: sample(arm, LABELS[name]) for name, arm in arms.items()}
    references = {name: reference_sample(name) for name in REFERENCE_ARMS}
    comparison_figures.draw(
        out / "time_to_solve.png",
        comparison_figures.draw_time_to_solve,
        [*samples.values(), *references.values()],
    )
    draw_returns(out / "returns.png", arms)
    draw_variance(out / "variance.png", arms, results["gradients"])
    plain = samples["none"]
    lines = [
        "# The article's question, with many seeds",
        "",
        f"Made by `{results['command']}`; CartPole-v1, the article's recipe, seeds "
        f"from {results['first_seed']:,} on, cap {CAP:,} env steps, solved when the "
        f"mean of 100 episodes exceeds {LEVEL:g}. Medians by Kaplan-Meier with 95% "
        "intervals; ratios of medians with 95% bootstrap intervals; p of log-rank "
        "tests. Arms share their seeds, which intervals and tests do not use. "
        f"Collapsed: not solved, and a mean return below {COLLAPSED:g} at the end. "
        "Q-value variance: mean of an agent's last ten updates.",
        "",
        "| baseline | seeds | solved | median steps to solve | median / plain's | "
        "p against plain | collapsed | Q-value variance at the end, median | "
        "wall time | peak memory |",
        "|---" * 10 + "|",
        *(_arm_line(name, arms[name], samples[name], plain) for name in arms),
        "",
        "Against the article's own PyTorch code:",
        "",
        "| arm | pgjax | the article's code | log-rank p |",
        "|---|---|---|---|",
        *(
            f"| {LABELS[name]} | {_solving(samples[name])} | {_solving(reference)} | "
            f"{log_rank(samples[name], reference):.2f} |"
            for name, reference in references.items()
        ),
        "",
        "Variance of the gradient of a batch of four episodes, over that without a "
        "baseline: ratios of means over 32 agents, on the same policies, which were "
        "trained for that many updates with the value baseline.",
        "",
        "| baseline | " + " | ".join(f"{x} updates" for x in _stages(results)) + " |",
        "|---" * (1 + len(_stages(results))) + "|",
        *(
            "| "
            + " | ".join(
                [
                    LABELS[name],
                    *(f"{x:.2g} [{low:.2g}, {high:.2g}]" for x, low, high in ratios),
                ]
            )
            + " |"
            for name, ratios in against_none(results["gradients"], episodes=4).items()
        ),
        "",
        "Commands:",
        "",
        "```",
        *(arm["command"] for arm in arms.values()),
        "```",
        "",
        f"{results['cpu']}, {len(results['devices'])} XLA devices, Python "
        f"{results['python']}, "
        + ", ".join(f"{k} {v}" for k, v in results["versions"].items() if v)
        + ".",
    ]
    (out / "README.md").write_text("\n".join(lines) + "\n")
    print((out / "README.md").read_text())


def _stages(results: dict[str, Any]) -> list[int]:
    return list(dict.fromkeys(row["updates"] for row in results["gradients"]))


def _arm_line(name: str, arm: dict[str, Any], own: Sample, plain: Sample) -> str:
    unsolved = np.isnan(own.steps_to_solve)
    collapsed = unsolved & (np.array(arm["last_return"]) < COLLAPSED)
    ratio = ratio_of_medians(own, plain)
    cells = [
        LABELS[name],
        f"{len(unsolved):,}",
        f"{(~unsolved).sum():,} ({1 - unsolved.mean():.1%})",
        _median(own),
        "" if own is plain else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]",
        "" if own is plain else _p(log_rank(own, plain)),
        f"{collapsed.sum()}",
        _interval(intervals.median(np.array(arm["variance_at_end"]))),
        f"{arm['wall_seconds']:.0f} s",
        f"{arm['peak_memory_gib']:.1f} GiB",
    ]
    return "| " + " | ".join(cells) + " |"


def _solving(own: Sample) -> str:
    solved = np.isfinite(own.steps_to_solve).sum()
    return f"{_median(own)}, {solved} of {len(own.seeds)} solved"


def _interval(x: Interval) -> str:
    return f"{x.estimate:,.0f} [{x.low:,.0f}, {x.high:,.0f}]"


def _p(x: float) -> str:
    return "< 1e-300" if x < 1e-300 else f"{x:.2g}"


def _median(own: Sample) -> str:
    return _interval(survival.survival(own.steps_to_solve, own.env_steps).median)


def draw_returns(path: pathlib.Path, arms: dict[str, Any]) -> None:
    """The reward curves: median and middle half of the agents, an axis per baseline."""
    figure = Figure(figsize=(11, 2.9), dpi=160, layout="constrained")
    axes = figure.subplots(1, len(arms), sharey=True)
    for axis, colour, (name, arm) in zip(
        axes, comparison_figures.COLOURS, arms.items(), strict=False
    ):
        grid = np.array(arm["grid"])
        ten, low, middle, high, ninety = np.array(arm["return_quantiles"]).T
        axis.fill_between(grid, ten, ninety, color=colour, alpha=0.12, lw=0)
        axis.fill_between(grid, low, high, color=colour, alpha=0.3, lw=0)
        axis.plot(grid, middle, color=colour, lw=1.6, label="median")
        axis.plot(grid, arm["return_mean"], color="black", lw=0.9, ls="--")
        axis.axhline(LEVEL, color=comparison_figures.GREY, ls=":", lw=0.9)
        axis.set_title(f"{LABELS[name]}\n{len(arm['env_steps']):,} seeds", fontsize=8)
        axis.set_xlabel("environment steps", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("mean return of 100 episodes", fontsize=8)
    _finish(figure, axes)
    figure.supxlabel(
        "line: median over seeds; bands: middle 50% and 80%; dashed: mean; an agent "
        f"that has solved the task (mean of 100 episodes above {LEVEL:g}, dotted) "
        "keeps its value",
        fontsize=7,
    )
    figure.savefig(path)


def draw_variance(path: pathlib.Path, arms: dict, gradients: list[dict]) -> None:
    """Variance as the article measures it, and that of the gradient."""
    figure = Figure(figsize=(8.6, 3.4), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = comparison_figures.COLOURS
    for colour, (name, arm) in zip(colours, arms.items(), strict=False):
        known = [x for x in arm["variance_quantiles"] if x is not None]
        grid = [
            g
            for g, x in zip(arm["grid"], arm["variance_quantiles"], strict=True)
            if x is not None
        ]
        _, low, middle, high, _ = np.array(known).T
        left.plot(grid, middle, color=colour, lw=1.4, label=LABELS[name])
        left.fill_between(grid, low, high, color=colour, alpha=0.12, lw=0)
    left.set_xlabel("environment steps (agents still training)")
    left.set_ylabel("variance of a batch's Q-values")
    left.set_title("as the article measures it: median, middle 50%", fontsize=9)
    left.legend(frameon=False, fontsize=7)
    draw_noise(right, gradients)
    _finish(figure, [left])
    right.grid(alpha=0.25)
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _finish(figure: Figure, axes: Any) -> None:
    for axis in axes:
        axis.set_xlim(0, CAP)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    from pgjax.app.prepare_jax import prepare_jax

    prepare_jax()
    main()
