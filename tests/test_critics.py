import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from pgjax import blocks

T, N = 5, 2
# An observation is its own value, so that a value says which one was looked at:
# 10 t + n for `obs`, and 1000 more for `next_obs`, even where both are one state.
OBS = (10 * np.arange(T)[:, None] + np.arange(N)).astype(np.float32)
NEXT_OBS = OBS + 1000


def value_fn(params, obs):
    return params * obs[..., 0]


def make_batch(terminated=(), truncated=(), lengths=(T, T)):
    flags = np.zeros((2, T, N), bool)
    for flag, places in zip(flags, (terminated, truncated), strict=True):
        for place in places:
            flag[place] = True
    zeros = np.zeros((T, N), np.float32)
    batch = pg.Transition(
        obs=OBS[..., None],
        action=zeros.astype(np.int32),
        log_prob=zeros,
        reward=zeros,
        terminated=flags[0],
        truncated=flags[1],
        next_obs=NEXT_OBS[..., None],
        weight=(np.arange(T)[:, None] < np.array(lengths)).astype(np.float32),
    )
    return jax.tree.map(jnp.asarray, batch)


def values(batch, params=1.0):
    return jax.jit(lambda p, b: pg.critic_values(value_fn, p, b))(params, batch)


each_block_size = pytest.mark.parametrize("samples", [2048, 4, 1])


@each_block_size
def test_within_an_episode_the_next_value_is_that_of_the_following_obs(
    samples, monkeypatch
):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", samples)
    value, next_value = values(make_batch())
    np.testing.assert_array_equal(value, OBS)
    np.testing.assert_array_equal(next_value[:-1], OBS[1:])
    np.testing.assert_array_equal(next_value[-1], NEXT_OBS[-1])


@each_block_size
def test_at_a_time_limit_it_is_that_of_the_obs_before_the_reset(samples, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", samples)
    _, next_value = values(make_batch(truncated=[(1, 0), (3, 1)]))
    expected = np.append(OBS[1:], NEXT_OBS[-1:], axis=0)
    expected[1, 0], expected[3, 1] = NEXT_OBS[1, 0], NEXT_OBS[3, 1]
    np.testing.assert_array_equal(next_value, expected)


@pytest.mark.parametrize("truncated", [[], [(1, 0)]])
def test_no_block_is_evaluated_for_the_sake_of_a_terminal_step(truncated, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 2)  # a block a step
    seen = []

    def watched(params, obs):
        jax.debug.callback(lambda x: seen.append(x[0, 0, 0].item()), obs)
        return value_fn(params, obs)

    batch = make_batch(terminated=[(1, 0)], truncated=truncated, lengths=(2, T))
    _, next_value = jax.jit(lambda b: pg.critic_values(watched, 1.0, b))(batch)
    jax.effects_barrier()
    assert np.isfinite(next_value).all()
    # Every `obs`, and of `next_obs` only the last one.
    assert sorted(seen) == [0, 10, 20, 30, 40, 1040]


def test_complete_episodes_of_different_lengths_get_their_own_ends(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 2)  # a block a step
    batch = make_batch(truncated=[(1, 0)], terminated=[(3, 1)], lengths=(2, 4))
    value, next_value = values(batch)
    counts = batch.weight > 0
    np.testing.assert_array_equal(value[counts], OBS[counts])
    assert next_value[0, 0] == OBS[1, 0]
    assert next_value[1, 0] == NEXT_OBS[1, 0]
    np.testing.assert_array_equal(next_value[:3, 1], OBS[1:4, 1])


def test_values_are_constants():
    batch = make_batch(truncated=[(1, 0)])

    def total(params, obs):
        value, next_value = pg.critic_values(value_fn, params, batch._replace(obs=obs))
        return jnp.sum(value) + jnp.sum(next_value)

    (twice, grads) = jax.jit(jax.value_and_grad(total, (0, 1)))(2.0, batch.obs)
    assert twice == 2 * jax.jit(total)(1.0, batch.obs) > 0
    by_params, by_obs = grads
    assert by_params == 0.0
    np.testing.assert_array_equal(by_obs, np.zeros_like(by_obs))


def test_agents_of_a_vmap_get_what_each_gets_alone(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 2)
    batches = [make_batch(truncated=[(1, 0)]), make_batch(terminated=[(2, 1)])]
    params = jnp.array([1.0, -3.0])
    together = jax.jit(jax.vmap(lambda p, b: pg.critic_values(value_fn, p, b)))(
        params, jax.tree.map(lambda *x: np.stack(x), *batches)
    )
    for i, batch in enumerate(batches):
        alone = values(batch, params[i])
        np.testing.assert_array_equal(together[0][i], alone[0])
        np.testing.assert_array_equal(together[1][i], alone[1])
