"""Twice the devices, twice the agents: does a sweep take as long?

On an accelerator per device it shows what a larger machine gives. Virtual devices of a
CPU share its cores: from as many devices as cores on, the total can only stay, and what
the picture shows is that it does, that nothing is done one device after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich.console import Console

from pgjax.app.analysis.learning_curve import BLUE, GREY
from pgjax.app.machine import about_this_machine
from pgjax.app.prepare_jax import prepare_jax
from pgjax.bench import comparison
from pgjax.bench.cases import Case, make_spec, title_of
from pgjax.bench.ceilings import Gauges
from pgjax.bench.measure import Result, measure
from pgjax.bench.stages import pieces_of, whole_step

RESULTS = pathlib.Path(__file__).parent / "results" / "weak_scaling"
AGENTS = 128  # per device, of 4 environments x 32 steps
COLLECTIVES = re.compile(r"\b(all-reduce|all-gather|all-to-all|collective-permute)\(")


def case_of(num_devices: int) -> Case:
    """A sweep with as many agents for each device."""
    agents = AGENTS * num_devices
    spec = make_spec(
        "reinforce", num_agents=agents, num_envs=4, num_steps=32, updates=20
    )
    return Case(title_of(spec), spec)


def collectives(num_devices: int) -> int:
    """How often devices of a sweep exchange anything, in its compiled program."""
    case, devices = case_of(num_devices), jax.devices()[:num_devices]
    init, steps = whole_step(case, pieces_of(case, devices))
    state = jax.eval_shape(init, 0)
    text = jax.jit(lambda state: steps(state, 2)).lower(state).compile().as_text()
    return len(COLLECTIVES.findall(text or ""))


def main() -> None:
    """Measures, prints, and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    quick = pathlib.Path("runs") / "weak-scaling-quick"
    out = arguments.out or (quick if arguments.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    console, gauges = Console(highlight=False), Gauges(jax.devices())
    powers = range(len(jax.devices()).bit_length())
    counts = [2**i for i in powers][: 2 if arguments.quick else None]
    results = []
    for count in counts:
        devices = jax.devices()[:count]
        rounds = 3 if arguments.quick else 11
        results.append(
            measure(case_of(count), devices, gauges, rounds=rounds, with_stages=False)
        )
        speed = results[-1].steps_per_second
        console.print(
            f"{count} devices, {AGENTS * count:,} agents: "
            f"{comparison.short(speed.median)} steps/s"
        )
    exchanges = collectives(counts[-1])
    console.print(f"exchanges between devices in the compiled program: {exchanges}")
    record: dict[str, Any] = {
        "command": "python -m experiments.weak_scaling",
        **about_this_machine(),
        "cores": len(os.sched_getaffinity(0)),
        "exchanges": exchanges,
        "results": [
            {"devices": count, **comparison.plain(result)}
            for count, result in zip(counts, results, strict=True)
        ],
    }
    (out / "weak_scaling.json").write_text(json.dumps(record, indent=1) + "\n")
    _plot(out / "weak_scaling.png", counts, results)


def _plot(path: pathlib.Path, counts: list[int], results: list[Result]) -> None:
    figure = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    speeds = [result.steps_per_second for result in results]
    medians = [speed.median for speed in speeds]
    axes.fill_between(
        counts,
        [speed.minimum for speed in speeds],
        [speed.maximum for speed in speeds],
        color=BLUE,
        alpha=0.25,
        lw=0,
    )
    axes.plot(counts, medians, "o-", color=BLUE, label="measured, median and range")
    cores = len(os.sched_getaffinity(0))
    ideal = [medians[0] * min(count, cores) for count in counts]
    axes.plot(
        counts, ideal, "--", color=GREY, label=f"one device x devices, {cores} cores"
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(f"devices, each with {AGENTS} agents x 4 environments")
    axes.set_ylabel("environment steps per second")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    prepare_jax()
    main()
