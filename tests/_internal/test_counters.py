"""Counts that pass 2^31, and 2^32, in a day of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.counters import (
    Counter,
    as_float,
    count,
    count_up_to_limit,
    zero_counter,
)

MOST = 2**32 - 1


def value(counter):
    return int(counter.high) * 2**32 + int(counter.low)


def test_a_counter_is_exact_far_beyond_32_bits():
    counter, total = zero_counter(), 0
    rng = np.random.default_rng(0)
    for new in rng.integers(2**32, size=50, dtype=np.uint32):
        counter, total = jax.jit(count)(counter, new), total + int(new)
        assert value(counter) == total
    assert total > 2**36
    np.testing.assert_allclose(as_float(counter), float(total), rtol=1e-7)


@pytest.mark.parametrize("start", [0, 1, 2**32 - 2, 2**32 - 1, 2**40 + 2**32 - 1])
@pytest.mark.parametrize("new", [0, 1, 2, 2**31 - 1])
def test_a_counter_carries(start, new):
    counter = Counter(jnp.uint32(start >> 32), jnp.uint32(start & MOST))
    for dtype in (jnp.int32, jnp.uint32):
        assert value(count(counter, jnp.asarray(new, dtype))) == start + new


@pytest.mark.parametrize("start", [0, 2**31 - 1, 2**31, MOST - 1, MOST])
@pytest.mark.parametrize("new", [0, 1, 2**31 - 1])
def test_a_count_stops_at_its_limit(start, new):
    got = count_up_to_limit(jnp.uint32(start), jnp.int32(new))
    assert int(got) == min(start + new, MOST)


def bandit(reward=1.0, length=1):
    """Episodes of one step, which count as so many."""

    def step(key, state, action):
        yes = jnp.ones(len(action), bool)
        return (
            jnp.ones((len(action), 1)),
            state,
            jnp.full(len(action), reward),
            yes,
            ~yes,
        )

    return pg.Env(
        "bandit",
        lambda key, n: (jnp.zeros((n, 1)), jnp.zeros(n)),
        step,
        pg.Box(0.0, 1.0, (1,)),
        pg.Discrete(2),
        length,
    )


NETWORK = pg.Network(
    lambda key, obs: jnp.zeros(2),
    lambda params, obs: (
        pg.Categorical(jnp.broadcast_to(params, (*obs.shape[:-1], 2))),
        jnp.zeros(obs.shape[:-1]),
    ),
)


@pytest.mark.parametrize("before", [2**31 - 100, 2**31 - 1, 2**32 - 100, MOST])
@pytest.mark.parametrize("make", [pg.episodes, lambda env, n: pg.unroll(env, n, 2)])
def test_training_goes_on_beyond_what_is_counted(before, make):
    rollout = make(bandit(), 64)
    algorithm = pg.a2c(NETWORK, optax.sgd(0.0))
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    state, _ = pg.train_steps(state, rollout, algorithm, num_updates=2)
    state = state._replace(
        num_episodes=jnp.uint32(before), num_updates=jnp.uint32(before)
    )
    state, metrics = pg.train_steps(state, rollout, algorithm, num_updates=4)
    np.testing.assert_array_equal(metrics["recent_return"], np.ones(4))
    new = int(metrics["episodes"].sum())
    assert int(state.num_episodes) == min(before + new, MOST)
    assert int(state.num_updates) == min(before + 4, MOST)


def test_lengths_of_very_long_episodes_have_a_mean():
    """64 episodes that end now, of 10^8 steps each: 6.4e9 steps in all."""
    rollout = pg.unroll(bandit(length=2**31 - 1), 64, 1)
    algorithm = pg.a2c(NETWORK, optax.sgd(0.0))
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    envs = state.rollout_state
    envs = envs._replace(episode_length=envs.episode_length + 10**8 - 1)
    state = state._replace(rollout_state=envs)
    _, metrics = pg.train_step(state, rollout, algorithm)
    np.testing.assert_allclose(metrics["episode_length"], 1e8, rtol=1e-6)
