import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import pgjax as pg
from pgjax._internal import blocks

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
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    value, next_value = values(make_batch())
    np.testing.assert_array_equal(value, OBS)
    np.testing.assert_array_equal(next_value[:-1], OBS[1:])
    np.testing.assert_array_equal(next_value[-1], NEXT_OBS[-1])


@each_block_size
def test_at_a_time_limit_it_is_that_of_the_obs_before_the_reset(samples, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    _, next_value = values(make_batch(truncated=[(1, 0), (3, 1)]))
    expected = np.append(OBS[1:], NEXT_OBS[-1:], axis=0)
    expected[1, 0], expected[3, 1] = NEXT_OBS[1, 0], NEXT_OBS[3, 1]
    np.testing.assert_array_equal(next_value, expected)


@pytest.mark.parametrize("truncated", [[], [(1, 0)]])
def test_no_block_is_evaluated_for_the_sake_of_a_terminal_step(truncated, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 2)
    seen = []

    def watched(params, obs):
        jax.debug.callback(lambda x: seen.append(x[0, 0].item()), obs)
        return value_fn(params, obs)

    batch = make_batch(terminated=[(1, 0)], truncated=truncated, lengths=(2, T))
    _, next_value = jax.jit(lambda b: pg.critic_values(watched, 1.0, b))(batch)
    jax.effects_barrier()
    assert np.isfinite(next_value).all()
    # The first `obs` of each block of two, and of `next_obs` the last step's.
    assert sorted(seen) == [0, 10, 21, 41, 1041]


def test_complete_episodes_of_different_lengths_get_their_own_ends(monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 2)
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
    monkeypatch.setattr(blocks, "most_samples", lambda _: 2)
    batches = [make_batch(truncated=[(1, 0)]), make_batch(terminated=[(2, 1)])]
    params = jnp.array([1.0, -3.0])
    together = jax.jit(jax.vmap(lambda p, b: pg.critic_values(value_fn, p, b)))(
        params, jax.tree.map(lambda *x: np.stack(x), *batches)
    )
    for i, batch in enumerate(batches):
        alone = values(batch, params[i])
        np.testing.assert_array_equal(together[0][i], alone[0])
        np.testing.assert_array_equal(together[1][i], alone[1])


def noisy_batch():
    """A batch with ends of both kinds, one step with both, and random rewards."""
    batch = make_batch(terminated=[(1, 0), (3, 1)], truncated=[(2, 0), (3, 1), (1, 1)])
    reward = np.random.default_rng(0).normal(size=(T, N))
    return batch._replace(reward=jnp.asarray(reward, jnp.float32))


def estimate(batch, **options):
    def run(batch):
        return pg.estimate_advantages(value_fn, 0.1, batch, **options)

    return jax.jit(run)(batch)


def oracle_arrays(batch):
    """reward, V(s_t), V(s'_t) and flags, in float64; values are a tenth of OBS."""
    ended = np.asarray(batch.terminated | batch.truncated)
    following = np.append(OBS[1:], NEXT_OBS[-1:], 0)
    next_value = 0.1 * np.float64(np.where(ended, NEXT_OBS, following))
    flags = np.asarray(batch.terminated), np.asarray(batch.truncated)
    return np.asarray(batch.reward), 0.1 * np.float64(OBS), next_value, *flags


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_advantages_are_gae(lam):
    batch = noisy_batch()
    got = estimate(batch, gamma=0.9, lam=lam)
    reward, value, next_value, *flags = oracle_arrays(batch)
    want = oracles.gae(reward, value, next_value, *flags, gamma=0.9, lam=lam)
    # Values of up to 100, so rounding of 1e-5; lambda returns on top of them.
    np.testing.assert_allclose(got.value, value, rtol=1e-6)
    np.testing.assert_allclose(got.advantage, want, atol=1e-4)
    want = oracles.lambda_returns(reward, next_value, *flags, gamma=0.9, lam=lam)
    np.testing.assert_allclose(got.returns, want, atol=1e-4)


@pytest.mark.parametrize("n_step", [1, 2, 9])
def test_advantages_of_n_steps(n_step):
    batch = noisy_batch()
    got = estimate(batch, gamma=0.9, lam=0.3, n_step=n_step)
    reward, value, next_value, *flags = oracle_arrays(batch)
    want = oracles.n_step_returns(reward, next_value, *flags, gamma=0.9, n=n_step)
    np.testing.assert_allclose(got.returns, want, atol=1e-4)
    np.testing.assert_allclose(got.advantage, want - value, atol=1e-4)
    # A trace decay is of no use to them.
    other = estimate(batch, gamma=0.9, lam=1.0, n_step=n_step)
    np.testing.assert_array_equal(got.returns, other.returns)


def test_estimates_are_constants():
    batch = noisy_batch()

    def total(params, gamma):
        estimates = pg.estimate_advantages(
            value_fn, params, batch, gamma=gamma, lam=0.5
        )
        return sum(jnp.sum(x) for x in estimates)

    value, grad = jax.jit(jax.value_and_grad(total))(0.1, 0.9)
    assert value != 0.0
    assert grad == 0.0


def test_estimates_without_a_critic_are_an_error():
    with pytest.raises(ValueError, match=r"needs a critic.*pg\.actor_critic"):
        pg.estimate_advantages(
            lambda params, obs: None, 0.1, noisy_batch(), gamma=0.9, lam=1.0
        )


def test_estimates_of_no_steps_are_an_error():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        estimate(noisy_batch(), gamma=0.9, lam=1.0, n_step=0)
