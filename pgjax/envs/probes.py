"""Single resets and steps of an environment, beside others that must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.stepping import as_mask_of
from pgjax._internal.user_parts import named
from pgjax.envs.trial import random_actions
from pgjax.types import Box, Env, Key

_FAR = 1e3  # half-widths beyond a bound


def of_resets(env: Env, reset: Any, key: Key, num_envs: int) -> Iterator[str]:
    """What is wrong with how it uses a key in `reset`, jitted for `num_envs`."""
    again, twice = _traced_again(lambda key: env.reset(key, num_envs), key)
    if twice:
        yield f"env.reset {twice}"
    elif not _equal(reset(key), again):
        yield (
            "env.reset gives something else for the same key when it is traced again: "
            "NumPy's or Python's random numbers are drawn once for a whole program; "
            "draw with jax.random, from the key"
        )
        return
    starts = [reset(key) for key in jax.random.split(key, 8)]
    if shared := _shared(starts):
        yield (
            f"env.reset draws one {shared} for all environments: one key is used for "
            "all; split it, jax.random.split(key, num_envs), or draw arrays of "
            "num_envs numbers"
        )


def of_steps(env: Env, reset: Any, key: Key, num_envs: int) -> Iterator[str]:
    """What is wrong with how steps depend on keys, actions and each other."""
    keys = jax.random.split(key, 8)
    step = jax.jit(env.step)
    _, state = reset(keys[0])
    actions = [random_actions(env.action_space, k, num_envs) for k in keys[1:3]]
    after = step(keys[3], state, actions[0])
    again, twice = _traced_again(
        lambda *given: env.step(*given), keys[3], state, actions[0]
    )
    if twice:
        yield f"env.step {twice}"
    elif not _equal(after, again):
        yield (
            "env.step gives something else for the same key, state and action when it "
            "is traced again; draw with jax.random, from the key"
        )
        return
    # The last half of the environments does something else, and is somewhere else.
    half = jnp.arange(num_envs) >= num_envs // 2
    others = jax.tree.map(lambda x: jnp.where(as_mask_of(x, half), x[::-1], x), state)
    mixed = jnp.where(as_mask_of(actions[0], half), actions[1], actions[0])
    changed = step(keys[3], others, mixed)
    size = num_envs // 2
    if not _equal(*(jax.tree.map(lambda x: x[:size], x) for x in (after, changed))):
        yield (
            "environments influence each other: what one does changes what env.step "
            "returns for others; let each depend on its own state and action only"
        )
    # All in one state, with one action.
    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), (state, actions[0]))
    outcomes = [step(key, *one) for key in keys]
    if shared := _shared(outcomes):
        yield (
            f"env.step draws one {shared} for all environments: one key is used for "
            "all; split it, jax.random.split(key, len(action)), or draw arrays of "
            "len(action) numbers"
        )
    if isinstance(env.action_space, Box):
        yield from _outside(env, keys[3], state, num_envs)


def _outside(env: Env, key: Key, state: Any, num_envs: int) -> Iterator[str]:
    """Actions beyond the bounds, which a Gaussian policy samples."""
    space: Any = env.action_space
    shape = (num_envs, *space.shape)
    low, high = (
        np.broadcast_to(np.asarray(x), space.shape) for x in (space.low, space.high)
    )
    bounded = np.maximum(np.abs(low), np.abs(high)) < 1e30
    if not bounded.all():
        return
    width = np.maximum(high - low, 1.0)
    signs = np.where(np.arange(num_envs) % 2, 1.0, -1.0)
    signs = signs.reshape(-1, *(1,) * len(space.shape))
    far = jnp.asarray(
        np.where(signs > 0, high, low) + signs * _FAR * width, jnp.float32
    )
    step = jax.jit(env.step)
    beyond = step(key, state, far.reshape(shape))
    within = step(key, state, jnp.clip(far, low, high).astype(jnp.float32))
    if not _equal(beyond, within, tolerance=1e-4):
        yield (
            "an action outside env.action_space gives something else than the nearest "
            "one inside, and policies sample such; begin env.step with "
            "action = jnp.clip(action, low, high)"
        )


def _traced_again(fn: Callable, key: Key, *others: Any) -> tuple[Any, str | None]:
    """What a function gives in another program, unless it uses a key twice."""
    key = jax.random.wrap_key_data(jax.random.key_data(key))  # that nobody has used
    try:
        with jax.debug_key_reuse(True):
            return jax.jit(fn)(key, *others), None
    except jax.errors.KeyReuseError:
        return None, (
            "draws from one key twice: the numbers depend on each other; split it, "
            "jax.random.split(key), and use each part once"
        )


def _equal(one: Any, other: Any, *, tolerance: float = 1e-6) -> bool:
    """Whether two results are the same, but for rounding; NaN equals itself."""

    def same(x: Any, y: Any) -> bool:
        if jax.dtypes.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        return np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)

    return all(jax.tree.leaves(jax.tree.map(same, one, other)))


def _shared(results: list[Any]) -> str | None:
    """What is the same in all environments, and another for another key, if anything.

    Args:
      results: for some keys, of what else is the same in all environments.
    """
    names = "obs", "state", "reward", "terminated", "truncated"
    for i, part in enumerate(results[0]):
        for j, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(part)):
            leaves = [jax.tree.leaves(result[i])[j] for result in results]
            differ = any(not _equal(leaves[0], x) for x in leaves[1:])
            if differ and all(_equal(x, jnp.roll(x, 1, axis=0)) for x in leaves):
                return named(names[i], path)
    return None
