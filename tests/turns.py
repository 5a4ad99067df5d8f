"""Grids of which every other cell is slow, as the black squares of a chessboard.

Every value of every axis, and of three axes every pair of values, is in what is left.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest


def in_turns(*axes: Iterable[Any]) -> list[Any]:
    """Every combination of the axes' values, for `pytest.mark.parametrize`."""
    return [
        pytest.param(
            *(value for _, value in cell),
            marks=[pytest.mark.slow] * (sum(i for i, _ in cell) % 2),
        )
        for cell in itertools.product(*map(enumerate, axes))
    ]


def slow(*values: Any) -> Any:
    """Values of one case that is slow."""
    return pytest.param(*values, marks=pytest.mark.slow)
