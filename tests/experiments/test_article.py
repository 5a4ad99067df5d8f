"""The numbers that the article works through by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg


def test_preferences_become_probabilities():
    probs = pg.Categorical(jnp.array([2.0, 1.0, 0.5])).probs
    np.testing.assert_allclose(probs, [0.63, 0.23, 0.14], atol=0.005)


def test_one_step_of_gradient_ascent():
    # Optax descends, so the objective's gradient goes in negated.
    theta, optimizer = jnp.float32(1.5), optax.sgd(0.1)
    updates, _ = optimizer.update(-jnp.float32(2.0), optimizer.init(theta), theta)
    assert optax.apply_updates(theta, updates) == pytest.approx(1.7)


def contributions(grad_log_prob, advantage):
    """What each step adds to the gradient of J, where log pi = theta grad-log-prob."""
    grad_log_prob, advantage = jnp.array(grad_log_prob), jnp.array(advantage)
    losses = jax.jacobian(
        lambda theta: pg.policy_gradient_loss(theta * grad_log_prob, advantage)
    )(1.0)
    return -losses


def test_the_gradient_of_one_trajectory():
    # Its return is 3 at both steps: all the reward comes at the end, undiscounted.
    reward, no = jnp.array([0.0, 3.0]), jnp.zeros(2, bool)
    returns = pg.discounted_returns(reward, jnp.array([False, True]), no, gamma=1.0)
    assert jnp.sum(contributions([0.8, -0.3], returns)) == pytest.approx(1.5)


def test_a_baseline_shrinks_the_contributions():
    returns, grad_log_prob = jnp.array([[100.0], [90.0]]), [0.5, -0.3]
    np.testing.assert_allclose(contributions(grad_log_prob, returns[:, 0]), [50, -27])
    baseline = pg.episode_mean(returns, jnp.ones((2, 1)))
    assert baseline == 95.0
    advantage = (returns - baseline)[:, 0]
    np.testing.assert_allclose(contributions(grad_log_prob, advantage), [2.5, 1.5])


@pytest.mark.parametrize(("q", "advantage"), [(13.0, 3.0), (7.0, -3.0)])
def test_the_advantage_is_what_an_action_earns_beyond_the_state_s_value(q, advantage):
    # One step to the end: Q is its reward.
    result = pg.gae(
        reward=jnp.array([q]),
        value=jnp.array([10.0]),
        next_value=jnp.zeros(1),
        terminated=jnp.ones(1, bool),
        truncated=jnp.zeros(1, bool),
        gamma=0.99,
        lam=0.95,
    )
    assert result == advantage
