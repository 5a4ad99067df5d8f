"""What is proved, and on which tasks."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import pgjax as pg

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))

from oracles import gaussian, tabular

RANDOM, LATE = tabular.TASKS["random"], tabular.TASKS["late"]
CHAIN, CUT = tabular.TASKS["chain"], tabular.TASKS["truncation"]
PEAKED = tabular.TASKS["peaked"]
SWING, CLIPPED = gaussian.TASKS["swing"], gaussian.TASKS["clipped"]

WRONG = np.array([0.7, -0.4, 1.1])  # a critic of three states, far from any truth
FARTHER = np.array([0.2, 0.1, -0.3, 0.5])  # of four
CURVED = np.array([0.3, -0.2, 0.4])  # of numbers, a polynomial
PERFECT = tabular.values(RANDOM, limited=False)
ENDLESS = tabular.values(CUT, limited=False)
# Where a first step leads: far enough for every kind of clipping.
SHIFT = np.array([[0.5, -0.3], [-0.4, 0.2], [0.1, 0.6]])
AWAY = -SHIFT
VALUE_SHIFT = np.array([0.5, -0.6, 0.2])
BEYOND = np.array([[0.3, 0.0], [-0.5, 0.1], [0.2, 0.0], [0.0, 0.4]])
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
    # Whether its expectation is the theorem's gradient: of the discounted objective,
    # or of the sum over steps that leaves gamma^t out. None where there is no such
    # thing to compare with: a critic's gradient, a trust region's step.
    truth: str | None = "plain"
    unbiased: bool = False


class Family(NamedTuple):
    """Cases that share their rollouts."""

    name: str
    task: Any
    num_envs: int
    cases: list[Case]
    length: int | None = None  # of an unroll; None for complete episodes


def times(factor: float, oracle: Oracle) -> Oracle:
    """The coefficient of a critic's loss."""
    return lambda task, batch: factor * oracle(task, batch)
