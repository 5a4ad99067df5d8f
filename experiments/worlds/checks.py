"""Is an adapter right? Its trajectories beside those of the suite's own environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import pgjax as pg
from experiments.worlds.suites import Own, like, strong
from pgjax._internal.contract import check_env
from pgjax.envs.adapting import as_array

NUM_ENVS, LIMIT, STEPS = 4, 40, 50  # the limit is reached, and passed
TOLERANCE = 1e-4  # relative; of physics, which two programs may round differently


class Trajectory(NamedTuple):
    """An adapter's and a suite's environments, side by side; leaves (T, N, ...)."""

    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    own_obs: Any
    own_reward: Any
    own_done: Any


def random_actions(space: pg.Discrete | pg.Box, key: Any, shape: tuple) -> Any:
    """Actions within a space, all as likely."""
    if isinstance(space, pg.Discrete):
        return jax.random.randint(key, shape, 0, space.n)
    low, high = (np.clip(x, -10.0, 10.0) for x in (space.low, space.high))
    return jax.random.uniform(key, (*shape, *space.shape), minval=low, maxval=high)


def side_by_side(env: pg.Env, own: Own | None, key: Any) -> tuple[Any, Trajectory]:
    """First observations (adapter's, own), and what follows the same random actions."""
    reset_key, action_key, key = jax.random.split(key, 3)
    actions = random_actions(env.action_space, action_key, (STEPS, NUM_ENVS))
    obs, state = env.reset(reset_key, NUM_ENVS)
    first, own_state = obs, ()
    if own is not None:
        own_first, own_state = jax.vmap(own.reset)(
            jax.random.split(reset_key, NUM_ENVS)
        )
        own_state = jax.tree.map(strong, own_state)
        first = jax.vmap(as_array)(own_first)

    def step(carry: tuple, inputs: tuple) -> tuple:
        state, own_state = carry
        key, action = inputs
        keys = jax.random.split(key, NUM_ENVS)
        row = env.step(key, state, action)
        state, outcome = row[1], (row[0], *row[2:])
        if own is None:
            own_outcome = outcome[0], outcome[1], outcome[2] | outcome[3]
        else:
            own_obs, after, *own_rest = jax.vmap(own.step)(keys, own_state, action)
            own_state = jax.tree.map(like, own_state, after)
            own_outcome = jax.vmap(as_array)(own_obs), *own_rest
        return (state, own_state), Trajectory(*outcome, *own_outcome)

    keys = jax.random.split(key, STEPS)
    _, rows = jax.lax.scan(step, (state, own_state), (keys, actions))
    return (obs, first), rows


def contract(env: pg.Env) -> Iterator[str]:
    """What an environment's types violate, in a line each; nothing is computed."""
    check_env(env, NUM_ENVS)
    key = jax.eval_shape(lambda: jax.random.key(0))
    obs, state = jax.eval_shape(lambda key: env.reset(key, NUM_ENVS), key)
    action = jax.eval_shape(
        lambda key: random_actions(env.action_space, key, (NUM_ENVS,)), key
    )
    after_obs, after, reward, *_ = jax.eval_shape(env.step, key, state, action)
    for what, x in (("observation", obs), ("reward", reward)):
        if x.dtype != jnp.float32:
            yield f"{what} of {x.dtype}, not float32"
    for what, tree in (("reset", (obs, state)), ("step", (after_obs, after, reward))):
        weak = [x for x in jax.tree.leaves(tree) if x.weak_type]
        if weak:
            yield f"{what} gives {len(weak)} arrays of weak type"
    types = [[(x.shape, x.dtype) for x in jax.tree.leaves(x)] for x in (state, after)]
    if types[0] != types[1]:
        yield "the state's types change in a step"


def behaviour(env: pg.Env, first: Any, rows: Trajectory, *, has_own: bool) -> Iterator:
    """What a trajectory violates, in a line each. Only first episodes count."""
    obs, own_first = first
    done = rows.terminated | rows.truncated
    before = np.cumsum(done, axis=0) - done == 0  # (T, N) until the episode's end
    if not (np.isfinite(obs).all() and np.isfinite(_of(rows.obs, before)).all()):
        yield "observations that are not finite"
    if not np.isfinite(rows.reward[before]).all():
        yield "rewards that are not finite"
    if (rows.terminated & rows.truncated & before).any():
        yield "an end that is terminal and truncated at once"
    space = env.observation_space
    seen = _of(rows.obs, before)
    if (seen < np.asarray(space.low)).any() or (seen > np.asarray(space.high)).any():
        yield "observations outside of the space"
    time = 1 + np.arange(len(done))[:, None]
    if (rows.truncated & before & (time != LIMIT)).any():
        yield "a truncation before the time limit"
    if (before & (time > LIMIT)).any():
        yield "episodes beyond the time limit"
    if not has_own:
        return
    if not _close(obs, own_first):
        yield "other first observations than the suite's own"
    if not _close(_of(rows.obs, before), _of(rows.own_obs, before)):
        yield "other observations than the suite's own"
    if not _close(rows.reward[before], rows.own_reward[before]):
        yield "other rewards than the suite's own"
    own_done = rows.own_done.astype(bool) | (time >= LIMIT)
    if (own_done != done)[before].any():
        yield "other ends than the suite's own"


def _of(x: Any, mask: Any) -> Any:
    return np.asarray(x)[np.asarray(mask)]


def _close(one: Any, other: Any) -> bool:
    one, other = (np.asarray(x, np.float64) for x in (one, other))
    return bool((np.abs(one - other) <= TOLERANCE * (1.0 + np.abs(other))).all())


def train_and_evaluate(env: pg.Env, key: Any) -> tuple[Any, Any]:
    """Parameters after two tiny PPO updates, and the length of an episode."""
    algorithm = pg.ppo(
        pg.actor_critic(env, (8,)), optax.sgd(0.01), num_epochs=1, num_minibatches=2
    )
    state, _ = pg.train(key, pg.unroll(env, NUM_ENVS, 8), algorithm, num_updates=2)
    params = state.learner.params
    _, lengths = pg.evaluate(key, env, algorithm.policy, params, num_episodes=1)
    return params, lengths


def training(env: pg.Env, outcome: tuple) -> Iterator[str]:
    """What two PPO updates and an episode violate, in a line each."""
    params, lengths = outcome
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
        yield "parameters that are not finite after two updates"
    if not 1 <= int(lengths[0]) <= env.max_steps:
        yield f"an episode of {int(lengths[0])} steps under a limit of {env.max_steps}"


def findings(env: pg.Env, own: Own | None, *, train: bool = True) -> list[str]:
    """All that an environment of a suite, whose time limit is `LIMIT`, violates."""
    found = list(contract(env))
    key = jax.random.key(0)
    first, rows = jax.device_get(jax.jit(lambda key: side_by_side(env, own, key))(key))
    found += behaviour(env, first, rows, has_own=own is not None)
    if train:
        outcome = jax.jit(lambda key: train_and_evaluate(env, key))(key)
        found += training(env, jax.device_get(outcome))
    return found
