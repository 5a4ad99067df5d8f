"""The core under JAX's own watchdogs: no key used twice, no NaN made on the way.

Ranks are not promoted either: `conftest` has that raise in every test.
"""

import jax
import jax.numpy as jnp
import optax
import pytest

import pgjax as pg

ADAM = optax.adam(1e-3)
ALGORITHMS = {
    "reinforce": lambda net: pg.reinforce(net, ADAM, baseline=pg.leave_one_out),
    "a2c": lambda net: pg.a2c(net, ADAM),
    "ppo": lambda net: pg.ppo(net, ADAM, value_clip=0.2, target_kl=0.02),
    "trpo": lambda net: pg.trpo(net, ADAM),
    "wrapped": lambda net: pg.normalize_observations(
        pg.scale_rewards(pg.ppo(net, ADAM))
    ),
}


def run(name, env_name):
    # Episodes of 8 steps at most: one ends in every update, and has a return.
    env = pg.make_env(env_name, time_limit=8)
    algorithm = ALGORITHMS[name](pg.actor_critic(env, (8,)))
    whole = algorithm.complete_episodes
    rollout = pg.episodes(env, 4) if whole else pg.unroll(env, 4, 16)
    key = jax.random.key(0)
    state, metrics = jax.jit(
        lambda key: pg.train(key, rollout, algorithm, num_updates=2)
    )(key)
    returns, _ = pg.evaluate(
        jax.random.key(1), env, algorithm.policy, state.learner.params, num_episodes=2
    )
    return metrics, returns


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_key_is_used_twice(name, env):
    with jax.debug_key_reuse(True):
        metrics, _ = run(name, env)
    assert jnp.isfinite(metrics["gradient_norm"]).all()


def test_the_watchdog_sees_a_key_that_is_used_twice():
    def twice(key):
        return jax.random.normal(key) + jax.random.uniform(key)

    with (
        jax.debug_key_reuse(True),
        pytest.raises(jax.errors.KeyReuseError),
    ):
        jax.jit(twice)(jax.random.key(0))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_nan_is_made_on_the_way(name):
    with jax.debug_nans(True):
        _, returns = run(name, "CartPole-v1")
    assert jnp.isfinite(returns).all()
