"""Algorithms: one file, one factory each, made of the pieces in the other modules."""

from pgjax.algorithms.reinforce import reinforce

__all__ = ["reinforce"]
