"""A2C, PPO and TRPO: on rollouts that are cut at a horizon, and on whole episodes."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from oracles import estimators

import pgjax as pg
from experiments.gradients import recorder
from experiments.proof.case import (
    CURVED,
    ENDLESS,
    FARTHER,
    GAUSSIAN_SHIFT,
    HOPEFUL,
    PERFECT,
    SHIFT,
    VALUE_SHIFT,
    WRONG,
    Case,
    Oracle,
    weighed,
)

# How the oracles call what pgjax calls otherwise.
NAMES = {"normalize": "normalize_advantage", "entropy": "entropy_coefficient"}


def _a2c(
    name: str, critic: np.ndarray, *, unbiased: bool = False, **options: Any
) -> Case:
    settings = {"entropy_coefficient": 0.0} | {
        NAMES.get(option, option): x for option, x in options.items()
    }

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.a2c(network, recorder(), gamma=gamma, **settings)

    oracle = partial(estimators.actor_critic, critic=critic, **options)
    truth = {"endless": True}
    return Case(f"a2c, {name}", make, oracle, critic, "theta", truth, unbiased)


def _ppo(
    name: str,
    critic: np.ndarray,
    oracle: Oracle,
    *,
    lam: float = 0.5,
    shift: np.ndarray | None = None,
    value_shift: np.ndarray | None = None,
    entropy: float = 0.0,
    **options: Any,
) -> Case:
    """One epoch; with a shift, a first one that makes it and a second."""
    first_step = None
    if shift is not None:
        moved = np.zeros_like(critic) if value_shift is None else value_shift
        first_step = {
            "theta": jnp.asarray(shift, jnp.float32),
            "value": jnp.asarray(moved, jnp.float32),
        }
    settings: dict[str, Any] = {
        "num_epochs": 1 if shift is None else 2,
        "num_minibatches": 1,
        "normalize_advantage": False,
    }

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.ppo(
            network,
            recorder(first_step),
            gamma=gamma,
            lam=lam,
            entropy_coefficient=entropy,
            **settings | options,
        )

    truth = {"endless": True} if shift is None else None
    oracle = partial(oracle, critic=critic, lam=lam)
    return Case(f"ppo, {name}", make, oracle, critic, truth=truth)


def _trpo(name: str, critic: np.ndarray, **options: Any) -> Case:
    """What its step is, on the average."""
    options = {
        "lam": 0.9,
        "max_kl": 0.05,
        "damping": 0.1,
        "max_backtracks": 10,
        "normalize": False,
    } | options
    settings: dict[str, Any] = {"num_epochs": 1, "num_minibatches": 1} | {
        NAMES.get(option, option): x for option, x in options.items()
    }

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.trpo(network, recorder(), gamma=gamma, **settings)

    oracle = partial(estimators.trust_region, critic=critic, **options)
    return Case(f"trpo, {name}", make, oracle, critic, "step")


def _own(case: Case, oracle: Oracle) -> Case:
    """The same algorithm's critic."""
    algorithm = case.name.split(",")[0]
    name = case.name.replace(algorithm, f"{algorithm}'s critic", 1)
    return case._replace(name=name, oracle=oracle, leaf="value", truth=None)


def three_steps() -> list[Case]:
    """On three steps of one environment."""
    error = partial(estimators.critic_error, critic=WRONG)
    return [
        _a2c("perfect critic", PERFECT, unbiased=True),
        _a2c("perfect critic, lambda 0.5", PERFECT, lam=0.5, unbiased=True),
        _a2c("perfect critic, lambda 0", PERFECT, lam=0.0, unbiased=True),
        _a2c("perfect critic, 2 steps", PERFECT, n_step=2, unbiased=True),
        _a2c("wrong critic", WRONG),
        _a2c("wrong critic, lambda 0.5", WRONG, lam=0.5),
        _a2c("wrong critic, 1 step", WRONG, n_step=1),
        _a2c("wrong critic, 2 steps", WRONG, n_step=2),
        _a2c("entropy", WRONG, entropy=0.3),
        _a2c("normalized", WRONG, normalize=True, lam=0.5),
        _own(_a2c("lambda 0.5", WRONG, lam=0.5), weighed(0.5, partial(error, lam=0.5))),
        _own(_a2c("2 steps", WRONG, n_step=2), weighed(0.5, partial(error, n_step=2))),
        _own(
            _a2c("coefficient 2", WRONG, lam=0.0, value_coefficient=2.0)._replace(
                oracle=error
            ),
            weighed(2.0, partial(error, lam=0.0)),
        ),
        _scaled_rewards(),
        *_first_epochs(),
        *_second_epochs(),
        *_trust_regions(),
    ]


def _scaled_rewards(*, after: int = 0) -> Case:
    lam, clip = 0.5, 2.0
    inner = _a2c("scaled rewards" + ", second rollout" * (after > 0), PERFECT, lam=lam)

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.scale_rewards(inner.make(network, gamma), gamma=gamma, clip=clip)

    oracle = partial(
        estimators.scaled_rewards, critic=PERFECT, lam=lam, clip=clip, after=after
    )
    return inner._replace(make=make, oracle=oracle, truth=None)


def _first_epochs() -> list[Case]:
    """PPO before any step: the actor-critic's gradient."""
    first = estimators.actor_critic
    error = partial(estimators.critic_error, critic=WRONG, lam=0.5)
    coefficient = _ppo("coefficient 2", WRONG, first, value_coefficient=2.0)
    return [
        _ppo("perfect critic", PERFECT, first)._replace(unbiased=True),
        _ppo("one epoch", WRONG, first),
        _ppo("entropy", WRONG, partial(first, entropy=0.3), entropy=0.3),
        _own(coefficient, weighed(2.0, error)),
    ]


