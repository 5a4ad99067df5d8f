"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pgjax.bench.ceilings import Ceilings
from pgjax.bench.comparison import Spread, short
from pgjax.bench.measure import Result


def print_ceilings(console: Console, ceilings: Ceilings) -> None:
    """What the machine reaches where nothing else limits it."""
    console.print(
        "This machine reaches, all devices together: "
        f"{short(ceilings.matmul_flops)}FLOP/s in float32 matrix products, "
        f"{short(ceilings.elementwise)} other results/s, "
        f"{short(ceilings.transcendentals)} exp or tanh/s, "
        f"{short(ceilings.bytes)}B/s from memory, "
        f"{short(ceilings.cache_bytes)}B/s in the caches, "
        f"{short(ceilings.operations)} operations/s.",
        highlight=False,
    )


def print_speeds(console: Console, results: Sequence[Result]) -> None:
    """Environment steps per second of whole training steps."""
    table = Table(
        title="Environment steps per second, whole training step", title_justify="left"
    )
    table.add_column("what")
    for name in ("median", "range", "aim", "compile\n(cached)"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        speed, aim = result.steps_per_second, result.case.aim
        table.add_row(
            result.case.name,
            short(speed.median),
            between(speed),
            "" if aim is None else short(aim),
            f"{result.compile_seconds:.1f} s ({result.cached_seconds:.1f} s)",
        )
    console.print(table)


def print_stages(console: Console, results: Sequence[Result]) -> None:
    """What each stage takes, and the shares of the ceilings that it reaches."""
    console.print(
        "Stages overlap: the rollout contains the environment (alone, it takes random "
        "actions), the gradient all of the update but the optimizer's steps, the whole "
        "step all of it. Shares are of the work counted in the compiled program, on "
        "the devices that the case uses.",
        highlight=False,
    )
    for result in results:
        about = [
            result.case.name,
            f"{result.num_devices} devices" if result.num_devices > 1 else "1 device",
            f"{result.padding:.0%} padding",
            f"{result.stages[-1].memory / 2**20:,.0f} MiB",
        ]
        table = Table(title=", ".join(about), title_justify="left")
        table.add_column("stage", no_wrap=True)
        for name in ("ns/step", "matmul", "other", "exp", "memory", "dispatch"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("nearest ceiling")
        for stage in result.stages:
            table.add_row(
                stage.name,
                f"{stage.nanoseconds.median:,.1f}",
                *(f"{share:.0%}" for share in stage.shares),
                stage.limit,
            )
        console.print(table)


def between(spread: Spread) -> str:
    """From the least to the most."""
    return f"{short(spread.minimum)}-{short(spread.maximum)}"
