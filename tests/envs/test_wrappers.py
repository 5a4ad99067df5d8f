"""Wrappers: functions from one environment to another."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.contract import check_env

N, KEY = 3, jax.random.key(0)


def counter(shape=(2,), dtype=jnp.float32, space=None):
    """Observes its time, everywhere; ends at 3 in environment 0."""

    def look(time):
        column = time.reshape(-1, *(1,) * len(shape))
        return jnp.broadcast_to(column, (len(time), *shape)).astype(dtype)

    def reset(key, num_envs):
        start = jax.random.randint(key, (num_envs,), 0, 2)
        return look(start), start

    def step(key, time, action):
        time = time + 1
        ends = (time == 3) & (jnp.arange(len(time)) == 0)
        return look(time), time, jnp.ones(len(time)), ends, ends & False

    space = space or pg.Box(0.0, np.arange(2.0) + 9 if shape == (2,) else 9.0, shape)
    return pg.Env("counter", reset, step, space, pg.Discrete(2), 5)


def played(env, num_steps):
    """(num_steps + 1, N, ...) observations, and the flags of each step."""
    obs, state = env.reset(KEY, N)
    seen, flags = [obs], []
    for _ in range(num_steps):
        obs, state, _, *ends = env.step(KEY, state, jnp.zeros(N, jnp.int32))
        seen.append(obs)
        flags.append(np.stack(ends))
    return np.stack(seen), np.stack(flags)


def test_a_limit_is_the_librarys_and_adds_nothing():
    env = counter()
    limited = pg.time_limit(env, 2)
    assert limited == env._replace(max_steps=2)


def test_a_limit_that_terminates_counts():
    env = pg.time_limit(counter(), 2, terminates=True)
    _, flags = played(env, 2)
    np.testing.assert_array_equal(flags[:, 0].all(-1), [False, True])
    assert not flags[:, 1].any()
    rollout = pg.episodes(env, N)
    _, batch, ended = rollout.collect(KEY, policy, (), ())
    assert batch.terminated[1].all()
    np.testing.assert_array_equal(ended.lengths[1], [2] * N)


def policy(params, obs):
    return pg.Categorical(jnp.zeros((len(obs), 2)))


@pytest.mark.parametrize(
    ("shape", "stacked"), [((), (3,)), ((2,), (6,)), ((4, 5, 2), (4, 5, 6))]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.uint8])
def test_frames_are_the_last_ones_oldest_first(shape, stacked, dtype):
    plain = counter(shape, dtype)
    env = pg.frame_stack(plain, 3)
    check_env(env, N)
    assert env.observation_space.shape == stacked
    seen, _ = played(env, 4)
    assert seen.dtype == dtype
    obs, _ = played(plain, 4)
    obs = obs.reshape(5, N, *(shape or (1,)))
    for time in range(5):
        frames = [obs[max(0, time - back)] for back in (2, 1, 0)]
        np.testing.assert_array_equal(seen[time], np.concatenate(frames, axis=-1))


def test_bounds_of_frames_are_repeated():
    space = pg.frame_stack(counter(), 2).observation_space
    np.testing.assert_array_equal(space.high, [9, 10, 9, 10])
    np.testing.assert_array_equal(space.low, np.zeros(4))


def test_frames_begin_anew_with_an_episode():
    rollout = pg.unroll(pg.frame_stack(counter(), 2), N, 6)
    _, batch, _ = rollout.collect(KEY, policy, (), rollout.init(KEY))
    done = np.asarray(batch.terminated | batch.truncated)
    assert done[:-1].any()
    after = np.asarray(batch.obs)[1:][done[:-1]]
    np.testing.assert_array_equal(after[:, :2], after[:, 2:])
    # Before it, what was seen last is there: a critic bootstraps from that.
    last = np.asarray(batch.next_obs)[done]
    np.testing.assert_array_equal(last[:, :2] + 1, last[:, 2:])


def test_flat_observations():
    env = pg.flatten_observations(counter((4, 5, 2)))
    check_env(env, N)
    assert env.observation_space == pg.Box(0.0, 9.0, (40,))
    seen, _ = played(env, 1)
    assert seen.shape == (2, N, 40)
    bounds = pg.flatten_observations(counter()).observation_space.high
    np.testing.assert_array_equal(bounds, [9, 10])


def test_choices_become_one_hot():
    plain = counter((), jnp.int32, pg.Discrete(9))
    env = pg.flatten_observations(plain)
    seen, _ = played(env, 2)
    np.testing.assert_array_equal(seen, np.eye(9)[played(plain, 2)[0]])
    assert env.observation_space == pg.Box(0.0, 1.0, (9,))
    with pytest.raises(TypeError, match=r"frame_stack takes observations of a pg.Box"):
        pg.frame_stack(plain, 2)
    assert pg.frame_stack(env, 2).observation_space.shape == (18,)


def test_wrappers_stack_and_train():
    env = pg.frame_stack(pg.flatten_observations(counter((2, 2))), 2)
    env = pg.time_limit(env, 4)
    assert env.name == "frame_stack(flatten_observations(counter), 2)"
    network = pg.actor_critic(env, (4,))
    rollout = pg.unroll(env, 2, 8)
    state, _ = pg.train(KEY, rollout, pg.a2c(network, optax.sgd(0.1)), num_updates=1)
    _, lengths = pg.evaluate(
        KEY,
        env,
        lambda params, obs: network.apply(params, obs)[0],
        state.learner.params,
        num_episodes=4,
    )
    assert lengths.max() == 4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pg.time_limit("CartPole-v1", 3), "env must be of type Env"),
        (lambda: pg.time_limit(counter(), 0), "steps must be at least 1"),
        (lambda: pg.frame_stack(counter(), 2.0), "k must be an integer"),
        (lambda: pg.frame_stack(3, 2), "env must be of type Env"),
        (lambda: pg.flatten_observations(3), "env must be of type Env"),
    ],
)
def test_arguments_of_a_wrong_kind_are_told(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()
