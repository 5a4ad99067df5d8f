"""The core under JAX's own watchdogs: no key used twice, no NaN made on the way.

Ranks are not promoted either: `conftest` has that raise in every test.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
from turns import slow

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


def run(name, env_name, *, cut):
    # Episodes of 8 steps at most: one ends in every update, and has a return.
    env = pg.make_env(env_name, time_limit=8)
    algorithm = ALGORITHMS[name](pg.actor_critic(env, (8,)))
    rollout = pg.unroll(env, 4, 16)
    if algorithm.complete_episodes and not cut:
        rollout = pg.episodes(env, 4)
    algorithm = algorithm._replace(complete_episodes=False)
    state, metrics = jax.jit(
        lambda key: pg.train(key, rollout, algorithm, num_updates=2)
    )(jax.random.key(0))
    return state, metrics


# Keys go the same ways whatever the actions are: continuous ones are for PPO alone,
# which draws minibatches, too.
KEYS = [(name, "CartPole-v1") for name in ALGORITHMS if name != "ppo"]
KEYS += [("ppo", "Pendulum-v1"), slow("ppo", "CartPole-v1")]
KEYS += [slow("wrapped", "Pendulum-v1")]


@pytest.mark.parametrize(("name", "env"), KEYS)
def test_no_key_is_used_twice(name, env):
    # The watchdog cannot tell the keys of an array apart that a while loop, as that of
    # complete episodes, takes one by one: there, `test_rollout` compares draws.
    with jax.debug_key_reuse(True):
        _, metrics = run(name, env, cut=True)
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
        state, metrics = run(name, "CartPole-v1", cut=False)
    assert pg.diverged(state, jax.tree.map(lambda x: x[-1], metrics)) == 0
