"""What was found, as lines, a table and a picture."""

from __future__ import annotations

import math
import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.proof.case import RANDOM
from experiments.proof.measure import LIMIT, Outcome, best_constant
from pgjax.app.analysis.learning_curve import BLUE, GREY, ORANGE


def line(outcome: Outcome) -> str:
    """Of one estimator, for the terminal."""
    return (
        f"{outcome.name:42} z {outcome.z:4.1f}  p {outcome.p:6.3f}  "
        f"z of squares {outcome.z_square:4.1f}  off by {outcome.relative:.3%}  "
        f"bias by design {_percent(outcome.bias)}"
    )


def _percent(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.0%}"


def table(outcomes: list[Outcome], broken: dict[str, dict]) -> str:
    """In Markdown."""
    rows = [
        "Made by `python -m experiments.proof`; versions and device are in proof.json. "
        "Gradients are computed in float32, expectations in float64. z: measured minus "
        f"exact in standard errors, the largest component's (passes below {LIMIT:g}); "
        "p: chi-squared over all components (passes above 1e-6); z of squares: of the "
        "mean square; off by: length of the difference to the exact expectation, by "
        "the latter's; by design: likewise, of the exact expectation to the policy "
        "gradient ('-': of critics, steps and later epochs there is none to compare "
        "with); a batch's deviation: root of the trace of the covariance. Tasks and "
        "critics are in case.py.",
        "",
        "| estimator | batches | largest abs(z) | p | abs(z) of squares | off by | "
        "distance by design to the theorem's | a batch's deviation, exact | measured |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {o.name} | {o.batches:,} | {o.z:.1f} | {o.p:.2f} | {o.z_square:.1f} | "
        f"{o.relative:.2%} | {_percent(o.bias)} | {o.exact_deviation:.4g} | "
        f"{o.deviation:.4g} |"
        for o in outcomes
    ]
    best, share = best_constant(RANDOM)
    rows += [
        "",
        f"For comparison: the best constant baseline ({best:.2f} on the first task) "
        f"reduces the variance of a one-episode batch to {share:.0%} of that without.",
        "",
        "| broken variant | of | batches | largest abs(z) |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {x['case']} | {x['batches']:,} | {x['z']:.0f} |"
        for name, x in broken.items()
    ]
    return "\n".join(rows) + "\n"


def draw(path: pathlib.Path, outcomes: list[Outcome], broken: dict[str, dict]) -> None:
    """Measured against exact, the differences in standard errors, and what is wrong."""
    figure = Figure(figsize=(12.0, 4.0), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 4, 4])
    _draw_components(left, outcomes)
    _draw_differences(middle, outcomes)
    _draw_broken(right, broken)
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _draw_components(axes: Axes, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        axes.errorbar(
            outcome.exact,
            outcome.measured,
            yerr=LIMIT * outcome.error,
            fmt="o",
            color=BLUE,
            ms=3,
            lw=1,
            alpha=0.7,
        )
    ends = axes.get_xlim()
    axes.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
    axes.set_xlabel("exact component of the gradient")
    axes.set_ylabel(f"measured, with {LIMIT:g} standard errors")


def _draw_differences(axes: Axes, outcomes: list[Outcome]) -> None:
    """A row for each algorithm, a dot for each component of each of its estimators."""
    rows: dict[str, list[np.ndarray]] = {}
    for outcome in outcomes:
        known = outcome.error > 1e-9
        z = (outcome.measured - outcome.exact)[known] / outcome.error[known]
        rows.setdefault(_algorithm(outcome), []).append(z)
    for row, found in enumerate(rows.values()):
        place = np.repeat(np.linspace(-0.32, 0.32, len(found)), [z.size for z in found])
        axes.plot(np.concatenate(found), row + place, "o", color=BLUE, ms=2, alpha=0.7)
    for limit in (-LIMIT, LIMIT):
        axes.axvline(limit, color=ORANGE, lw=1.2)
    labels = [
        f"{name}\n{len(found)} estimator{'s' if len(found) > 1 else ''}"
        for name, found in rows.items()
    ]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("measured minus exact, in standard errors")


def _algorithm(outcome: Outcome) -> str:
    name = outcome.name.split(",")[0].removesuffix("'s critic")
    return "rloo, grpo" if name in ("rloo", "grpo", "dr_grpo") else name


def _draw_broken(axes: Axes, broken: dict[str, dict]) -> None:
    axes.plot([x["z"] for x in broken.values()], range(len(broken)), "o", color=ORANGE)
    axes.axvline(LIMIT, color=ORANGE, lw=1.2)
    axes.set_xscale("log")
    axes.set_xlim(left=1.0)
    axes.set_yticks(range(len(broken)), list(broken), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("broken variants: largest abs(z), log scale")
