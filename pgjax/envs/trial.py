"""A trial of an environment: first episodes, played with random actions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.spaces import beside_spaces, named_spaces
from pgjax._internal.stepping import as_mask_of
from pgjax.types import Array, Discrete, Env, Key, Obs, Space

CHUNK = 50  # steps between two looks at the clock
HORIZON = 10_000  # steps, at most
ENOUGH = 1000  # steps, in which an episode of a task usually ends
STARTS = 512  # whose range says what a start looks like


class Trial(NamedTuple):
    """What was seen of N episodes, until each ended or the trial did."""

    time: Array  # () int32 steps
    obs: Obs  # (N, ...)
    state: Any  # leaves (N, ...)
    alive: Array  # (N,) bool: it has not ended
    length: Array  # (N,) int32 steps
    terminated: Array  # (N,) bool: how it ended
    truncated: Array  # (N,) bool
    lowest: Obs  # (...) of all observations
    highest: Obs  # (...)
    obs_finite: Obs  # () bool, for each leaf: all observations were
    reward_finite: Array  # () bool
    state_is_number: Array  # () bool: no NaN in it
    like_start: Array  # (2,) int32 how many steps led to what may be a start: while an
    steps: Array  # (2,) int32 episode went on, and where one ended; of so many


def random_actions(space: Space, key: Key, num_envs: int) -> Array:
    """(N, ...) actions, uniform; normal where a space is not bounded."""
    if isinstance(space, Discrete):
        return jax.random.randint(key, (num_envs,), 0, space.n)
    shape = num_envs, *space.shape
    low, high = (jnp.asarray(x, jnp.float32) for x in (space.low, space.high))
    bounded = jnp.maximum(jnp.abs(low), jnp.abs(high)) < 1e30
    low, high = jnp.where(bounded, low, 0.0), jnp.where(bounded, high, 0.0)
    axes = (1,) * (len(shape) - low.ndim) + low.shape
    uniform = low.reshape(axes) + (high - low).reshape(axes) * jax.random.uniform(
        key, shape
    )
    return jnp.where(bounded, uniform, jax.random.normal(key, shape))


def play(env: Env, key: Key, num_envs: int, *, seconds: float) -> Trial:
    """Plays until all episodes have ended, or twice the time limit is over.

    Args:
      env: whose shapes and types are right.
      key: for all that is random.
      num_envs: N.
      seconds: after which it ends, too; compiling does not count.
    """
    first, start_key, key = jax.random.split(key, 3)
    lowest, highest = jax.jit(partial(_range_of_starts, env))(start_key)
    trial = jax.jit(partial(_begin, env, num_envs))(first)
    steps = jax.jit(partial(_steps, env, lowest, highest))
    trial = steps(key, trial)
    start, most = time.perf_counter(), min(2 * env.max_steps, HORIZON)
    while trial.alive.any() and trial.time < most:
        trial = steps(key, trial)
        if time.perf_counter() - start > seconds:
            break
    return trial


def _begin(env: Env, num_envs: int, key: Key) -> Trial:
    obs, state = env.reset(key, num_envs)
    no, zeros = jnp.zeros(num_envs, bool), jnp.zeros(num_envs, jnp.int32)
    return Trial(
        time=jnp.int32(0),
        obs=obs,
        state=state,
        alive=~no,
        length=zeros,
        terminated=no,
        truncated=no,
        lowest=jax.tree.map(lambda x: x.min(0), obs),
        highest=jax.tree.map(lambda x: x.max(0), obs),
        obs_finite=jax.tree.map(lambda x: jnp.isfinite(x).all(), obs),
        reward_finite=jnp.bool_(True),
        state_is_number=_no_nan(state, ~no),
        like_start=jnp.zeros(2, jnp.int32),
        steps=jnp.zeros(2, jnp.int32),
    )


def _range_of_starts(env: Env, key: Key) -> tuple[list[Array], list[Array]]:
    starts = _numbers(env.reset(key, STARTS))
    return [x.min(0) for x in starts], [x.max(0) for x in starts]


def _steps(
    env: Env, lowest: list[Array], highest: list[Array], key: Key, trial: Trial
) -> Trial:
    def step(trial: Trial, _: None) -> tuple[Trial, None]:
        now = jax.random.fold_in(key, trial.time)
        action_key, env_key = jax.random.split(now)
        alive, num_envs = trial.alive, len(trial.alive)
        action = random_actions(env.action_space, action_key, num_envs)
        obs, state, reward, terminated, truncated = env.step(
            env_key, trial.state, action
        )
        done = terminated | truncated
        inside = jnp.ones(num_envs, bool)
        numbers = _numbers((obs, state))
        for x, low, high in zip(numbers, lowest, highest, strict=True):
            within = (x >= low) & (x <= high)
            inside &= within.reshape(num_envs, -1).all(-1)
        kinds = jnp.stack([alive & ~done, alive & done])
        trial = Trial(
            time=trial.time + 1,
            obs=obs,
            state=state,
            alive=alive & ~done,
            length=trial.length + alive.astype(trial.length.dtype),
            terminated=jnp.where(alive, terminated, trial.terminated),
            truncated=jnp.where(alive, truncated, trial.truncated),
            lowest=jax.tree.map(partial(_lowest, alive), trial.lowest, obs),
            highest=jax.tree.map(partial(_highest, alive), trial.highest, obs),
            obs_finite=jax.tree.map(partial(_finite, alive), trial.obs_finite, obs),
            reward_finite=trial.reward_finite
            & jnp.where(alive, jnp.isfinite(reward), True).all(),
            state_is_number=trial.state_is_number & _no_nan(state, alive),
            like_start=trial.like_start + (kinds & inside).sum(-1, dtype=jnp.int32),
            steps=trial.steps + kinds.sum(-1, dtype=jnp.int32),
        )
        return trial, None

    return jax.lax.scan(step, trial, length=CHUNK)[0]


def _lowest(alive: Array, before: Array, x: Array) -> Array:
    """(...) the least so far, and of (N, ...) numbers of living environments."""
    return jnp.minimum(before, jnp.where(as_mask_of(x, alive), x, before).min(0))


def _highest(alive: Array, before: Array, x: Array) -> Array:
    """Likewise, the greatest."""
    return jnp.maximum(before, jnp.where(as_mask_of(x, alive), x, before).max(0))


def _finite(alive: Array, before: Array, x: Array) -> Array:
    """() bool: whether they were so far, and are."""
    return before & jnp.where(as_mask_of(x, alive), jnp.isfinite(x), True).all()


def _no_nan(state: Any, alive: Array) -> Array:
    """Whether no number in the states of living environments is NaN."""
    floats = [x for x in _numbers(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    fine = [(~jnp.isnan(x) | ~as_mask_of(x, alive)).all() for x in floats]
    return jnp.stack(fine).all() if fine else jnp.bool_(True)


def _numbers(tree: Any) -> list[Array]:
    """Its leaves that are numbers, not keys."""
    leaves = (jnp.asarray(x) for x in jax.tree.leaves(tree))
    return [
        x for x in leaves if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    ]


def of_trial(env: Env, trial: Trial) -> Iterator[str]:
    """What is wrong with what was seen."""
    space, steps = env.observation_space, int(trial.time)
    leaves = of_leaves(space, trial.obs_finite, trial.lowest, trial.highest)
    for what, fine in (
        *((f"{name} that is not finite", fine) for name, _, _, (fine, *_) in leaves),
        ("a reward that is not finite", trial.reward_finite),
        ("a state with NaN in it", trial.state_is_number),
    ):
        if not fine:
            yield (
                f"env.step returned {what} within {steps} steps of random actions; "
                "bound what it computes, or end the episode before"
            )
    for leaf in leaves:
        yield from out_of_space(*leaf)
    (going, ended), (num_going, num_ended) = trial.like_start, trial.steps
    if ended == num_ended >= 8 and num_going >= 8 and going < num_going / 2:
        yield (
            "where an episode ends, env.step returns what a reset does: it resets by "
            "itself; return what the action led to, and leave resets to the rollout"
        )
    lengths = np.asarray(trial.length)[np.asarray(trial.truncated & ~trial.terminated)]
    late = lengths[lengths > env.max_steps]
    if len(late) and (late == late[0]).all() and (lengths >= late[0]).all():
        yield (
            f"its own time limit, {late[0]} steps, is beyond env.max_steps, "
            f"{env.max_steps}, where rollouts cut it; make both the same number"
        )
    if bool(trial.alive.all()) and env.max_steps > HORIZON and steps >= ENOUGH:
        yield (
            f"no episode ended in {steps:,} steps, and env.max_steps, "
            f"{env.max_steps:,}, is far: complete episodes and evaluations go on until "
            "then; give it a max_steps that means something"
        )


def of_leaves(
    space: Any, finite: Obs, lowest: Obs, highest: Obs
) -> list[tuple[str, str, Any, tuple]]:
    """Each leaf's name, and its space's; the space, and what was seen of it.

    Args:
      space: of observations, a tree of spaces.
      finite: whether they were, for each leaf.
      lowest: of them all, elementwise.
      highest: likewise.
    """
    seen = finite, lowest, highest
    parts = zip(*(beside_spaces(space, tree) for tree in seen), strict=True)
    names = [f"an obs{name}" for name, _ in named_spaces("", space)]
    if names == ["an obs"]:
        names = ["an observation"]
    spaces = named_spaces("env.observation_space", space)
    found = zip(names, spaces, parts, strict=True)
    return [(name, of, leaf, part) for name, (of, leaf), part in found]


def out_of_space(name: str, of: str, space: Space, seen: tuple) -> Iterator[str]:
    """Where finite observations of a leaf were outside its space."""
    fine, lowest, highest = seen
    if not fine:
        return
    if isinstance(space, Discrete):
        low, high = np.zeros(()), np.asarray(space.n - 1.0)
    else:
        low, high = (
            np.broadcast_to(np.asarray(x, np.float64), space.shape)
            for x in (space.low, space.high)
        )
    lowest, highest = (np.asarray(x).astype(np.float64) for x in (lowest, highest))
    slack = 1e-5 * np.maximum(1.0, np.maximum(np.abs(lowest), np.abs(highest)))
    for what, found, beyond in (
        ("low", lowest, low - lowest - slack),
        ("high", highest, highest - high - slack),
    ):
        if (beyond > 0).any():
            at = np.unravel_index(np.argmax(beyond), beyond.shape)
            bound = (low if what == "low" else high)[at]
            where = f" at {list(map(int, at))}" if at else ""
            yield (
                f"{name} of {found[at]:g}{where} is outside "
                f"{of}, whose {what} is {bound:g} there; give it the "
                "bounds that observations have, or -np.inf and np.inf"
            )
