"""The estimators that are proved: in pgjax, and as oracles."""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import pgjax as pg
from experiments.gradients import BASELINES

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from oracles import estimators, tabular
from oracles.tabular import Task


class Case(NamedTuple):
    """An estimator, in pgjax and as an oracle."""

    name: str
    task: Task
    algorithm: Callable[..., pg.Algorithm]  # of a network and an optimizer
    oracle: Callable[..., np.ndarray]  # of a batch of rollouts
    num_envs: int = 1
    length: int | None = None  # of an unroll; None for complete episodes
    critic: np.ndarray | None = None
    unbiased: bool = False  # of the gradient that the theorem has
    leaf: str = "theta"  # of the parameters: the policy's, or the critic's "value"


def _reinforce(
    task: str,
    name: str,
    *,
    num_envs: int = 2,
    critic: np.ndarray | None = None,
    unbiased: bool = False,
    **options: Any,
) -> Case:
    the_task = tabular.TASKS[task]
    translated = {
        {"normalize": "normalize_advantage", "entropy": "entropy_coefficient"}.get(
            option, option
        ): BASELINES[value] if option == "baseline" else value
        for option, value in options.items()
    }
    return Case(
        f"reinforce, {name}",
        the_task,
        functools.partial(
            pg.reinforce, gamma=the_task.gamma, value_coefficient=0.0, **translated
        ),
        functools.partial(estimators.reinforce, the_task, critic=critic, **options),
        num_envs,
        critic=critic,
        unbiased=unbiased,
    )


def _actor_critic(
    factory: str,
    task: str,
    name: str,
    critic: np.ndarray,
    *,
    length: int = 3,
    num_envs: int = 1,
    own: dict[str, Any] | None = None,
    **options: Any,
) -> Case:
    the_task = tabular.TASKS[task]
    translated = {
        {"entropy": "entropy_coefficient"}.get(option, option): value
        for option, value in options.items()
        if option != "normalize"
    }
    normalize = options.get("normalize", False)
    if factory == "ppo":
        kind = "minibatch" if normalize else "none"
        translated["advantage_normalization"] = kind
    else:
        translated["normalize_advantage"] = normalize
    settings = {"entropy_coefficient": 0.0, "value_coefficient": 0.0} | translated
    return Case(
        f"{factory}, {name}",
        the_task,
        functools.partial(
            getattr(pg, factory), gamma=the_task.gamma, **settings, **(own or {})
        ),
        functools.partial(estimators.actor_critic, the_task, critic=critic, **options),
        num_envs,
        length,
        critic,
    )


def _critic(task: str, name: str, critic: np.ndarray, *, lam: float) -> Case:
    case = _actor_critic("a2c", task, name, critic, lam=lam)
    return case._replace(
        algorithm=functools.partial(case.algorithm, value_coefficient=1.0),
        oracle=functools.partial(estimators.critic, case.task, critic=critic, lam=lam),
        leaf="value",
    )


def cases() -> list[Case]:
    """Every algorithm, baseline and option."""
    random, late = tabular.TASKS["random"], tabular.TASKS["late"]
    cut = tabular.TASKS["truncation"]
    wrong = np.array([0.7, -0.4, 1.1])
    perfect = tabular.values(random, limited=False)
    endless = tabular.values(cut, limited=False)
    del late
    once = {"num_epochs": 1, "num_minibatches": 1}
    loo = {"baseline": "leave_one_out", "unbiased": True}
    return [
        _reinforce("random", "one episode", num_envs=1, unbiased=True),
        _reinforce("random", "no baseline", unbiased=True),
        _reinforce("random", "leave one out", **loo),
        _reinforce("random", "batch mean", baseline="batch_mean"),
        _reinforce("random", "episode mean", baseline="mean"),
        _reinforce("random", "wrong critic", baseline="value", critic=wrong),
        _reinforce("random", "perfect critic", baseline="value", critic=perfect),
        _reinforce("random", "reduction steps", reduction="steps"),
        _reinforce("random", "reduction sum", reduction="sum"),
        _reinforce("random", "normalized", normalize=True),
        _reinforce("random", "entropy", entropy=0.3),
        _reinforce("late", "gamma^t", discount_states=True, unbiased=True),
        _reinforce("late", "without gamma^t", unbiased=True),
        _reinforce("chain", "chain", num_envs=1, unbiased=True),
        _reinforce("chain", "chain, leave one out", **loo),
        _reinforce("truncation", "truncation", unbiased=True),
        _reinforce(
            "truncation", "truncation, perfect critic", baseline="value", critic=endless
        ),
        _actor_critic("a2c", "random", "perfect critic", perfect),
        _actor_critic("a2c", "random", "perfect critic, lambda 0", perfect, lam=0.0),
        _actor_critic("a2c", "random", "wrong critic", wrong),
        _actor_critic("a2c", "random", "wrong critic, lambda 0.5", wrong, lam=0.5),
        _actor_critic("a2c", "random", "wrong critic, 2 steps", wrong, n_step=2),
        _actor_critic("a2c", "random", "entropy", wrong, entropy=0.3),
        _critic("random", "the critic's own", wrong, lam=0.5),
        _actor_critic(
            "a2c", "truncation", "truncation, perfect critic", endless, length=6
        ),
        _actor_critic(
            "a2c", "truncation", "normalized", endless, num_envs=2, normalize=True
        ),
        _actor_critic(
            "ppo", "random", "wrong critic", wrong, lam=0.5, normalize=False, own=once
        ),
        _actor_critic(
            *("ppo", "truncation", "normalized", endless),
            num_envs=2,
            lam=0.95,
            normalize=True,
            own=once,
        ),
    ]
