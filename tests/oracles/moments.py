"""Exact means and covariances of estimators: sums over all that can happen."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Of an estimator, flattened."""

    mean: np.ndarray  # (D,)
    covariance: np.ndarray  # (D, D)


def moments(
    rollouts: list[tuple[float, Any]],
    estimator: Callable[[tuple], np.ndarray | list[np.ndarray]],
    batch: int,
) -> Moments:
    """The exact mean and covariance of an estimator of `batch` independent rollouts.

    Args:
      rollouts: all there are, with their probabilities.
      estimator: maps a batch to a gradient, or to a list of them, where a draw of its
        own decides which: each is as likely as the others. It may not depend on the
        order of the batch.
      batch: how many rollouts.
    """
    mean: np.ndarray | float = 0.0
    square: np.ndarray | float = 0.0
    for chosen in itertools.combinations_with_replacement(range(len(rollouts)), batch):
        orders = math.factorial(batch)
        for times in Counter(chosen).values():
            orders //= math.factorial(times)
        p = orders * np.prod([rollouts[i][0] for i in chosen])
        drawn = estimator(tuple(rollouts[i][1] for i in chosen))
        for g in drawn if isinstance(drawn, list) else [drawn]:
            share = p / len(drawn) if isinstance(drawn, list) else p
            mean = mean + share * g.ravel()
            square = square + share * np.outer(g, g)
    return Moments(np.asarray(mean), np.asarray(square) - np.outer(mean, mean))
