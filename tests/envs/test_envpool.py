"""EnvPool's environments on the host, where it is installed (.ci/worlds does that)."""

import jax
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.host_envs import HostEnvs

pytest.importorskip("envpool")


def play(env, steps, *, num_envs=3, which=None, action=1):
    envs = HostEnvs(env, num_envs)
    envs.start(np.arange(num_envs, dtype=np.uint32) + 7)
    rows = []
    for _ in range(steps):
        given = np.full((num_envs, *env.action_space.shape), action, np.int32)
        asked = np.ones(num_envs, bool) if which is None else which
        happened = envs.step(given, asked)
        envs.restart(happened.done)
        rows.append((happened, envs.obs))
    envs.close()
    return rows


def test_steps_are_those_of_envpool_itself():
    import envpool

    rows = play(pg.host_env("envpool:CartPole-v1"), 30)
    own = envpool.make(
        "CartPole-v1", env_type="gymnasium", num_envs=3, env_seed=[7, 8, 9]
    )
    own.reset()
    for happened, after in rows:
        obs, reward, terminated, truncated, _ = own.step(np.ones(3, np.int32))
        np.testing.assert_array_equal(happened.next_obs, obs)
        np.testing.assert_array_equal(happened.reward, reward)
        np.testing.assert_array_equal(happened.terminated, terminated)
        np.testing.assert_array_equal(happened.truncated, truncated)
        if happened.done.any():
            obs[happened.done] = own.reset(np.flatnonzero(happened.done))[0]
        np.testing.assert_array_equal(after, obs)
    assert sum(happened.done.sum() for happened, _ in rows) > 4


def test_those_that_wait_stay_where_they_are():
    which = np.array([True, False, True])
    rows = play(pg.host_env("envpool:CartPole-v1"), 3, which=which)
    first, *_, last = (happened for happened, _ in rows)
    np.testing.assert_array_equal(last.next_obs[1], first.next_obs[1])
    assert (last.next_obs[[0, 2]] != first.next_obs[[0, 2]]).any(axis=1).all()
    np.testing.assert_array_equal(last.lengths, [3, 0, 3])


def test_a_time_limit_truncates():
    rows = play(pg.host_env("envpool:Pendulum-v1", time_limit=4), 4)
    assert [happened.truncated.all() for happened, _ in rows] == [False] * 3 + [True]
    assert not rows[-1][0].terminated.any()


def test_it_trains_the_same_agent_twice():
    env = pg.host_env("envpool:CartPole-v1")
    algorithm = pg.ppo(pg.actor_critic(env, (4,)), optax.adam(0.01), num_epochs=1)
    curves = [
        pg.train(jax.random.key(0), pg.unroll(env, 3, 16), algorithm, num_updates=2)[1]
        for _ in range(2)
    ]
    jax.tree.map(np.testing.assert_array_equal, *curves)


def test_channels_of_images_come_last():
    env = pg.host_env("envpool:Pong-v5")
    assert env.obs.shape == env.observation_space.shape == (84, 84, 4)


def test_images_stay_bytes_and_come_to_networks_from_0_to_1():
    env = pg.host_env("envpool:Pong-v5")
    assert env.obs.dtype == np.uint8
    (happened, obs), *_ = play(env, 1)
    assert happened.next_obs.dtype == obs.dtype == np.uint8
    assert obs.max() > 1
    assert pg.encode(env.observation_space, obs).max() <= 1


def test_what_it_does_not_have_is_told():
    with pytest.raises(ValueError, match="did you mean envpool:CartPole-v1"):
        pg.host_env("envpool:CartPol-v1")
    with pytest.raises(TypeError, match="no_such_option"):
        pg.host_env("envpool:CartPole-v1", no_such_option=1)
