"""What is proved, and on which tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from oracles import gaussian, tabular

import pgjax as pg

RANDOM, LATE = tabular.TASKS["random"], tabular.TASKS["late"]
CHAIN, CUT = tabular.TASKS["chain"], tabular.TASKS["truncation"]
PEAKED = tabular.TASKS["peaked"]
SWING, ONCE = gaussian.TASKS["swing"], gaussian.TASKS["once"]
CLIPPED = gaussian.TASKS["clipped"]

WRONG = np.array([0.7, -0.4, 1.1])  # a critic of three states, far from any truth
HOPEFUL = np.array([6.0, 6.0, 6.0])  # whatever is done is worse than it thinks
FARTHER = np.array([0.2, 0.1, -0.3, 0.5])  # of four
CURVED = np.array([0.3, -0.2, 0.4])  # of numbers, a polynomial
PERFECT = tabular.values(RANDOM, limited=False)
ENDLESS = tabular.values(CUT, limited=False)
# Where a first step leads: far enough for every kind of clipping.
SHIFT = np.array([[0.5, -0.3], [-0.4, 0.2], [0.1, 0.6]])
AWAY = -SHIFT
VALUE_SHIFT = np.array([0.5, -0.6, 0.2])
BEYOND = np.array([[0.3, 0.0], [-0.5, 0.1], [0.2, 0.0], [0.0, 0.4]])
GAUSSIAN_SHIFT = np.array([-0.4, -0.2])
REFERENCE = np.array([[0.1, 0.4], [0.6, 0.0], [0.0, 0.0], [0.9, 0.2]])

Make = Callable[[pg.Network, float], pg.Algorithm]  # of a network and gamma
Oracle = Callable[[Any, Any], Any]  # of a task and a batch of rollouts


class Case(NamedTuple):
    """An estimator."""

    name: str
    make: Make
    oracle: Oracle
    critic: np.ndarray | None = None
    leaf: str = "theta"  # whose gradient: the policy's, the critic's "value"; or "step"
    # Which gradient it is an estimate of, biased or not: options of
    # `tabular.policy_gradient`. None where there is no such thing: of a critic's
    # gradient, a trust region's step, a policy that is not the one that acted.
    truth: dict[str, bool] | None = None
    unbiased: bool = False


class Family(NamedTuple):
    """Cases that share their rollouts."""

    name: str
    task: Any
    num_envs: int
    cases: list[Case]
    length: int | None = None  # of an unroll; None for complete episodes
    ordered: bool = False  # whether it matters which environment did what
    train_steps: int = 1  # the last one's gradient is looked at
    spoil: Callable[[pg.Rollout], pg.Rollout] | None = None  # what breaks its rollouts


def weighed(factor: float, oracle: Oracle) -> Oracle:
    """The coefficient of a critic's loss."""
    return lambda task, batch: factor * oracle(task, batch)
