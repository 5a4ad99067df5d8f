"""Algorithms: one file, one factory each, made of the pieces in the other modules."""

from pgjax.algorithms.a2c import a2c
from pgjax.algorithms.ppo import ppo
from pgjax.algorithms.reinforce import reinforce
from pgjax.algorithms.trpo import trpo

__all__ = ["reinforce", "a2c", "ppo", "trpo"]  # noqa: RUF022  in the article's order
