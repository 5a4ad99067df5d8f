"""Trees of spaces, which observations are leaf by leaf; and what is chosen of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pgjax._internal.user_parts import named
from pgjax.types import Box, Discrete, Obs, Space


def is_space(x: Any) -> bool:
    """Whether it is a space; spaces are tuples, and no trees of their parts."""
    return isinstance(x, Discrete | Box)


def map_spaces(fn: Callable[..., Any], space: Any, *trees: Any) -> Any:
    """`fn` of every space in a tree, and of what other trees have in its place."""
    return jax.tree.map(fn, space, *trees, is_leaf=is_space)


def spaces_of(space: Any) -> list[Space]:
    """The spaces of a tree, in the order of `jax.tree.leaves` of the observations."""
    return jax.tree.leaves(space, is_leaf=is_space)


def named_spaces(name: str, space: Any) -> list[tuple[str, Any]]:
    """Likewise, each with its name, such as env.observation_space['image']."""
    found = jax.tree_util.tree_leaves_with_path(space, is_leaf=is_space)
    return [(named(name, path), leaf) for path, leaf in found]


def beside_spaces(space: Any, tree: Any) -> list[Any]:
    """What a tree, such as an observation, has in place of each of the spaces."""
    structure: Any = jax.tree.structure(space, is_leaf=is_space)
    return structure.flatten_up_to(tree)


def batch_size(obs: Obs) -> int:
    """How many observations there are, of (N, ...) leaves."""
    return jax.tree.leaves(obs)[0].shape[0]


def chosen_leaves(leaves: Any, tree: Any) -> Any:
    """Which leaves of a tree are meant: a tree like it, of True and False.

    Args:
      leaves: True or False for all, or a tree of these like the upper part of `tree`,
        where each stands for all that is below it.
      tree: of any leaves; spaces are leaves.

    Raises:
      ValueError: for another structure, with what is there.
      TypeError: for what is neither True nor False.
    """
    for path, choice in jax.tree_util.tree_leaves_with_path(leaves):
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(
                f"{named('leaves', path)} must be True or False, got {choice!r}"
            )

    def spread(choice: Any, part: Any) -> Any:
        return jax.tree.map(lambda _: bool(choice), part, is_leaf=is_space)

    try:
        return jax.tree.map(spread, leaves, tree)
    except ValueError:
        names = [named("", path) for path, _ in _leaves_with_path(tree)]
        raise ValueError(
            f"leaves must be True, False, or a tree of these like the observations, "
            f"whose leaves are {', '.join(names)}; got {leaves}"
        ) from None


def _leaves_with_path(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_space)
