"""Every policy-gradient estimator against the exact gradient.

Small tasks, whose rollouts can all be written down with their probabilities, give the
exact mean and covariance of each estimator, in float64, by code that shares nothing
with pgjax (`tests/oracles`). The gradients that training itself computes, rollout
included, are averaged over a million episodes and compared: component by component in
units of the standard error, all of them together by chi-squared, and so their squares,
which make the variance. Estimators that are biased by design must have the bias that is
predicted. Broken variants must fail the same test.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

import pgjax as pg
from experiments.broken_variants import BROKEN
from experiments.gradients import recorder
from experiments.proof_cases import Case, cases

# isort: split
# Beside the tests, where `proof_cases` looks for them.
import tabular_envs
from oracles import estimators, tabular
from oracles.tabular import Moments, Task

from pgjax.lab.machine import about_this_machine
from pgjax.lab.plots import BLUE, GREY, ORANGE

RESULTS = pathlib.Path(__file__).parent / "results" / "proof"
EPISODES = 2**20
REPLICATES = 4096  # side by side
LIMIT = 5.0  # standard errors


class Outcome(NamedTuple):
    """What was measured beside what is true."""

    name: str
    episodes: int  # that ended, or were cut
    exact: np.ndarray  # (S, A) flattened
    measured: np.ndarray
    error: np.ndarray  # standard errors of the measured
    z: float  # the largest
    p: float  # of chi-squared over all components
    z_square: float  # the largest of those of the squares, which make the variance
    relative: float  # distance to the exact gradient by its length
    bias: float  # of the exact expectation, to the true gradient, likewise
    deviation: (
        float  # exact standard deviation of one batch's, by the gradient's length
    )

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against the estimator."""
        return max(self.z, self.z_square) < LIMIT and self.p > 1e-6


