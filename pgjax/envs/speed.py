"""How fast an environment is."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from pgjax.envs.trial import random_actions
from pgjax.types import Array, Env, Key


def steps_per_second(env: Env, num_envs: int, *, num_steps: int = 200) -> float:
    """How many steps a second it takes with random actions, compiled, here and now."""

    @jax.jit
    def run(key: Key, state: Any) -> Any:
        def step(state: Any, key: Key) -> tuple[Any, Array]:
            action = random_actions(env.action_space, key, num_envs)
            _, state, reward, *_ = env.step(key, state, action)
            return state, reward.sum()

        return jax.lax.scan(step, state, jax.random.split(key, num_steps))

    key = jax.random.key(0)
    _, state = jax.jit(lambda key: env.reset(key, num_envs))(key)
    jax.block_until_ready(run(key, state))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(run(key, state))
        times.append(time.perf_counter() - start)
    return num_envs * num_steps / float(np.median(times))