def _second_epochs() -> list[Case]:
    """PPO after a step that was made up, so that ratios are cut on either side."""
    far: dict[str, Any] = {"shift": SHIFT}
    moved: dict[str, Any] = {"value_shift": VALUE_SHIFT}
    second = partial(estimators.second_epoch, **far)
    error = partial(
        estimators.second_epoch_critic_error, critic=WRONG, lam=0.5, shift=VALUE_SHIFT
    )
    free = _ppo("second epoch", WRONG, second, **far, **moved)
    near = _ppo(
        "second epoch, value clip", WRONG, second, **far, **moved, value_clip=0.3
    )

    def case(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Case:
        oracle = partial(second, **theirs)
        return _ppo(f"second epoch, {name}", WRONG, oracle, **far, **ours)

    return [
        free,
        case("wider clip", {"clip": 0.33}, {"clip": 0.33}),
        case("entropy", {"entropy": 0.3}, {"entropy": 0.3}),
        case("target KL", {"target_kl": 0.06}, {"target_kl": 0.06}),
        case(
            "normalized",
            {"normalize_advantage": True},
            {"normalize": True},
        ),
        _own(free, weighed(0.5, partial(error, clip=np.inf))),
        _own(near, weighed(0.5, partial(error, clip=0.3))),
    ]


def _trust_regions() -> list[Case]:
    full = _trpo("natural gradient", WRONG, max_backtracks=0)
    error = partial(estimators.critic_error, critic=WRONG, lam=0.9)
    return [
        full,
        _trpo("normalized", WRONG, max_kl=0.3, normalize=True),
        _own(full, error),
    ]


def line_search() -> list[Case]:
    """Where a step of the length that the Fisher matrix says is often too long."""
    far: dict[str, Any] = {"max_kl": 1.0, "damping": 0.003}
    return [
        _trpo("peaked, line search", HOPEFUL, **far),
        _trpo("peaked, one backtrack", HOPEFUL, **far, max_backtracks=1),
        _trpo("peaked, natural gradient", HOPEFUL, **far, max_backtracks=0),
    ]


def six_steps() -> list[Case]:
    """With a time limit in the middle."""
    return [
        _a2c("truncation, perfect critic", ENDLESS, unbiased=True),
        _a2c("truncation, lambda 0.5", ENDLESS, lam=0.5, unbiased=True),
    ]


def later_steps(after: int) -> list[Case]:
    """Of a rollout that goes on where another one stopped, within an episode."""
    cases = [
        _a2c("wrong critic, second rollout", WRONG, lam=0.5),
        _ppo("second rollout", WRONG, estimators.actor_critic),
    ]
    return [
        *(
            case._replace(oracle=estimators.later(case.oracle, after=after), truth=None)
            for case in cases
        ),
        _scaled_rewards(after=after),
    ]


# How advantages are normalized, by what over.
NORMALIZED: dict[str, dict[str, Any]] = {
    "minibatch": {"normalize_advantage": True, "normalize_over": "minibatch"},
    "batch": {"normalize_advantage": True, "normalize_over": "batch"},
    "none": {"normalize_advantage": False},
}


def two_environments() -> list[Case]:
    """On three steps of two, in one minibatch or in two."""
    halves = [
        _ppo(
            f"two minibatches, {kind}",
            *(ENDLESS, partial(estimators.minibatch, normalize=kind)),
            lam=0.95,
            num_minibatches=2,
            **NORMALIZED[kind],
        )
        for kind in ("minibatch", "batch", "none")
    ]
    halves[-1] = halves[-1]._replace(unbiased=True)
    return [
        _a2c("two environments, normalized", ENDLESS, normalize=True),
        _ppo(
            "two environments, normalized",
            *(ENDLESS, partial(estimators.actor_critic, normalize=True)),
            lam=0.95,
            **NORMALIZED["batch"],
        ),
        *halves,
        _trpo("two environments", ENDLESS, max_kl=0.2, normalize=True),
    ]


def whole_episodes() -> list[Case]:
    """Two of them, of unequal length: padding counts for nothing."""
    normalized = partial(estimators.actor_critic, normalize=True)
    cases = [
        _a2c("whole episodes", FARTHER, lam=0.5),
        _a2c(
            "whole episodes, normalized, entropy", FARTHER, normalize=True, entropy=0.3
        ),
        _ppo(
            "whole episodes, normalized",
            *(FARTHER, normalized),
            **NORMALIZED["batch"],
        ),
        _trpo("whole episodes", FARTHER),
    ]
    return [case._replace(truth=None) for case in cases]


def gaussian() -> list[Case]:
    """Continuous actions."""
    cases = [
        _a2c("Gaussian", CURVED),
        _a2c("Gaussian, lambda 0.5, entropy", CURVED, lam=0.5, entropy=0.3),
        _ppo("Gaussian", CURVED, estimators.actor_critic),
    ]
    return [case._replace(truth=None) for case in cases]


def gaussian_once() -> list[Case]:
    """One step, where ratios are cut and a trust region is not a polynomial."""
    far: dict[str, Any] = {"shift": GAUSSIAN_SHIFT}
    second = partial(estimators.second_epoch, **far)
    return [
        _ppo("Gaussian, second epoch", CURVED, second, **far),
        _trpo("Gaussian, natural gradient", CURVED, max_backtracks=0),
        _trpo("Gaussian, line search", CURVED, max_kl=1.0, damping=0.003),
    ]
