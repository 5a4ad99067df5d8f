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
    table.add_column("what", ratio=3)
    for name in ("median", "range", "aim", "compile\n(cached), s", "padding", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        speed, aim = result.steps_per_second, result.case.aim
        table.add_row(
            f"{result.case.name} [dim]({result.num_devices} devices)[/dim]",
            short(speed.median),
            between(speed),
            "" if aim is None else short(aim),
            f"{result.compile_seconds:.1f} ({result.cached_seconds:.1f})",
            f"{result.padding:.0%}" if result.padding else "",
            f"{result.stages[-1].memory / 2**20:,.0f} MiB",
        )
    console.print(table)


def print_stages(console: Console, results: Sequence[Result]) -> None:
    """What each stage takes, and the shares of the ceilings that it reaches."""
    table = Table(
        title="Nanoseconds per environment step, and shares of the ceilings",
        title_justify="left",
    )
    table.add_column("stage")
    for name in ("ns", "matmul", "other", "exp", "memory", "dispatch"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("limited by", ratio=1)
    for result in results:
        table.add_section()
        table.add_row(f"[bold]{result.case.name}[/bold]")
        for stage in result.stages:
            table.add_row(
                stage.name,
                f"{stage.nanoseconds.median:,.0f}",
                *(f"{share:.0%}" for share in stage.shares),
                stage.limit,
            )
    console.print(table)


def between(spread: Spread) -> str:
    """From the least to the most."""
    return f"{short(spread.minimum)}-{short(spread.maximum)}"
