"""The contract of environments on the host, and how fast they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from pgjax._internal.contract import check_host_env
from pgjax._internal.host_envs import HostEnvError, HostEnvs
from pgjax.envs.trial import of_leaves, out_of_space
from pgjax.types import Discrete, HostEnv

REPEATED = 50  # steps that are played twice
ENOUGH = 10_000  # steps of each environment, at most


def check_host(env: HostEnv, num_envs: int, seconds: float) -> list[str]:
    """What an environment does against what `pg.HostEnv` says, a line for each mistake.

    It is played twice with the same seeds and actions, and then on with random ones,
    until an episode of each has ended or the time is over.

    Args:
      env: to be checked.
      num_envs: N, side by side.
      seconds: of stepping, at most.
    """
    try:
        check_host_env(env)
        with contextlib.closing(HostEnvs(env, num_envs)) as envs:
            first, again = (_played(env, envs, REPEATED) for _ in range(2))
            found = [*_differences(first, again)]
            return found + [*_of_trial(env, envs, num_envs, seconds)]
    except (HostEnvError, TypeError, ValueError) as error:
        return [str(error)]


def steps_per_second_on_host(
    env: HostEnv, num_envs: int, *, seconds: float = 1.0
) -> float:
    """How many steps a second it takes with random actions, here and now."""
    everyone, rng = np.ones(num_envs, bool), np.random.default_rng(0)
    with contextlib.closing(HostEnvs(env, num_envs)) as envs:
        envs.start(_seeds(num_envs))
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            envs.restart(envs.step(_actions(env, rng, num_envs), everyone).done)
            steps += num_envs
        return steps / (time.perf_counter() - start)


def _seeds(num_envs: int) -> np.ndarray:
    return np.arange(num_envs, dtype=np.uint32) + 1


def _played(env: HostEnv, envs: HostEnvs, num_steps: int) -> list[Any]:
    """What the same seeds and actions lead to, restarts included."""
    rng, size = np.random.default_rng(0), envs.num_envs
    envs.start(_seeds(size))
    rows: list[Any] = [envs.obs]
    for _ in range(num_steps):
        happened = envs.step(_actions(env, rng, size), np.ones(size, bool))
        envs.restart(happened.done)
        rows += [(happened, envs.obs)]
    return rows


def _differences(first: list[Any], again: list[Any]) -> Iterator[str]:
    for step, (one, other) in enumerate(zip(first, again, strict=True)):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        if not all(np.array_equal(x, y, equal_nan=True) for x, y in pairs):
            where = f"at step {step}" if step else "where they begin"
            yield (
                f"the same seeds and actions give something else {where}: a run could "
                "not be made again; draw from the seed that start, or Gymnasium's "
                "reset(seed=...), is given"
            )
            return


def _of_trial(
    env: HostEnv, envs: HostEnvs, num_envs: int, seconds: float
) -> Iterator[str]:
    """What is wrong with observations, rewards and ends."""
    rng, alive = np.random.default_rng(1), np.ones(num_envs, bool)
    envs.start(_seeds(num_envs))
    lowest = highest = envs.obs
    finite, steps, start = True, 0, time.perf_counter()
    while alive.any() and steps < ENOUGH and time.perf_counter() - start < seconds:
        happened = envs.step(_actions(env, rng, num_envs), alive)
        lowest = jax.tree.map(np.minimum, lowest, happened.next_obs)
        highest = jax.tree.map(np.maximum, highest, happened.next_obs)
        finite &= bool(np.isfinite(happened.reward).all())
        alive, steps = alive & ~happened.done, steps + 1
    lowest = jax.tree.map(lambda x: x.min(axis=0), lowest)  # NaN, if there was one
    highest = jax.tree.map(lambda x: x.max(axis=0), highest)
    fine = jax.tree.map(
        lambda x, y: bool(np.isfinite(x).all() and np.isfinite(y).all()),
        lowest,
        highest,
    )
    for leaf in of_leaves(env.observation_space, fine, lowest, highest):
        name, (leaf_fine, *_) = leaf[0], leaf[3]
        if not leaf_fine:
            yield f"{name} is not finite: NaN or infinity spoils what learns from it"
        yield from out_of_space(*leaf)
    if not finite:
        yield "a reward is not finite: NaN or infinity spoils what learns from it"
    if alive.all() and steps >= ENOUGH:
        yield (
            f"no episode ended in {steps:,} steps, and env.max_steps, "
            f"{env.max_steps:,}, is far; give it a time_limit that means something"
        )


def _actions(env: HostEnv, rng: np.random.Generator, num_envs: int) -> np.ndarray:
    """(N, ...) actions, uniform; normal where a space is not bounded."""
    space = env.action_space
    if isinstance(space, Discrete):
        return rng.integers(space.n, size=num_envs, dtype=np.int32)
    shape = num_envs, *space.shape
    low, high = (np.asarray(x, np.float32) for x in (space.low, space.high))
    bounded = np.maximum(np.abs(low), np.abs(high)) < 1e30
    low, high = np.where(bounded, low, 0), np.where(bounded, high, 0)
    uniform = low + (high - low) * rng.random(shape, np.float32)
    normal = rng.standard_normal(shape, np.float32)
    return np.where(bounded, uniform, normal).astype(np.float32)
