"""REINFORCE: every baseline, reduction and option."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

import pgjax as pg
from experiments.gradients import BASELINES, recorder
from experiments.proof.case import ENDLESS, FARTHER, PERFECT, WRONG, Case, times

# isort: split
from oracles import estimators


def _case(
    name: str,
    *,
    critic: np.ndarray | None = None,
    unbiased: bool = False,
    truth: str | None = "plain",
    **options: Any,
) -> Case:
    """With the oracle's options, which pgjax calls otherwise."""
    names = {"normalize": "normalize_advantage", "entropy": "entropy_coefficient"}
    translated = {
        names.get(option, option): BASELINES[x] if option == "baseline" else x
        for option, x in options.items()
    }

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.reinforce(network, recorder(), gamma=gamma, **translated)

    if options.get("discount_states"):
        truth = "discounted"
    oracle = partial(estimators.reinforce, critic=critic, **options)
    return Case(f"reinforce, {name}", make, oracle, critic, "theta", truth, unbiased)


def one_episode() -> list[Case]:
    """On the average, the theorem's own."""
    return [_case("one episode", unbiased=True)]


def one_chain() -> list[Case]:
    """Where the reward comes late."""
    return [_case("one chain", unbiased=True)]


def with_and_without_discount() -> list[Case]:
    """Where gamma^t decides."""
    return [
        _case("gamma^t", discount_states=True, unbiased=True),
        _case("gamma^t left out", unbiased=True),
    ]


def clipped() -> list[Case]:
    """The log-prob is that of the action before."""
    return [_case("clipped Gaussian actions", truth=None)]


def two_episodes() -> list[Case]:
    """Every baseline, with a critic that is right and one that is not."""
    value: dict[str, Any] = {"baseline": "value"}
    critics = _case("the critic's own", **value, critic=WRONG)
    return [
        _case("no baseline", unbiased=True),
        _case("leave one out", baseline="leave_one_out", unbiased=True),
        _case("batch mean", baseline="batch_mean"),
        _case("episode mean", baseline="mean"),
        _case("wrong critic", **value, critic=WRONG),
        _case("perfect critic", **value, critic=PERFECT),
        _case("normalized", normalize=True),
        _case("entropy", entropy=0.3),
        critics._replace(
            oracle=times(0.5, partial(estimators.reinforce_critic, critic=WRONG)),
            leaf="value",
            truth=None,
        ),
    ]


def combined() -> list[Case]:
    """Of baseline, reduction and gamma^t; then what goes with some of them."""
    cases = [
        _case(
            f"chain, {baseline}, {reduction}{', gamma^t' if discounted else ''}",
            baseline=baseline,
            reduction=reduction,
            discount_states=discounted,
            critic=FARTHER if baseline == "value" else None,
            unbiased=baseline in ("none", "leave_one_out") and reduction == "episodes",
        )
        for baseline, reduction, discounted in itertools.product(
            BASELINES, ("episodes", "steps", "sum"), (False, True)
        )
    ]
    cases += [
        _case(
            f"chain, {baseline}, normalized",
            baseline=baseline,
            normalize=True,
            critic=FARTHER if baseline == "value" else None,
        )
        for baseline in BASELINES
    ]
    cases += [
        _case(
            f"chain, {reduction}, entropy{', gamma^t' if discounted else ''}",
            reduction=reduction,
            entropy=0.3,
            discount_states=discounted,
        )
        for reduction, discounted in itertools.product(
            ("episodes", "steps", "sum"), (False, True)
        )
    ]
    return cases


def truncated() -> list[Case]:
    """Returns that go on with a critic, or end with the time limit."""
    return [
        _case("truncation", unbiased=True),
        _case("truncation, leave one out", baseline="leave_one_out", unbiased=True),
        _case("truncation, perfect critic", baseline="value", critic=ENDLESS),
    ]


def gaussian() -> list[Case]:
    """Continuous actions."""
    discounted: dict[str, Any] = {"discount_states": True, "unbiased": True}
    return [
        _case("Gaussian", **discounted),
        _case("Gaussian, leave one out", baseline="leave_one_out", **discounted),
        _case("Gaussian, sum, entropy", reduction="sum", entropy=0.3, truth=None),
    ]
