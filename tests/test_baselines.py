import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import pgjax as pg
from pgjax.baselines import BASELINES

LENGTHS = np.array([5, 3, 1, 4])
rng = np.random.default_rng(0)
RETURNS = rng.normal(size=(5, 4)).astype(np.float32)
VALUE = rng.normal(size=(5, 4)).astype(np.float32)
WEIGHT = (np.arange(5)[:, None] < LENGTHS).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("none", lambda returns, weight: np.zeros((5, 4))),
        ("mean", oracles.episode_mean),
        ("batch_mean", oracles.batch_mean),
        ("leave_one_out", oracles.leave_one_out),
        ("value", lambda returns, weight: VALUE),
    ],
)
@pytest.mark.parametrize("weight", [WEIGHT, np.ones((5, 4), np.float32)])
def test_each_baseline_equals_its_loop(name, oracle, weight):
    result = jax.jit(BASELINES[name])(RETURNS, weight, VALUE)
    expected = oracle(RETURNS.astype(np.float64), weight)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_padding_never_matters(name):
    garbage = np.where(WEIGHT > 0, RETURNS, 1e20).astype(np.float32)
    plain = BASELINES[name](RETURNS, WEIGHT, VALUE) * WEIGHT
    np.testing.assert_array_equal(
        BASELINES[name](garbage, WEIGHT, VALUE) * WEIGHT, plain
    )


@pytest.mark.parametrize("name", ["mean", "batch_mean", "leave_one_out"])
def test_a_batch_that_is_all_padding_has_baseline_zero(name):
    result = BASELINES[name](RETURNS, np.zeros_like(WEIGHT), None)
    np.testing.assert_array_equal(result, np.zeros_like(result))


def test_leave_one_out_never_sees_the_episode_s_own_returns():
    jacobian = jax.jit(jax.jacobian(lambda g: pg.leave_one_out(g, WEIGHT)))(RETURNS)
    own = jnp.einsum("tisi->tis", jacobian)
    np.testing.assert_array_equal(own, np.zeros_like(own))
    for i in range(4):
        changed = RETURNS.copy()
        changed[:, i] += 100.0
        before, after = (pg.leave_one_out(g, WEIGHT) for g in (RETURNS, changed))
        np.testing.assert_allclose(before[:, i], after[:, i], atol=1e-4)
        assert np.abs(before - after).max() > 1  # the others do see it


def test_the_last_episode_running_has_nothing_left_to_compare_with():
    np.testing.assert_array_equal(pg.leave_one_out(RETURNS, WEIGHT)[4, 0], 0.0)


def test_leaving_one_out_of_one_is_an_error():
    with pytest.raises(ValueError, match="needs at least two episodes per batch"):
        pg.leave_one_out(RETURNS[:, :1], WEIGHT[:, :1])


def test_a_missing_critic_is_an_error():
    with pytest.raises(ValueError, match=r"needs a critic.*pg\.actor_critic"):
        pg.value_baseline(jnp.zeros((1, 2)), jnp.ones((1, 2)), None)


LOGITS = np.array([0.5, 0.0, -1.0])
PROBS = oracles.softmax(LOGITS)
REWARD = np.array([3.0, -1.0, 4.0])
TRUE_GRADIENT = PROBS * (REWARD - PROBS @ REWARD)


def bandit_gradients(baseline, actions):
    """The estimate of d E[reward] / d logits of each row of N one-step episodes."""
    score = np.eye(3)[actions] - PROBS  # (batches, N, K)
    returns = jnp.asarray(REWARD[actions], jnp.float32)[:, None, :]  # (batches, 1, N)
    b = jax.jit(jax.vmap(lambda g: baseline(g, jnp.ones_like(g)) + 0 * g))(returns)
    advantage = np.asarray(returns - b, np.float64)[:, 0, :, None]
    return np.mean(score * advantage, axis=1)


@pytest.mark.parametrize("num_episodes", [2, 4])
@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("none", lambda n: 1),
        ("leave_one_out", lambda n: 1),
        # E[score_i b] = E[score_i r_i] / N, for the others' scores have mean zero.
        ("batch_mean", lambda n: 1 - 1 / n),
        # Of a one-step episode, the mean return is the return: nothing is left.
        ("mean", lambda n: 0),
    ],
)
def test_the_bandit_s_gradient_is_scaled_by_exactly_the_baseline_s_bias(
    name, factor, num_episodes
):
    # The expectation over all the batches that could be drawn: no sampling error.
    actions = np.array(list(itertools.product(range(3), repeat=num_episodes)))
    probability = np.prod(PROBS[actions], axis=1)
    estimate = probability @ bandit_gradients(BASELINES[name], actions)
    np.testing.assert_allclose(
        estimate, factor(num_episodes) * TRUE_GRADIENT, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "factor"), [("leave_one_out", 1.0), ("batch_mean", 3 / 4)]
)
def test_sampled_bandit_gradients_agree_with_their_expectation(name, factor):
    draws = np.random.default_rng(0).choice(3, size=(40_000, 4), p=PROBS)
    estimates = bandit_gradients(BASELINES[name], draws)
    error = estimates.std(axis=0) / len(draws) ** 0.5
    z = (estimates.mean(axis=0) - factor * TRUE_GRADIENT) / error
    assert np.abs(z).max() < 5
    biased = (estimates.mean(axis=0) - TRUE_GRADIENT) / error
    assert (np.abs(biased).max() > 20) == (factor != 1)


def test_leave_one_out_is_unbiased_where_actions_decide_how_long_episodes_last():
    # Two actions a step; action 0 ends the episode, action 1 earns 1, then 5.
    policy = np.array([0.4, 0.6])
    score = np.eye(2) - policy  # by action
    episodes = {  # actions: (probability, returns, weight)
        (0,): (0.4, [0.0, 0.0], [1.0, 0.0]),
        (1, 0): (0.24, [1.0, 0.0], [1.0, 1.0]),
        (1, 1): (0.36, [6.0, 5.0], [1.0, 1.0]),
    }
    expectation = np.zeros(2)
    for batch in itertools.product(episodes, repeat=3):
        probability, returns, weight = zip(*(episodes[e] for e in batch), strict=True)
        b = pg.leave_one_out(jnp.array(returns).T, jnp.array(weight).T)
        for i, actions in enumerate(batch):
            for t, action in enumerate(actions):
                expectation += np.prod(probability) * score[action] * float(b[t, i])
    np.testing.assert_allclose(expectation, 0.0, atol=1e-6)
