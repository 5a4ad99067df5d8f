"""A chunk of updates of one agent, which ends where the agent stops.

A chunk is how many updates are made between two looks at the clock, the files and
Ctrl-C. Its length changes nobody's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.control_flow import any_agent
from pgjax.app.settings.run_settings import Config
from pgjax.train import RECENT, recent_return


class _Course(NamedTuple):
    """How far a chunk has come: for one agent, but for the number."""

    number: Any  # () int32, updates so far; the same for all agents of a block
    state: Any
    left: Any  # () int32, environment steps of its budget
    going: Any  # () bool, whether it goes on
    rows: Any  # metrics (length,), zeros from where it stopped


def until_it_stops(
    step: Callable[[Any], tuple[Any, dict[str, Any]]],
    state: Any,
    left: Any,
    *,
    stops: Callable[[Any], Any],
    length: int,
) -> tuple[Any, dict[str, Any]]:
    """Updates of an agent, at most so many, and none once it has stopped.

    It stops after the update that spends its budget, or makes `stops` true. One in
    which something was not finite is not made, and is its last. A block ends where all
    of its agents have stopped; those that have are not asked again.

    Args:
      step: an update. Of its metrics, "env_steps" are taken off the budget, and
        "diverged" is 0 where all was finite.
      state: where it begins.
      left: () int32, environment steps of its budget; 0 or less for none.
      stops: whether an agent in this state has stopped, as a () bool.
      length: updates at most, >= 1.

    Returns:
      The state, and metrics (length,): those of `step`, and "going", whether an update
      was made.
    """

    def goes_on(course: _Course) -> Any:
        return (course.number < length) & any_agent(course.going)

    def update(course: _Course) -> _Course:
        number, state, left, going, rows = course
        new_state, metrics = step(state)
        metrics["diverged"] = jnp.where(going, metrics["diverged"], 0)
        going &= metrics["diverged"] == 0
        metrics["going"] = going
        rows = jax.tree.map(lambda x, new: x.at[number].set(new), rows, metrics)
        state = jax.tree.map(lambda x, old: jnp.where(going, x, old), new_state, state)
        left = left - jnp.where(going, metrics["env_steps"], 0)
        going &= (left > 0) & ~stops(state)
        return _Course(number + 1, state, left, going, rows)

    metrics = jax.eval_shape(step, state)[1] | {"going": jnp.bool_(False)}
    rows = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), metrics)
    going = (left > 0) & ~stops(state)
    course = _Course(jnp.int32(0), state, left, going, rows)
    course = jax.lax.while_loop(goes_on, update, course)
    return course.state, course.rows


def has_solved(config: Config, state: Any) -> Any:
    """Whether the stopping rule of a run ends an agent in this state, as a () bool."""
    if not config.until_solved or config.solved_return is None:
        return jnp.bool_(False)
    solved = recent_return(state) > config.solved_return
    return solved & (state.num_episodes >= RECENT)
