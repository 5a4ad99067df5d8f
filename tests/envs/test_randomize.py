"""Parameters that are drawn anew for every episode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.contract import check_env

KEY = jax.random.key(0)


def worth(value=1.0):
    """Pays its parameter at every step, and ends after two; observes it, too."""

    def reset(key, num_envs):
        noise = jax.random.uniform(key, (num_envs,))
        obs = jnp.stack([noise, jnp.broadcast_to(value, noise.shape)], axis=1)
        return obs, (jnp.zeros(num_envs, jnp.int32), obs)

    def step(key, state, action):
        time, obs = state
        reward = jnp.broadcast_to(jnp.float32(value), time.shape)
        ends = time == 1
        return obs, (time + 1, obs), reward, ends, ends & False

    space = pg.Box(0.0, 10.0, (2,))
    return pg.Env("worth", reset, step, space, pg.Discrete(2), 5)


def sample(key):
    return {"value": jax.random.uniform(key, minval=2.0, maxval=8.0)}


def policy(params, obs):
    return pg.Categorical(jnp.zeros((len(obs), 2)))


ENV = pg.randomize(pg.make_env(worth), sample)


def test_every_environment_draws_its_own_and_keeps_it():
    check_env(ENV, 3)
    assert ENV.name == "randomize(worth)"
    obs, state = ENV.reset(KEY, 64)
    values = np.asarray(state.params["value"])
    assert len(np.unique(values)) == 64
    assert 2 <= values.min() < 3
    assert 7 < values.max() <= 8
    np.testing.assert_array_equal(obs[:, 1], values)
    # What is drawn besides has a key of its own.
    assert abs(np.corrcoef(obs[:, 0], values)[0, 1]) < 0.5
    obs, state, reward, *_ = ENV.step(KEY, state, jnp.zeros(64, jnp.int32))
    np.testing.assert_array_equal(reward, values)
    np.testing.assert_array_equal(state.params["value"], values)


def test_every_episode_of_a_rollout_has_its_own():
    rollout = pg.unroll(ENV, 4, 20)
    _, batch, ended = jax.jit(
        lambda key: rollout.collect(key, policy, (), rollout.init(key))
    )(KEY)
    np.testing.assert_array_equal(batch.reward, batch.obs[..., 1])
    pairs = np.asarray(batch.reward).reshape(10, 2, 4)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
    assert len(np.unique(pairs)) == 40
    np.testing.assert_allclose(ended.returns[1::2], 2 * pairs[:, 0], rtol=1e-6)


def test_evaluation_plays_in_all_of_them():
    returns, _ = pg.evaluate(KEY, ENV, policy, (), num_episodes=500)
    assert len(np.unique(returns)) > 490
    # The mean of 500 uniform numbers from 4 to 16.
    assert abs(returns.mean() - 10) < 5 * 12 / np.sqrt(12 * 500)


def test_gymnax_environments_and_wrapped_ones():
    base = pg.frame_stack(pg.make_env("CartPole-v1", time_limit=9), 2)
    env = pg.randomize(base, lambda key: {"length": 0.1 + jax.random.uniform(key)})
    env = pg.flatten_observations(pg.time_limit(env, 7))
    assert (env.max_steps, env.observation_space.shape) == (7, (8,))
    algorithm = pg.a2c(pg.actor_critic(env, (4,)), optax.sgd(0.1))
    state, _ = jax.jit(
        lambda key: pg.train(key, pg.unroll(env, 2, 4), algorithm, num_updates=1)
    )(KEY)
    lengths = state.rollout_state.env_state.params["length"]
    assert lengths.shape == (2,)
    assert lengths[0] != lengths[1]


def test_a_constant_parameter_is_the_environment_with_it():
    fixed = pg.randomize(
        pg.make_env("CartPole-v1"), lambda key: {"gravity": jnp.float32(5.0)}
    )
    plain = pg.make_env("CartPole-v1", params={"gravity": 5.0})
    _, state = fixed.reset(KEY, 4)
    action = jnp.ones(4, jnp.int32)
    got = fixed.step(KEY, state, action)
    expected = plain.step(KEY, state.state, action)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_array_equal(got[2], expected[2])


def replaced():
    env = pg.make_env(worth)
    return env._replace(step=lambda *given: env.step(*given))


@pytest.mark.parametrize(
    ("env", "draw", "says"),
    [
        (3, sample, "make_env takes a name such as .*got 3"),
        ("CartPole-v1", sample, "no parameter 'value'"),
        (worth(), sample, "worth cannot be made with other parameters: randomize what"),
        (replaced(), sample, "worth cannot be made with other parameters"),
        (ENV, sample, "cannot be made with other parameters"),
        (pg.make_env(worth), 3, "sample must be of type Callable"),
        (
            pg.make_env(worth),
            lambda key: 1.0,
            "sample must return a dict of .*got float32",
        ),
        (
            pg.make_env(worth),
            lambda key: {},
            r"a dict of parameters, such as .*got \{\}",
        ),
        (
            pg.make_env(worth),
            lambda: {},
            r"sample failed when it was called with \(key",
        ),
        (
            pg.make_env(worth),
            lambda key: {"valeu": 1.0},
            "worth has no parameter 'valeu'; did you mean value",
        ),
        (
            pg.make_env("CartPole-v1"),
            lambda key: {"gravity": jax.random.uniform(key, (2,))},
            r"gravity must have shape \(\)",
        ),
    ],
)
def test_what_cannot_be_is_told(env, draw, says):
    with pytest.raises((TypeError, ValueError), match=says):
        pg.randomize(env, draw)
