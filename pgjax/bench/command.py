"""`pgjax bench`: measures, prints tables, and leaves JSON and a plot."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from rich.console import Console
from rich.text import Text

from pgjax.app import machine, output
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.files import write_json
from pgjax.app.runs.new_directory import new_directory
from pgjax.app.settings.free_memory import free_bytes
from pgjax.app.settings.limits import check_pieces
from pgjax.app.settings.memory_estimates import Sizes, ends_of
from pgjax.app.settings.ranges import check_int
from pgjax.app.settings.signature_options import algorithm_factory
from pgjax.app.shown_names import one_line
from pgjax.bench import against as ab
from pgjax.bench import comparison, plots, table
from pgjax.bench.cases import Case, Spec, make_spec, standard_table, title_of
from pgjax.bench.ceilings import Gauges
from pgjax.bench.measure import Result, bound, measure, to_json
from pgjax.bench.stages import Pieces, pieces_of, whole_step
from pgjax.bench.targets import this

ROUNDS, QUICK_ROUNDS = 11, 5


def bench(
    algorithms: Sequence[str] = (),
    *,
    quick: bool = False,
    env: tuple[str, ...] = (),
    num_envs: tuple[int, ...] = (),
    num_steps: tuple[int, ...] = (),
    num_agents: tuple[int, ...] = (),
    hidden: tuple[tuple[int, ...], ...] = (),
    precision: tuple[str, ...] = ("float32",),
    devices: int | None = None,
    rounds: int | None = None,
    stages: bool = True,
    against: str | None = None,
    out: str | None = None,
) -> int:
    """Measures environment steps per second of whole training steps and their stages.

    Beside them stands what the machine can do at most.

    Args:
      algorithms: names; with none, the README's table.
      quick: 5 repetitions instead of 11.
      env: gymnax environments (default: CartPole-v1).
      num_envs: environments per agent (default: 1024).
      num_steps: per environment and update (default: REINFORCE: complete episodes, a2c
        32, ppo and trpo 128).
      num_agents: agents side by side (default: 1).
      hidden: widths of the hidden layers, such as 64,64 (default: REINFORCE 128, others
        64,64).
      precision: of the networks' arithmetic, such as bfloat16.
      devices: how many to use (default: all).
      rounds: repetitions of everything (default: 11).
      stages: measure stages, and not only whole steps.
      against: compare, in turns, with another revision or directory of pgjax, with
        plain (how the field writes it), sb3 or sb3-best (default: none).
      out: the directory to make (default: runs/bench-...).

    Raises:
      UsageError: for a name that is not known, or a number that cannot be; before any
        long work.
    """
    console = output.console()
    sizes: dict[str, Sequence[Any]] = {
        "env": env,
        "num_envs": num_envs,
        "num_steps": num_steps,
        "num_agents": num_agents,
        "hidden": hidden,
    }
    grid = {name: values for name, values in sizes.items() if values}
    for option, values in {**grid, "rounds": [rounds], "devices": [devices]}.items():
        _check_numbers(option, values)
    _check_effects(quick, rounds, stages, against)
    chosen = jax.devices()[:devices]
    cases = _cases(algorithms, precision, grid, chosen)
    if devices is not None and devices > len(chosen):
        raise UsageError(f"--devices {devices}, but there are {len(chosen)}")
    rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    if against is not None and (devices or set(precision) != {"float32"}):
        raise UsageError(
            "--against compares float32 on all devices; leave --precision and --devices"
        )
    with new_directory(out, "bench") as run:
        if against is not None:
            return _compare(console, cases, against, rounds, run)
        console.print(f"{describe(chosen)}; each figure is the median of {rounds}")
        results, gauges = measure_all(
            console, run, cases, chosen, rounds=rounds, with_stages=stages
        )
    table.print_speeds(console, results)
    table.print_ceilings(console, gauges)
    if stages:
        table.print_stages(console, results, gauges)
    console.print(f"{one_line(run)}: bench.json, bench.png", soft_wrap=True)
    return 0


def describe(devices: Sequence[jax.Device]) -> str:
    """The devices, in words."""
    kind = devices[0].device_kind
    return f"{len(devices)} x {machine.cpu_name() if kind == 'cpu' else kind}"


def measure_all(
    console: Console,
    run: pathlib.Path,
    cases: Sequence[Case],
    devices: Sequence[jax.Device],
    *,
    rounds: int,
    with_stages: bool,
) -> tuple[list[Result], Gauges]:
    """Measures one case after the other; what is measured is written at once."""
    gauges, results = Gauges(devices), []
    for case in cases:
        with console.status(Text(case.name)):
            results.append(
                measure(case, devices, gauges, rounds=rounds, with_stages=with_stages)
            )
        _write(run, devices, gauges, results, rounds)
    return results, gauges


def _write(
    run: pathlib.Path,
    devices: Sequence[jax.Device],
    gauges: Gauges,
    results: Sequence[Result],
    rounds: int,
) -> None:
    """Writes bench.json and bench.png."""
    ceilings = [gauges.of(result.num_devices).ceilings for result in results]
    record = {
        "pgjax": this().name,
        "device": describe(devices),
        **machine.about_this_machine(),
        "rounds": rounds,
        "ceilings": [x.to_json() for x in gauges.made()],
        "results": list(map(to_json, results, ceilings)),
    }
    write_json(run / "bench.json", record)
    bounds = list(map(bound, results, ceilings))
    plots.speeds(run / "bench.png", results, bounds, title=describe(devices))


def _check_numbers(option: str, values: Sequence[Any]) -> None:
    for value in values:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int):
                check_int(option, number)


def _check_effects(
    quick: bool, rounds: int | None, stages: bool, against: str | None
) -> None:
    """Sees that no option is without an effect."""
    if quick and rounds is not None:
        raise UsageError("--quick is --rounds 5: leave one of them out")
    if against is not None and not stages:
        raise UsageError("--against measures whole steps only: leave --no-stages out")


def _cases(
    algorithms: Sequence[str],
    precision: Sequence[str],
    grid: dict[str, Sequence[Any]],
    devices: Sequence[jax.Device],
) -> list[Case]:
    """The README's table, or a case for each combination, each of which can be built.

    Raises:
      UsageError: for one that cannot.
    """
    if not algorithms and not grid and tuple(precision) == ("float32",):
        return list(standard_table())
    axes = {**grid, "precision": precision}
    untold = {"num_envs", "num_steps", "num_agents"}  # those are in the title
    several = [name for name in axes if len(axes[name]) > 1 and name not in untold]
    cases = []
    for algorithm in algorithms or ("reinforce",):
        algorithm_factory(algorithm)  # or it is told which ones there are
        for values in itertools.product(*axes.values()):
            given = dict(zip(axes, values, strict=True))
            told = [f"{name} {given[name]}" for name in several]
            kind = given.pop("precision")
            spec = make_spec(algorithm, **given)
            name = ", ".join((title_of(spec), *told))
            cases.append(Case(name, spec, precision=kind))
    for case in cases:
        try:
            _trace(case, devices)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{case.name}: {error}") from error
    return cases


def _trace(case: Case, devices: Sequence[jax.Device]) -> None:
    """Goes through a training step without compiling it, having seen that it fits."""
    pieces = pieces_of(case, devices)
    _check_size(case.spec, pieces)
    init, steps = whole_step(case, pieces)
    jax.eval_shape(lambda: steps(init(case.spec.seed), 1))


def _check_size(spec: Spec, pieces: Pieces) -> None:
    """Raises UsageError for more than indices reach or memory holds."""
    complete = pieces.algorithm.complete_episodes and spec.num_steps is None
    sizes = Sizes(
        agents=spec.num_agents,
        num_envs=spec.num_envs,
        num_steps=spec.num_steps or pieces.env.max_steps,
        hidden=spec.hidden,
        updates_per_chunk=spec.updates,
        eval_episodes=0,
        num_epochs=0,
        complete=complete,
        ends=ends_of(pieces.env),
        of_bench=True,
    )
    num_devices = len(pieces.devices)
    num_shares = 1 if spec.num_agents == 1 else num_devices
    check_pieces(
        sizes,
        pieces.env,
        pieces.rollout,
        pieces.algorithm,
        num_shares,
        free_bytes(num_devices),
    )


def _compare(
    console: Console,
    cases: Sequence[Case],
    target: str,
    rounds: int,
    run: pathlib.Path,
) -> int:
    for case in cases:  # before any long work
        ab.check(case.spec, target)
    found = []
    for case in cases:
        with console.status(Text(case.name)) as status:
            outcome = ab.compare(
                case.spec,
                target,
                repetitions=rounds,
                on_progress=lambda done, of, doing: status.update(Text(doing)),
            )
        console.print(f"{case.name}. {comparison.describe(outcome)}")
        found.append({"what": case.name, "spec": comparison.plain(case.spec)})
        found[-1] |= comparison.to_json(outcome)
    record = {"against": target, **machine.about_this_machine(), "duels": found}
    run_record.write_json(run / "against.json", record)
    console.print(f"{one_line(run)}: against.json", soft_wrap=True)
    return 0
