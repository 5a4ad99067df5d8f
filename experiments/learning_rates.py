"""What a sweep is for: learning rates x baselines x seeds, in one command.

    python -m experiments.learning_rates            about 5 minutes on 2 cores
    python -m experiments.learning_rates --quick    does it run?

REINFORCE on CartPole: which learning rate suits which baseline, and which of the two
choices matters more? Seeds from 60,000 on are for choosing; report a choice on others.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.common import quick_and_out
from experiments.gradient_variance import LABELS
from pgjax.app.analysis import comparison_figures, intervals
from pgjax.app.analysis.samples import Sample, load_samples
from pgjax.app.analysis.survival import survival
from pgjax.app.machine import about_this_machine

RESULTS = pathlib.Path("experiments/results/learning_rates")
FIRST_SEED = 60_000
RATES = ("0.0003", "0.001", "0.003", "0.01", "0.03", "0.1")
BASELINES = ("none", "mean", "leave_one_out", "value")


def main() -> None:
    """Runs the sweep, keeps what it came to, and draws it."""
    quick, out = quick_and_out(__doc__, RESULTS)
    run = pathlib.Path("runs") / f"{out.name}-sweep"  # large, and not kept
    shutil.rmtree(run, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    command = ["pgjax", "sweep", "reinforce", "--learning-rate", *RATES]
    command += ["--baseline", *(BASELINES[:2] if quick else BASELINES)]
    command += ["--seeds", "2" if quick else "32", "--seed", str(FIRST_SEED)]
    command += ["--steps", "5000" if quick else "100000", "--log-every", "10"]
    command += ["--eval-episodes", "20", "--out", str(run)]
    print(" ".join(command), flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pgjax.app.cli", *command[1:]], check=True)
    wall = time.perf_counter() - start
    samples = load_samples(run)
    results = {
        "command": " ".join(command),
        **about_this_machine(),
        "wall_seconds": round(wall, 1),
        "points": [_point(sample) for sample in samples],
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(out / "learning_rates.png", samples)
    print(f"{wall:.0f} s; {out / 'learning_rates.png'}")


def _point(sample: Sample) -> dict:
    known = sample.greedy[np.isfinite(sample.greedy)]
    iqm = intervals.interquartile_mean(known) if known.size else None
    return {
        **sample.settings,
        "agents": len(sample.seeds),
        "diverged": int(np.isnan(sample.greedy).sum()),
        "greedy_return_iqm": iqm,
        "solved": int(np.isfinite(sample.steps_to_solve).sum()),
        "median_steps_to_solve": _finite(
            survival(sample.steps_to_solve, sample.env_steps).median.estimate
        ),
    }


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None


def draw(path: pathlib.Path, samples: list[Sample]) -> None:
    """Returns, agents that solved it, and steps to solve, along learning rates."""
    figure = Figure(figsize=(10.5, 3.4), dpi=160, layout="constrained")
    axes = figure.subplots(1, 3)
    of = {(s.settings["baseline"], s.settings["learning_rate"]): s for s in samples}
    baselines = list(dict.fromkeys(name for name, _ in of))
    for colour, name in zip(comparison_figures.COLOURS, baselines, strict=False):
        own = [of[name, rate] for rate in RATES]
        look = {"color": colour, "marker": "o", "ms": 4, "label": LABELS[name]}
        rates = [float(rate) for rate in RATES]
        for axis, statistic in zip(axes, (_returns, _solved, _steps), strict=True):
            middle, low, high = np.array([statistic(s) for s in own]).T
            axis.plot(rates, middle, **look)
            axis.fill_between(rates, low, high, color=colour, alpha=0.15, lw=0)
    axes[0].set_ylabel("return of the greedy policy, IQM")
    axes[1].set_ylabel("agents that solved it")
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[2].set_ylabel("env steps to solve, median (thousands)")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlabel("Adam's learning rate")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=7)
    seeds = len(samples[0].seeds)
    figure.suptitle(
        f"REINFORCE on CartPole-v1, {seeds} seeds per point, 95% intervals", fontsize=10
    )
    figure.savefig(path)


def _returns(sample: Sample) -> tuple[float, float, float]:
    known = sample.greedy[np.isfinite(sample.greedy)]
    return intervals.interquartile_mean(known) if known.size else (np.nan,) * 3


def _solved(sample: Sample) -> tuple[float, float, float]:
    from scipy.stats import binomtest

    solved, n = int(np.isfinite(sample.steps_to_solve).sum()), len(sample.seeds)
    low, high = binomtest(solved, n).proportion_ci(method="wilson")
    return solved / n, low, high


def _steps(sample: Sample) -> tuple[float, float, float]:
    """In thousands; an interval that has no upper end goes up to the budget."""
    median = survival(sample.steps_to_solve, sample.env_steps).median
    if not np.isfinite(median.estimate):  # fewer than half have solved it
        return np.nan, np.nan, np.nan
    high = min(median.high, sample.env_steps.max())
    return median.estimate / 1000, median.low / 1000, high / 1000


if __name__ == "__main__":
    main()
