"""Exact means and covariances of estimators: sums over all that can happen."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
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
    *,
    ordered: bool = False,
) -> Moments:
    """The exact mean and covariance of an estimator of `batch` independent rollouts.

    Args:
      rollouts: all there are, with their probabilities.
      estimator: maps a batch to a gradient, or to a list of them, where a draw of its
        own decides which: each is as likely as the others.
      batch: how many rollouts.
      ordered: whether their order matters to the estimator.
    """
    mean: np.ndarray | float = 0.0
    square: np.ndarray | float = 0.0
    for chosen, orders in _batches(range(len(rollouts)), batch, ordered):
        p = orders * np.prod([rollouts[i][0] for i in chosen])
        drawn = estimator(tuple(rollouts[i][1] for i in chosen))
        for g in drawn if isinstance(drawn, list) else [drawn]:
            share = p / len(drawn) if isinstance(drawn, list) else p
            mean = mean + share * g.ravel()
            square = square + share * np.outer(g, g)
    return Moments(np.asarray(mean), np.asarray(square) - np.outer(mean, mean))


def _batches(indices: range, batch: int, ordered: bool) -> Iterator[tuple[tuple, int]]:
    """Every batch, and in how many orders it comes."""
    if ordered:
        yield from ((chosen, 1) for chosen in itertools.product(indices, repeat=batch))
        return
    for chosen in itertools.combinations_with_replacement(indices, batch):
        orders = math.factorial(batch)
        for times in Counter(chosen).values():
            orders //= math.factorial(times)
        yield chosen, orders
