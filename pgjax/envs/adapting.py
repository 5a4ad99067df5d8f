"""What the adapters of environment suites share: one environment in, N of them out.

An adapter says how one environment of its suite is reset and stepped, without any
reset of its own; `batched` makes an `Env` of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_count, check_flags
from pgjax._internal.names import unknown_name
from pgjax.types import Array, Box, Env, Key, Obs, Space

# A limit that never comes, for suites that say done at their own.
NO_LIMIT = 2**31 - 1

Reset = Callable[[Key], tuple[Any, Any]]  # key -> obs, state
Step = Callable[[Key, Any, Array], tuple[Any, Any, Array, Array, Array]]


def batched(
    name: str,
    reset: Reset,
    step: Step,
    action_space: Space,
    max_steps: int,
    *,
    flat: bool = True,
    observation_space: Any = None,
) -> Env:
    """N environments of a suite behind one `Env`.

    The steps of an episode are counted here, so that the last one within `max_steps`
    is truncated whatever the suite says, unless it is terminal. Continuous actions are
    clipped to the action space, rewards become float32, and all leaves of observations
    and states keep the type that they were reset with.

    Args:
      name: of the environment, as the user wrote it.
      reset: of one environment, maps a key to (obs, state).
      step: of one environment, maps (key, state, action) to (obs, state, reward,
        terminated, truncated), scalars the last three.
      action_space: of one environment.
      max_steps: the time limit.
      flat: whether observations become one float32 array; otherwise they are the tree
        that the suite gives, of the types that it gives: see `as_array`, `as_given`.
      observation_space: of these; by default unbounded, but for flags.

    Raises:
      TypeError: if `flat` is neither True nor False.
    """
    check_flags(flat=flat)
    seen = as_array if flat else as_given

    def start(key: Key) -> tuple[Obs, Any]:
        obs, state = reset(key)
        return seen(obs), (jnp.int32(0), jax.tree.map(_strong, state))

    with _as_suites_expect():
        first, _ = jax.eval_shape(start, jax.eval_shape(jax.random.key, 0))

    def act(key: Key, state: Any, action: Array) -> tuple:
        count, inner = state
        given = jax.tree.map(lambda x: x, inner)  # some suites change dicts in place
        obs, after, reward, terminated, truncated = step(key, given, action)
        after = jax.tree.map(lambda x, old: _like(old, x), after, inner)
        count, terminated = count + 1, jnp.asarray(terminated, bool)
        truncated = jnp.asarray(truncated, bool) | ((count >= max_steps) & ~terminated)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        obs = jax.tree.map(_like, first, seen(obs))
        return obs, (count, after), reward, terminated, truncated

    def reset_all(key: Key, num_envs: int) -> tuple[Obs, Any]:
        with _as_suites_expect():
            return jax.vmap(start)(jax.random.split(key, num_envs))

    def step_all(
        key: Key, state: Any, action: Array
    ) -> tuple[Obs, Any, Array, Array, Array]:
        keys = jax.random.split(key, action.shape[0])
        if isinstance(action_space, Box):
            low = jnp.broadcast_to(action_space.low, action.shape)
            high = jnp.broadcast_to(action_space.high, action.shape)
            action = jnp.clip(action, low, high)
        with _as_suites_expect():
            return jax.vmap(act)(keys, state, action)

    if observation_space is None:
        observation_space = jax.tree.map(_space_of, first)
    return Env(name, reset_all, step_all, observation_space, action_space, max_steps)


def check_one_limit(name: str, time_limit: int, options: Mapping[str, Any]) -> None:
    """Raises ValueError if a simulator's own option sets the time limit as well."""
    if "max_episode_steps" in options:
        raise ValueError(
            f"{name} is given time_limit={time_limit} and max_episode_steps="
            f"{options['max_episode_steps']!r}, which are the same thing: leave one out"
        )


def box_of(space: Any) -> tuple[np.dtype, np.ndarray, np.ndarray]:
    """The type of the observations of a simulator's box, and its bounds in that type.

    Bytes, flags and integers stay that; floats become float32. Integers of 64 bits
    become those of 32, or floats where the bounds are beyond these.
    """
    dtype = np.dtype(space.dtype)
    narrow: Any = {"int64": np.int32, "uint64": np.uint32}.get(dtype.name, dtype)
    if dtype.kind not in "biu":
        narrow = np.float32
    elif dtype.kind in "iu" and np.size(space.low):
        most = np.iinfo(narrow)
        if np.min(space.low) < most.min or np.max(space.high) > most.max:
            narrow = np.float32
    low, high = (np.asarray(x, narrow) for x in (space.low, space.high))
    return np.dtype(narrow), low, high


def as_array(obs: Any) -> Array:
    """One environment's observation as one float32 array.

    An array keeps its shape, so that (height, width, channels) stays an image. Anything
    else, such as a dict, becomes a vector: all leaves in the order of
    `jax.tree.leaves`, flattened, flags as 0 and 1.
    """
    leaves = jax.tree.leaves(obs)
    if len(leaves) == 1:
        return jnp.asarray(leaves[0], jnp.float32)
    return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in leaves])


def as_given(obs: Any) -> Obs:
    """One environment's observation as it is, but for weak types.

    Images of bytes stay bytes, masks stay boolean, and what is a NamedTuple, a dict or
    a dataclass stays that.
    """
    return jax.tree.map(_strong, obs)


def _space_of(leaf: Any) -> Box:
    """Of a leaf of which only its shape and its type are known."""
    low, high = (0.0, 1.0) if leaf.dtype == bool else (-jnp.inf, jnp.inf)
    return Box(low, high, leaf.shape)


def limit_of(time_limit: int | None, own: int) -> int:
    """The user's time limit, or else the environment's own.

    Raises:
      TypeError: for what is no integer.
      ValueError: for a number below 1, or beyond int32.
    """
    if time_limit is None:
        return as_count("the environment's own time limit", int(own))
    return as_count("time_limit", time_limit)


def check_name(suite: str, name: str, known: Sequence[str]) -> None:
    """Raises ValueError, with the nearest names, unless the suite has this one."""
    if name not in known:
        told, prefix = "unknown environment", f"{suite}:"
        raise ValueError(unknown_name(told, name, known, prefix=prefix))


@contextlib.contextmanager
def _as_suites_expect() -> Iterator[None]:
    """JAX's defaults, for code that was written under them, whatever the user set."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _strong(x: Any) -> Array:
    """The array without a weak type, which would change under the first step."""
    x = jnp.asarray(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


def _like(old: Array, new: Any) -> Array:
    """The new value of a leaf in the type, and the shape, of the old one."""
    new = jnp.asarray(new)
    if new.dtype == old.dtype:
        return _strong(new)
    return new.astype(old.dtype)
