"""REINFORCE: every baseline, reduction and option."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
from oracles import estimators

import pgjax as pg
from experiments.gradients import BASELINES, recorder
from experiments.proof.case import ENDLESS, FARTHER, PERFECT, WRONG, Case, weighed


def _case(
    name: str,
    *,
    critic: np.ndarray | None = None,
    unbiased: bool = False,
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

    truth = {
        "discounted": bool(options.get("discount_states")),
        "endless": critic is not None,
    }
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
    return [_case("clipped Gaussian actions")._replace(truth=None)]


def two_episodes() -> list[Case]:
    """Every baseline, with a critic that is right and one that is not."""
    value: dict[str, Any] = {"baseline": "value"}
    return [
        _case("no baseline", unbiased=True),
        _case("leave one out", baseline="leave_one_out", unbiased=True),
        _case("batch mean", baseline="batch_mean"),
        _case("episode mean", baseline="mean"),
        _case("wrong critic", **value, critic=WRONG),
        _case("perfect critic", **value, critic=PERFECT, unbiased=True),
        _case("normalized", normalize=True),
        _case("entropy", entropy=0.3),
        *(_critics_own(coefficient) for coefficient in (0.5, 2.0)),
    ]


def _critics_own(coefficient: float) -> Case:
    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.reinforce(
            network,
            recorder(),
            gamma=gamma,
            baseline=pg.value_baseline,
            value_coefficient=coefficient,
        )

    error = partial(estimators.reinforce_critic_error, critic=WRONG)
    name = f"reinforce's critic, coefficient {coefficient:g}"
    return Case(name, make, weighed(coefficient, error), WRONG, leaf="value")


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
        _case(
            "truncation, perfect critic",
            baseline="value",
            critic=ENDLESS,
            unbiased=True,
        ),
    ]


def gaussian() -> list[Case]:
    """Continuous actions."""
    discounted: dict[str, Any] = {"discount_states": True, "unbiased": True}
    return [
        _case("Gaussian", **discounted),
        _case("Gaussian, leave one out", baseline="leave_one_out", **discounted),
        _case("Gaussian, sum, entropy", reduction="sum", entropy=0.3)._replace(
            truth=None
        ),
    ]
