"""How fast pgjax trains, what limits it, how cost grows, and what others reach.

Four parts, each with a file of its own: `bench.json`, the README's table with stages
and shares of the machine's ceilings; `scaling.json`, steps per second and memory by
number of environments, agents, steps and width; `against.json`, the plain twin, and
where it is installed Stable-Baselines3, in turns with pgjax; `twin.json`, where time
goes in the plain twin and in pgjax.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich.console import Console

from pgjax.app.analysis.learning_curve import BLUE, GREY, ORANGE
from pgjax.app.machine import about_this_machine
from pgjax.app.prepare_jax import prepare_jax
from pgjax.bench import against, command, comparison, table, timing
from pgjax.bench.cases import Case, make_spec, standard_table, title_of
from pgjax.bench.ceilings import Gauges
from pgjax.bench.comparison import Comparison
from pgjax.bench.measure import Result, bound, measure, to_json
from pgjax.bench.stages import gather, pieces_of, stages, whole_step

RESULTS = pathlib.Path(__file__).parent / "results" / "throughput"
# What grows, and how far; the rest is REINFORCE with a policy 4-128-2.
AXES: dict[str, tuple[str, Sequence[int], dict[str, Any]]] = {
    "environments (32 steps)": (
        "num_envs",
        (64, 256, 1024, 4096, 16384, 65536, 262144),
        {"num_steps": 32},
    ),
    "agents (4 environments, 32 steps)": (
        "num_agents",
        (1, 4, 16, 64, 256, 1024, 4096),
        {"num_envs": 4, "num_steps": 32},
    ),
    "steps (1,024 environments)": (
        "num_steps",
        (8, 32, 128, 512, 2048),
        {"num_envs": 1024},
    ),
    "width (1,024 environments, 32 steps)": (
        "hidden",
        (16, 64, 128, 256, 1024, 4096),
        {"num_envs": 1024, "num_steps": 32},
    ),
}
# With what, which algorithm, its sizes, and updates in a repetition.
DUELS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("plain", "reinforce", {"num_envs": 1024, "updates": 3}),
    ("plain", "reinforce", {"num_envs": 1024, "num_steps": 128, "updates": 4}),
    ("plain", "a2c", {"num_envs": 1024, "num_steps": 32, "updates": 6}),
    ("plain", "ppo", {"num_envs": 4, "num_steps": 128, "updates": 60}),
    ("plain", "ppo", {"num_envs": 1024, "num_steps": 128, "updates": 1}),
    ("sb3", "a2c", {"num_envs": 8, "num_steps": 5, "updates": 2000}),
    ("sb3", "ppo", {"num_envs": 8, "num_steps": 128, "updates": 60}),
    ("sb3-best", "ppo", {"num_envs": 8, "num_steps": 128, "updates": 60}),
)


def main() -> None:
    """Measures, prints, and writes."""
    arguments = _arguments()
    console, out = Console(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    devices = jax.devices()
    rounds = 3 if arguments.quick else 11
    if "table" in arguments.only:
        cases = standard_table()[2:3] if arguments.quick else standard_table()
        results, gauges = command.measure_all(
            console, out, cases, devices, rounds=rounds, with_stages=True
        )
        table.print_speeds(console, results)
        table.print_ceilings(console, gauges)
        table.print_stages(console, results, gauges)
    if "scaling" in arguments.only:
        _scaling(console, out, Gauges(devices), quick=arguments.quick)
    if "twin" in arguments.only:
        _twin(console, out, rounds)
    if "against" in arguments.only:
        _against(console, out, arguments, rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parts = ("table", "scaling", "twin", "against")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", type=pathlib.Path, default=None)
    parser.add_argument(
        "--sb3-python", default=sys.executable, help="that has Stable-Baselines3"
    )
    parser.add_argument("--before", help="an earlier revision of pgjax to compare with")
    arguments = parser.parse_args()
    quick = pathlib.Path("runs") / "throughput-quick"
    arguments.out = arguments.out or (quick if arguments.quick else RESULTS)
    return arguments


def _scaling(
    console: Console,
    out: pathlib.Path,
    gauges: Gauges,
    *,
    quick: bool,
) -> None:
    devices, curves = jax.devices(), {}
    for title, (name, values, given) in AXES.items():
        curves[title] = [
            (value, measure(case, devices, gauges, rounds=5, with_stages=False))
            for value in (values[:2] if quick else values)
            for case in [_case(name, value, given)]
        ]
        for value, result in curves[title]:
            speed = comparison.short(result.steps_per_second.median)
            memory = result.stages[-1].memory / 2**20
            console.print(f"{title}, {value}: {speed} steps/s, {memory:,.0f} MiB")
    record = {
        "command": "python -m experiments.throughput",
        **about_this_machine(),
        "ceilings": [gauge.to_json() for gauge in gauges.made()],
        "curves": {
            title: [
                {
                    "value": value,
                    **to_json(result, gauges.of(result.num_devices).ceilings),
                }
                for value, result in curve
            ]
            for title, curve in curves.items()
        },
    }
    (out / "scaling.json").write_text(json.dumps(record, indent=1) + "\n")
    _plot_scaling(out / "scaling.png", curves, gauges)


def _case(name: str, value: int, given: dict[str, Any]) -> Case:
    """A case with one size set; as many updates as make about 400,000 steps."""
    size = (value,) if name == "hidden" else value
    return Case(f"{name} {value}", make_spec("reinforce", **given, **{name: size}))


def _plot_scaling(
    path: pathlib.Path,
    curves: dict[str, list[tuple[int, Result]]],
    gauges: Gauges,
) -> None:
    figure = Figure(figsize=(12.0, 5.6), dpi=150, layout="constrained")
    panels = figure.subplots(2, len(curves), squeeze=False, sharey="row")
    for column, (title, curve) in enumerate(curves.items()):
        values = [value for value, _ in curve]
        speeds = [result.steps_per_second for _, result in curve]
        top, bottom = panels[0][column], panels[1][column]
        top.plot(values, [s.median for s in speeds], "o-", color=BLUE, ms=4)
        low, high = [s.minimum for s in speeds], [s.maximum for s in speeds]
        top.fill_between(values, low, high, color=BLUE, alpha=0.25, lw=0)
        bounds = [bound(x, gauges.of(x.num_devices).ceilings) for _, x in curve]
        top.plot(values, bounds, "--", color=ORANGE)
        memory = [result.stages[-1].memory for _, result in curve]
        bottom.plot(values, memory, "o-", color=GREY, ms=4)
        for axes in (top, bottom):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        bottom.set_xlabel(title, fontsize=9)
    panels[0][0].set_ylabel("environment steps per second")
    panels[1][0].set_ylabel("memory of the program, bytes")
    panels[0][0].plot(
        [], [], "o-", color=BLUE, ms=4, label="measured, median and range"
    )
    panels[0][0].plot(
        [], [], "--", color=ORANGE, label="roofline: the ceiling met first"
    )
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path)


def _twin(console: Console, out: pathlib.Path, rounds: int) -> None:
    """Rollout, update and both of REINFORCE, 1,024 environments x 128 steps."""
    from pgjax.bench import (
        plain,
    )  # its gymnax starts JAX, which has flags to read first

    case = Case("REINFORCE", make_spec("reinforce", num_steps=128, updates=1))
    pieces = pieces_of(case, jax.devices())
    init, steps = whole_step(case, pieces)
    state = jax.jit(init)(0)
    experience = gather(case, pieces, jax.tree.map(np.asarray, state.learner.params))
    ours = stages(case, pieces, experience)
    twin = plain.reinforce("CartPole-v1", optax.adam(0.01), 1024, 128)
    start = jax.jit(twin.init)(jax.random.key(0))
    batch = jax.jit(twin.collect)(start)[1]
    update = jax.jit(twin.update)
    programs = {
        "plain: rollout": partial(jax.jit(twin.collect), start),
        "plain: update": partial(update, start.key, start.learner, batch),
        "plain: whole step": partial(jax.jit(twin.step), start),
        "pgjax: rollout": partial(ours["rollout"][0].compile(), *ours["rollout"][1]),
        "pgjax: update": partial(ours["gradient"][0].compile(), *ours["gradient"][1]),
        "pgjax: whole step": partial(jax.jit(lambda state: steps(state, 1)), state),
    }
    seconds = timing.take_turns(programs, rounds=rounds)
    nanoseconds = {
        name: timing.spread(x / (1024 * 128) * 1e9) for name, x in seconds.items()
    }
    for name, x in nanoseconds.items():
        console.print(f"{name}: {x.median:,.0f} ns per step", highlight=False)
    record = {
        "command": "python -m experiments.throughput --only twin",
        **about_this_machine(),
        "rounds": rounds,
        "flags of both": os.environ.get("XLA_FLAGS", ""),
        "nanoseconds per step": comparison.plain(nanoseconds),
    }
    (out / "twin.json").write_text(json.dumps(record, indent=1) + "\n")


def _against(
    console: Console, out: pathlib.Path, arguments: argparse.Namespace, rounds: int
) -> None:
    python = arguments.sb3_python
    has_sb3 = against.installed("stable_baselines3", python)
    duels = [duel for duel in DUELS if has_sb3 or not duel[0].startswith("sb3")]
    if arguments.before:
        duels += [(arguments.before, *duel[1:]) for duel in DUELS if duel[0] == "plain"]
    found: list[tuple[str, str, Comparison]] = []
    for target, algorithm, sizes in duels[:1] if arguments.quick else duels:
        spec = make_spec(algorithm, **sizes)
        outcome = against.compare(spec, target, repetitions=rounds, python=python)
        found.append((title_of(spec), target, outcome))
        console.print(f"{title_of(spec)}. {comparison.describe(outcome)}", markup=False)
    record = {
        "command": "python -m experiments.throughput",
        **about_this_machine(),
        "duels": [
            {"what": what, "against": target, **comparison.to_json(outcome)}
            for what, target, outcome in found
        ],
    }
    (out / "against.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    prepare_jax()
    main()
