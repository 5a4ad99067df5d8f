"""Where episodes begin that follow others: three ways to have a start for each.

`with_fresh_ones` and `with_spares` draw every start independently. `with_spares` draws
few, and asks at every step whether any is needed, which costs a CPU next to nothing.
`with_fresh_ones` asks nothing, and draws one for each environment and step: a question
stops a GPU, where the host has to hear the answer, and numbers cost it next to nothing.
`with_pool` draws a given number of starts, which episodes share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.control_flow import any_agent
from pgjax._internal.stepping import EnvsState, Rows, as_mask_of, restart
from pgjax.types import Array, Env, Key, Obs

# Steps, and bytes, at most, for which fresh starts are drawn at once.
AT_ONCE, BYTES_AT_ONCE = 32, 2**29

Act = Callable[[EnvsState, Any], tuple[EnvsState, Rows]]  # a step, before any reset
Played = tuple[EnvsState, Rows]  # where the environments are, and rows of (T, N, ...)
Scan = Callable[[Env, Act, EnvsState, Any, Key], Played]


class Spares(NamedTuple):
    """A start in store for each environment, for when its episode ends."""

    obs: Obs  # (N, ...)
    env_state: Any  # leaves (N, ...)
    spent: Array  # (N,) bool: it has been used


def with_spares(env: Env, act: Act, envs: EnvsState, inputs: Any, keys: Key) -> Played:
    """Steps of all environments; starts are drawn for all spent spares, if need be.

    Args:
      env: N environments.
      act: maps (envs, input) to where the environments went, and the rows of this step.
      envs: where they are.
      inputs: of each step, leaves (T, ...).
      keys: (T,) for starts.
    """

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Rows]:
        envs, spares = carry
        given, key = inputs
        envs, rows = act(envs, given)
        done = rows[1].finished
        spares = _restocked(env, key, done, spares)
        envs = restart(done, spares[:2], envs)
        return (envs, spares._replace(spent=spares.spent | done)), rows

    none = Spares(envs.obs, envs.env_state, jnp.ones_like(envs.episode_length, bool))
    (envs, _), rows = jax.lax.scan(step, (envs, none), (inputs, keys))
    return envs, rows


def _restocked(env: Env, key: Key, done: Array, spares: Spares) -> Spares:
    """The spares, drawn anew where they are spent, if any of those is needed now."""
    needed = jnp.any(done & spares.spent)

    def draw(spares: Spares) -> Spares:
        drawn = spares.spent & needed  # by this agent, not just another of a `vmap`
        obs, env_state = jax.tree.map(
            lambda new, old: jnp.where(as_mask_of(old, drawn), new, old),
            env.reset(key, len(done)),
            spares[:2],
        )
        return Spares(obs, env_state, spares.spent & ~drawn)

    return jax.lax.cond(any_agent(needed), draw, lambda spares: spares, spares)


def with_fresh_ones(
    env: Env, act: Act, envs: EnvsState, inputs: Any, keys: Key
) -> Played:
    """The same; a start is drawn for each environment and step, some steps at a time.

    The arguments are those of `with_spares`.
    """
    num_steps, num_envs = len(keys), len(envs.episode_length)
    fitting = BYTES_AT_ONCE // max(1, bytes_of_starts(env, num_envs))
    size = _largest_divisor(num_steps, max(1, min(AT_ONCE, fitting)))

    def step(envs: EnvsState, inputs: tuple) -> tuple[EnvsState, Rows]:
        given, fresh = inputs
        envs, rows = act(envs, given)
        return restart(rows[1].finished, fresh, envs), rows

    def segment(envs: EnvsState, inputs: tuple) -> tuple[EnvsState, Rows]:
        given, keys = inputs
        fresh = jax.vmap(lambda key: env.reset(key, num_envs))(keys)
        return jax.lax.scan(step, envs, (given, fresh))

    def split(x: Array) -> Array:
        return x.reshape(-1, size, *x.shape[1:])

    envs, rows = jax.lax.scan(segment, envs, jax.tree.map(split, (inputs, keys)))
    return envs, jax.tree.map(lambda x: x.reshape(num_steps, *x.shape[2:]), rows)


def with_pool(
    env: Env, act: Act, envs: EnvsState, inputs: Any, keys: Key, *, size: int
) -> Played:
    """The same; so many starts are drawn, once, and episodes share them.

    An environment takes one after the other, from a place of its own. Which one it
    takes depends on nothing but how many it has taken, and it takes none twice: what it
    lives through is as likely as with starts of its own, and no expectation over
    environments changes. Two environments may take the same one, which correlates them.

    Args:
      env: N environments.
      act: as for `with_spares`.
      envs: likewise.
      inputs: likewise.
      keys: (T,); the first one is used.
      size: starts in the pool, >= T.
    """
    pool = env.reset(keys[0], size)
    num_envs = len(envs.episode_length)
    # In NumPy's integers, which hold N x size.
    places = jnp.asarray(np.arange(num_envs) * size // num_envs, jnp.int32)

    def step(carry: tuple, inputs: Any) -> tuple[tuple, Rows]:
        envs, taken = carry
        envs, rows = act(envs, inputs)
        done = rows[1].finished
        fresh = jax.tree.map(lambda x: x[(places + taken) % size], pool)
        return (restart(done, fresh, envs), taken + done.astype(jnp.int32)), rows

    carry = envs, jnp.zeros_like(envs.episode_length)
    (envs, _), rows = jax.lax.scan(step, carry, inputs)
    return envs, rows


def bytes_of_starts(env: Env, num_envs: int) -> int:
    """What so many start states take; nothing is computed."""
    starts = jax.eval_shape(lambda key: env.reset(key, num_envs), jax.random.key(0))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(starts))


def _largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not more than `most`."""
    return max(x for x in range(1, min(most, number) + 1) if number % x == 0)