def gradients(
    case: Case, num_batches: int, *, seed: int = 0, spoil: Callable | None = None
) -> Iterator[np.ndarray]:
    """(REPLICATES, S * A) policy gradients at a time, as a train step computes them.

    Args:
      case: the estimator.
      num_batches: how many, about.
      seed: of the random numbers.
      spoil: maps the algorithm and the rollout to broken ones.
    """
    env = pg.make_env(tabular_envs.env_name(case.task))
    network = tabular_envs.network(case.task, case.critic)
    algorithm = case.algorithm(network, recorder())
    rollout = (
        pg.episodes(env, case.num_envs)
        if case.length is None
        else pg.unroll(env, case.num_envs, case.length)
    )
    if spoil is not None:
        algorithm, rollout = spoil(algorithm, rollout)

    @jax.jit
    @jax.vmap
    def gradient(key: Any) -> Any:
        state = pg.init_train_state(key, rollout, algorithm)
        state, _ = pg.train_step(state, rollout, algorithm)
        return -state.learner.opt_state[case.leaf].ravel()

    for i in range(-(-num_batches // REPLICATES)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), REPLICATES)
        yield np.asarray(gradient(keys), np.float64)


def exact(case: Case) -> Moments:
    """The estimator's mean and covariance, over every batch of rollouts."""
    rollouts = list(
        tabular.episodes(case.task)
        if case.length is None
        else tabular.unrolls(case.task, case.length)
    )
    return tabular.moments(rollouts, case.oracle, case.num_envs)


def measure(
    case: Case, truth: Moments, *, episodes: int, spoil: Callable | None = None
) -> Outcome:
    """Averages gradients over so many episodes, or more, and compares."""
    num_batches = math.ceil(episodes / case.num_envs)
    sums = np.zeros((3, truth.mean.size))
    outer, count = np.zeros((truth.mean.size,) * 2), 0
    for g in gradients(case, num_batches, spoil=spoil):
        sums += [g.sum(0), (g**2).sum(0), (g**4).sum(0)]
        outer += g.T @ g
        count += len(g)
    mean, square, fourth = sums / count
    covariance = outer / count - np.outer(mean, mean)
    error = np.sqrt(np.diag(covariance) / count)
    difference = mean - truth.mean
    # Components depend on each other: a softmax's sum to zero.
    inverse = np.linalg.pinv(covariance, rcond=1e-6, hermitian=True)
    rank = np.linalg.matrix_rank(covariance, tol=1e-6 * np.abs(covariance).max())
    chi_squared = count * difference @ inverse @ difference
    exact_square = np.diag(truth.covariance) + truth.mean**2
    error_square = np.sqrt(np.maximum(fourth - square**2, 0.0) / count)
    keywords = case.oracle.keywords  # type: ignore[attr-defined]
    gradient = tabular.policy_gradient(
        case.task, discounted=bool(keywords.get("discount_states"))
    ).ravel()
    if case.leaf == "value":
        gradient = truth.mean  # there is no other truth of it
    length = np.linalg.norm(truth.mean)
    return Outcome(
        case.name,
        count * case.num_envs,
        truth.mean,
        mean,
        error,
        _largest(difference, error),
        float(stats.chi2.sf(chi_squared, rank)),
        _largest(square - exact_square, error_square),
        float(np.linalg.norm(difference) / length),
        float(np.linalg.norm(truth.mean - gradient) / np.linalg.norm(gradient)),
        float(np.sqrt(np.trace(truth.covariance)) / length),
    )


def _largest(difference: np.ndarray, error: np.ndarray) -> float:
    """In standard errors; what cannot vary must be right to float32's rounding."""
    rounding = 1e-6 * max(1.0, float(np.abs(difference).max()))
    return float(np.max(np.abs(difference) / np.maximum(error, rounding)))


def best_constant(task: Task) -> tuple[float, float]:
    """The constant baseline of least variance, and how much of no baseline's it has."""
    rollouts = list(tabular.episodes(task))

    def variance(b: float) -> float:
        def shifted(batch: list) -> np.ndarray:
            plain = estimators.reinforce(task, batch)
            scores = sum(estimators.score(task, s.state, s.action) for s in batch[0])
            return plain - b * scores

        return float(np.trace(tabular.moments(rollouts, shifted, 1).covariance))

    # It is a parabola in b.
    at = [variance(b) for b in (-1.0, 0.0, 1.0)]
    curvature, slope = (at[2] + at[0]) / 2 - at[1], (at[2] - at[0]) / 2
    best = -slope / (2 * curvature)
    return best, variance(best) / at[1]


def main() -> None:
    """Proves, prints, and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    quick = pathlib.Path("runs") / "proof-quick"
    out = arguments.out or (quick if arguments.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    episodes = 2**14 if arguments.quick else EPISODES
    outcomes, truths = [], {}
    for case in cases():
        truths[case.name] = exact(case)
        outcomes.append(measure(case, truths[case.name], episodes=episodes))
        print(_line(outcomes[-1]), flush=True)
    broken = {}
    by_name = {case.name: case for case in cases()}
    for name, (spoil, victim) in BROKEN.items():
        found = measure(by_name[victim], truths[victim], episodes=2**16, spoil=spoil)
        broken[name] = {"case": victim, "z": found.z, "z of squares": found.z_square}
        print(f"broken: {name} ({victim}): z {found.z:.0f}", flush=True)
    best, share = best_constant(tabular.TASKS["random"])
    record = {
        "command": "python -m experiments.proof",
        **about_this_machine(),
        "seed": 0,
        "estimators": [
            {
                name: x.tolist() if isinstance(x, np.ndarray) else x
                for name, x in outcome._asdict().items()
            }
            for outcome in outcomes
        ],
        "broken": broken,
        "best constant baseline": {"baseline": best, "variance by none's": share},
    }
    (out / "proof.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "proof.md").write_text(_table(outcomes, broken))
    draw(out / "proof.png", outcomes)
    failed = [outcome.name for outcome in outcomes if not outcome.passes]
    missed = [
        name for name, x in broken.items() if max(x["z"], x["z of squares"]) < LIMIT
    ]
    print(f"failed: {failed or 'none'}; broken variants not caught: {missed or 'none'}")
    sys.exit(bool(failed or missed))


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.name:42} z {outcome.z:4.1f}  p {outcome.p:6.3f}  "
        f"z of squares {outcome.z_square:4.1f}  off by {outcome.relative:.3%}  "
        f"bias by design {outcome.bias:.0%}"
    )


def _table(outcomes: list[Outcome], broken: dict[str, dict]) -> str:
    rows = [
        "| estimator | episodes | largest abs(z) | p | abs(z) of squares | off by | "
        "distance by design to the theorem's | deviation of one batch's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {o.name} | {o.episodes:,} | {o.z:.1f} | {o.p:.2f} | {o.z_square:.1f} | "
        f"{o.relative:.2%} | {o.bias:.0%} | {o.deviation:.1f} |"
        for o in outcomes
    ]
    rows += ["", "| broken variant | of | largest abs(z) |", "|---|---|---|"]
    rows += [f"| {name} | {x['case']} | {x['z']:.0f} |" for name, x in broken.items()]
    return "\n".join(rows) + "\n"


def draw(path: pathlib.Path, outcomes: list[Outcome]) -> None:
    """Measured against exact, with error bars, and the differences in their units."""
    figure = Figure(figsize=(10.0, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for outcome in outcomes:
        left.errorbar(
            outcome.exact,
            outcome.measured,
            yerr=LIMIT * outcome.error,
            fmt="o",
            color=BLUE,
            ms=3,
            lw=1,
            alpha=0.7,
        )
    ends = left.get_xlim()
    left.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
    left.set_xlabel("exact component of the gradient")
    left.set_ylabel(f"measured, with {LIMIT:g} standard errors")
    for row, outcome in enumerate(outcomes):
        known = outcome.error > 1e-9
        z = (outcome.measured - outcome.exact)[known] / outcome.error[known]
        right.plot(z, np.full(z.size, row), "o", color=BLUE, ms=3)
    for limit in (-LIMIT, LIMIT):
        right.axvline(limit, color=ORANGE, lw=1.2)
    right.set_yticks(range(len(outcomes)), [o.name for o in outcomes], fontsize=6)
    right.invert_yaxis()
    right.set_xlabel("measured minus exact, in standard errors")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
