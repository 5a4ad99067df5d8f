"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pgjax.bench.cases import AIMED_AT
from pgjax.bench.ceilings import Gauges
from pgjax.bench.comparison import Spread, short
from pgjax.bench.measure import Result, verdict
from pgjax.bench.roofline import (
    ACCELERATOR_CACHED,
    CPU_CACHED,
    WORDS,
    Verdict,
)

HEADS = "matmul", "other", "exp", "memory", "caches", "dispatch"  # as roofline.Shares


def print_ceilings(console: Console, gauges: Gauges) -> None:
    """What the machine reaches where nothing else limits it."""
    for gauge in gauges.made():
        ceilings, count = gauge.ceilings, gauge.num_devices
        raised = gauge.raised
        devices = f"{count} devices together reach" if count > 1 else "1 device reaches"
        console.print(
            f"Ceilings, the best of {len(gauge.measured)} measurements: {devices} "
            f"{short(ceilings.matmul_flops)}FLOP/s in float32 matrix products, "
            f"{short(ceilings.elementwise)} other results/s, "
            f"{short(ceilings.transcendentals)} exp or tanh/s, "
            f"{short(ceilings.bytes)}B/s from memory, "
            f"{short(ceilings.cache_bytes)}B/s in the caches, "
            f"{short(ceilings.operations)} operations/s."
            + (f" (By a program: {', '.join(raised)}.)" if raised else ""),
            highlight=False,
        )


def print_speeds(console: Console, results: Sequence[Result]) -> None:
    """Environment steps per second of whole training steps."""
    table = Table(
        title="Environment steps per second, whole training step", title_justify="left"
    )
    table.add_column("what")
    with_aims = any(result.case.aim for result in results)
    heads = "median", "range", *["aim"] * with_aims, "compile\n(cached)"
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        speed, aim = result.steps_per_second, result.case.aim
        table.add_row(
            result.case.name,
            short(speed.median),
            between(speed),
            *["" if aim is None else short(aim)] * with_aims,
            f"{result.compile_seconds:.1f} s ({result.cached_seconds:.1f} s)",
        )
    console.print(table)
    if with_aims:
        console.print(f"Aims were set for {AIMED_AT}.", highlight=False)


def print_stages(console: Console, results: Sequence[Result], gauges: Gauges) -> None:
    """What each stage takes, and the shares of the ceilings that it reaches."""
    console.print(
        "Each stage is compiled and timed alone, so that they do not add up to the "
        "whole step: the rollout contains the environment (alone, it takes random "
        "actions), the gradient all of the update but the optimizer's steps; between "
        "programs results go through memory, and one program may fuse what two "
        "cannot. A share is the time that the work counted in the compiled program "
        "takes at a ceiling, by the time measured; dispatch is the starting of "
        "operations. Arrays of up to "
        f"{CPU_CACHED // 2**20} MiB (on an accelerator, {ACCELERATOR_CACHED // 2**20}) "
        "are taken to stay in the caches, larger ones in memory; a condition that some "
        "block of samples meets counts as met by all. The nearest ceiling has an "
        "asterisk, unless all together explain little.",
        highlight=False,
    )
    for result in results:
        about = [
            result.case.name,
            f"{result.num_devices} devices" if result.num_devices > 1 else "1 device",
            f"{result.padding:.0%} padding",
            f"{result.stages[-1].memory / 2**20:,.0f} MiB",
        ]
        table = Table(
            title=", ".join(about),
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # or it does not fit into 80 columns
        )
        table.add_column("stage", no_wrap=True)
        for name in ("ns/step", "range", *HEADS):
            table.add_column(name, justify="right", no_wrap=True)
        for stage in result.stages:
            found = verdict(stage, gauges.of(result.num_devices).ceilings)
            time = stage.nanoseconds
            table.add_row(
                stage.name,
                _digits(time.median),
                f"{_digits(time.minimum)}-{_digits(time.maximum)}",
                *_told(found),
            )
        console.print(table)


def _told(verdict: Verdict) -> list[str]:
    """The shares, with an asterisk at what limits."""
    return [
        f"{share:.0%}" + ("*" if WORDS[name] == verdict.limit else " ")
        for name, share in verdict.shares._asdict().items()
    ]


def _digits(x: float) -> str:
    """The digits before the point, or two that are not zeros."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2g}"


def between(spread: Spread) -> str:
    """From the least to the most."""
    return f"{short(spread.minimum)}-{short(spread.maximum)}"
