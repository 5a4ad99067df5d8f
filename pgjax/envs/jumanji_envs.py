"""Jumanji's environments as `Env` values; the only file that imports jumanji."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jumanji
import numpy as np
from jumanji import specs

from pgjax.envs.adapting import NO_LIMIT, batched, check_name, limit_of
from pgjax.types import Array, Box, Discrete, Env, Key, Space

# Combinations of actions, at most, that are served as one choice among all.
MOST_ACTIONS = 10_000
# What bounds an episode where there is no time limit: a number of things to choose.
LONGEST: dict[str, Callable[[Any], int]] = {
    "BinPack": lambda env: env.generator.max_num_items,
    "CVRP": lambda env: 2 * env.num_nodes,
    "FlatPack": lambda env: env.num_blocks,
    "GraphColoring": lambda env: env.num_nodes,
    "Knapsack": lambda env: env.num_items,
    "Minesweeper": lambda env: env.num_rows * env.num_cols - env.num_mines,
    "MultiCVRP": lambda env: 2 * env._num_customers + 1,
    "Sudoku": lambda env: 81,
    "TSP": lambda env: env.num_cities,
}
MAX_STEPS = 10_000  # where nothing bounds it: 2048, whose episodes are far shorter


def names() -> list[str]:
    """The names that `make` knows, though three of them have too many actions."""
    return sorted(jumanji.registered_environments())


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of Jumanji, such as "Snake-v1".

    Jumanji mostly says done at its time limits without saying which it was. The
    environment is given a limit that never comes instead, so that its done is a
    terminal state, and the time limit truncates. (MultiCVRP ends with a penalty after
    twice as many steps as customers: that is terminal, as it is part of the reward.)

    Observations are all that Jumanji shows, the mask of legal actions included, as one
    vector, or an image where it shows nothing else. What follows an illegal action is
    Jumanji's own rule: mostly the end of the episode, in some nothing. Actions of
    several parts become one choice among all their combinations. In environments of
    several agents one policy acts for all, and the rewards are added up.

    Args:
      name: see `names`.
      time_limit: steps per episode; by default the environment's own, or where there
        is none the longest that an episode can be; 10,000 in 2048.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's constructor, such as generator=.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1;
        for more than 10,000 combinations of actions (Connector, JobShop, MMST).
      TypeError: for an option that the environment does not have.
    """
    check_name("jumanji", name, names())
    env = jumanji.make(name, **options)
    max_steps = limit_of(time_limit, _own_limit(env))
    if time_limit is not None and hasattr(env, "time_limit"):
        env = jumanji.make(name, **options, time_limit=max_steps)
    action_space, as_action = _actions(name, env.action_spec)
    env, is_over = _without_limit(env)

    def reset(key: Key) -> tuple[Any, Any]:
        state, timestep = env.reset(key)
        return timestep.observation, state

    def step(key: Key, state: Any, action: Array) -> tuple:
        del key
        state, timestep = env.step(state, as_action(action))
        reward = jnp.sum(timestep.reward)
        over = is_over(state, timestep)
        return timestep.observation, state, reward, over, jnp.bool_(False)

    return batched(f"jumanji:{name}", reset, step, action_space, max_steps, flat=flat)


def _own_limit(env: Any) -> int:
    longest = LONGEST.get(type(env).__name__, lambda env: MAX_STEPS)
    return int(getattr(env, "time_limit", None) or longest(env))


def _without_limit(env: Any) -> tuple[Any, Callable[[Any, Any], Array]]:
    """The environment without a time limit, and what tells that an episode is over."""
    if type(env).__name__ == "SearchAndRescue":  # whose reward depends on the limit
        return env, lambda state, timestep: jnp.all(state.targets.found)
    env = copy.copy(env)
    if hasattr(env, "time_limit"):  # some size their arrays by it when they are made
        env.time_limit = NO_LIMIT
    return env, lambda state, timestep: timestep.last()


def _actions(name: str, spec: Any) -> tuple[Space, Callable[[Array], Array]]:
    """The action space, and what makes Jumanji's action of one of ours."""
    if isinstance(spec, specs.DiscreteArray):
        return Discrete(int(spec.num_values)), lambda action: action
    low, high = (np.broadcast_to(x, spec.shape) for x in (spec.minimum, spec.maximum))
    if not jnp.issubdtype(spec.dtype, jnp.integer):
        return Box(low, high, tuple(spec.shape)), lambda action: action
    lowest = low.ravel()
    sizes = tuple(int(size) for size in high.ravel() - lowest + 1)
    if math.prod(sizes) > MOST_ACTIONS:
        raise ValueError(
            f"jumanji:{name} has {math.prod(sizes):,} combinations of actions of "
            f"several parts, and one choice among all serves up to {MOST_ACTIONS:,}"
        )

    def as_action(action: Array) -> Array:
        parts = jnp.stack(jnp.unravel_index(action, sizes)) + lowest
        return parts.reshape(spec.shape).astype(spec.dtype)

    return Discrete(math.prod(sizes)), as_action
