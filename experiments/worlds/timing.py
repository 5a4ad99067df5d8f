"""What an adapter costs: steps per second beside the suite's own loop, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import pgjax as pg
from experiments.worlds.checks import random_actions
from experiments.worlds.suites import Own, like, strong

STEPS = 32  # in a call of a loop
ROUNDS, SECONDS = 9, 0.3  # of each loop, and how long a round should take
UNROLL = 32  # steps of each environment in an update of PPO


def speeds(
    env: pg.Env, own: Own | None, *, num_envs: int, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Median steps per second: the suite's own, through the adapter, and with PPO.

    Both loops are jitted scans over vmapped steps with the same random actions and no
    resets; they are measured in turns, and the overhead is the median over rounds of
    the quotient of their times, less one.
    """
    loops = {"adapter": _loop(_of_adapter(env, num_envs), env, num_envs)}
    if own is not None:
        loops["own"] = _loop(_of_suite(own, num_envs), env, num_envs)
    times = _in_turns(loops, rounds)
    steps = num_envs * STEPS
    found = {f"{x}_steps_per_s": steps / statistics.median(times[x]) for x in loops}
    if own is not None:
        ratios = [a / b for a, b in zip(times["adapter"], times["own"], strict=True)]
        found["overhead"] = statistics.median(ratios) - 1.0
    found["ppo_steps_per_s"] = _ppo(env, num_envs, rounds)
    return found


def _of_adapter(env: pg.Env, num_envs: int) -> tuple[Callable, Callable]:
    def step(state: Any, key: Any, action: Any) -> tuple:
        obs, state, reward, terminated, truncated = env.step(key, state, action)
        return state, (obs, reward, terminated, truncated)

    return lambda key: env.reset(key, num_envs)[1], step


def _of_suite(own: Own, num_envs: int) -> tuple[Callable, Callable]:
    def reset(key: Any) -> Any:
        state = jax.vmap(own.reset)(jax.random.split(key, num_envs))[1]
        return jax.tree.map(strong, state)

    def step(state: Any, key: Any, action: Any) -> tuple:
        keys = jax.random.split(key, num_envs)
        obs, after, reward, done = jax.vmap(own.step)(keys, state, action)
        after = jax.tree.map(like, state, after)
        return after, (obs, reward, done)

    return reset, step


def _loop(parts: tuple[Callable, Callable], env: pg.Env, num_envs: int) -> Callable:
    """A function that takes another `STEPS` steps, compiled and begun."""
    reset, step = parts

    @partial(jax.jit, donate_argnums=0)
    def run(state: Any, key: Any) -> tuple:
        keys = jax.random.split(key, STEPS + 1)
        actions = random_actions(env.action_space, keys[-1], (STEPS, num_envs))

        def one(carry: tuple, inputs: tuple) -> tuple:
            state, sums = carry
            state, seen = step(state, *inputs)
            # All that a step gives is used, or the compiler would leave it out.
            return (state, sums + sum(map(_total, jax.tree.leaves(seen)))), None

        start = state, jnp.float32(0.0)
        (state, sums), _ = jax.lax.scan(one, start, (keys[:-1], actions))
        return state, sums

    key = jax.random.key(0)
    state, sums = run(jax.jit(reset)(key), key)
    jax.block_until_ready(sums)

    def again() -> None:
        nonlocal state
        state, sums = run(state, key)
        jax.block_until_ready(sums)

    return again


def _total(x: Any) -> Any:
    return jnp.sum(x, dtype=jnp.float32)


def _in_turns(loops: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each loop, in each round."""
    repeats = {}
    for name, loop in loops.items():
        repeats[name] = max(1, round(SECONDS / min(_seconds(loop, 1) for _ in "12")))
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(rounds):
        order = sorted(loops, reverse=bool(turn % 2))
        for name in order:
            times[name].append(_seconds(loops[name], repeats[name]))
    return times


def _seconds(call: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _ppo(env: pg.Env, num_envs: int, rounds: int) -> float:
    """Environment steps per second of PPO, 64-64, 4 epochs of 4 minibatches."""
    algorithm = pg.ppo(pg.actor_critic(env, (64, 64)), optax.adam(3e-4))
    rollout = pg.unroll(env, num_envs, UNROLL)
    key = jax.random.key(0)
    state = jax.jit(lambda key: pg.init_train_state(key, rollout, algorithm))(key)

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any) -> Any:
        return pg.train_step(state, rollout, algorithm)

    state, _ = jax.block_until_ready(update(state))

    def again() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(update(state))

    times = _in_turns({"ppo": again}, max(3, rounds // 3))["ppo"]
    return num_envs * UNROLL / statistics.median(times)
