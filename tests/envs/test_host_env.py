"""Environments of Gymnasium on the host, and what makes them."""

import gymnasium
import jax
import numpy as np
import optax
import pytest
from gymnasium import spaces
from host_walk import Walks, host_walk, jax_walk

import pgjax as pg
from pgjax._internal.host_envs import HostEnvError, HostEnvs
from pgjax.envs import gymnasium_envs
from pgjax.envs.check_host import steps_per_second_on_host


class Corridor(gymnasium.Env):
    """One dimension to the right; spaces and faults are options."""

    def __init__(self, actions=None, observations=None, noise=0.0, scale=1.0):
        self.action_space = actions or spaces.Discrete(2, start=5)
        self.observation_space = observations or spaces.Box(-1.0, 10.0, (2,))
        self.noise, self.scale, self.given = noise, scale, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(0, 0.5)
        return self._look(), {}

    def step(self, action):
        self.given.append(action)
        self.place += 1.0 + self.noise * np.random.random()
        return self._look(), self.scale, self.place > 9, False, {}

    def _look(self):
        if isinstance(self.observation_space, spaces.Box):
            return np.array([self.place, 0.0]) * self.scale
        return {"flag": 1, "place": np.array([self.place])}


def corridor(**options):
    return pg.host_env(lambda: Corridor(**options), time_limit=5)


def play(env, *, num_envs=3, seeds=(1, 2, 3), actions=None, steps=30):
    envs = HostEnvs(env, num_envs)
    envs.start(np.array(seeds, np.uint32))
    rows = []
    for _ in range(steps):
        happened = envs.step(actions, np.ones(num_envs, bool))
        envs.restart(happened.done)
        rows.append((happened, envs.obs))
    envs.close()
    return rows


def test_steps_are_those_of_gymnasium_itself():
    """CartPole, whose episodes under one action are short, and reset by themselves."""
    env = pg.host_env("gymnasium:CartPole-v1", time_limit=9)
    assert (env.name, env.max_steps) == ("gymnasium:CartPole-v1", 9)
    assert env.action_space == pg.Discrete(2)
    action = np.array([0, 1, 1], np.int32)
    rows = play(env, actions=action)
    for i, seed in enumerate((1, 2, 3)):
        own = gymnasium.make("CartPole-v1", max_episode_steps=9)
        own.reset(seed=seed)
        for happened, after in rows:
            obs, reward, terminated, truncated, _ = own.step(int(action[i]))
            np.testing.assert_array_equal(happened.next_obs[i], obs)
            assert happened.reward[i] == reward
            assert happened.terminated[i] == terminated
            assert happened.truncated[i] == truncated
            if terminated or truncated:
                obs, _ = own.reset()
            np.testing.assert_array_equal(after[i], obs)
    assert sum(happened.done.sum() for happened, _ in rows) > 6


def test_the_same_seed_gives_the_same_curve_twice():
    env = pg.host_env("gymnasium:CartPole-v1")
    algorithm = pg.ppo(pg.actor_critic(env, (4,)), optax.adam(0.01), num_epochs=1)
    curves = [
        pg.train(jax.random.key(3), pg.unroll(env, 2, 32), algorithm, num_updates=2)[1]
        for _ in range(2)
    ]
    jax.tree.map(np.testing.assert_array_equal, *curves)
    assert curves[0]["episodes"].sum() > 0


def test_actions_are_clipped_to_their_space_and_their_log_prob_is_not():
    env = pg.host_env("gymnasium:Pendulum-v1")
    assert env.action_space.shape == (1,)
    far, bound = np.full((1, 1), 99, np.float32), np.full((1, 1), 2, np.float32)
    one, other = (
        play(env, num_envs=1, seeds=(4,), actions=x, steps=3) for x in (far, bound)
    )
    for (happened, _), (same, _) in zip(one, other, strict=True):
        np.testing.assert_array_equal(happened.next_obs, same.next_obs)
        np.testing.assert_array_equal(happened.reward, same.reward)


@pytest.mark.parametrize(
    ("space", "number", "action", "own"),
    [
        (spaces.Discrete(3, start=-1), 3, 2, 1),
        (spaces.MultiDiscrete([2, 3]), 6, 5, [1, 2]),
        (spaces.MultiDiscrete([[2, 2]], start=[[0, 4]]), 4, 3, [[1, 5]]),
        (spaces.MultiBinary(3), 8, 5, [1, 0, 1]),
    ],
)
def test_choices_are_one_choice_among_all(space, number, action, own):
    made = []

    def make():
        made.append(Corridor(actions=space))
        return made[-1]

    env = pg.host_env(make, time_limit=5)
    assert env.action_space == pg.Discrete(number)
    play(env, num_envs=1, seeds=(0,), actions=np.array([action], np.int32), steps=1)
    given = made[-1].given[0]
    np.testing.assert_array_equal(given, own)
    assert space.contains(given) or space.contains(np.int64(given))


def test_a_dict_is_one_vector():
    space = spaces.Dict(flag=spaces.Discrete(2), place=spaces.Box(0.0, 10.0, (1,)))
    env = corridor(observations=space)
    assert env.observation_space.shape == env.obs.shape == (3,)
    (happened, _), *_ = play(env, actions=np.zeros(3, np.int32), steps=1)
    np.testing.assert_array_equal(happened.next_obs[:, :2], [[0, 1]] * 3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"observations": spaces.Sequence(spaces.Discrete(2))}, "no vector"),
        ({"actions": spaces.Text(3)}, "has actions of Text"),
        ({"actions": spaces.MultiBinary(20)}, "1,048,576 combinations of actions"),
    ],
)
def test_spaces_that_cannot_be_served_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        corridor(**options)


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: pg.host_env("gymnasium:CartPol-v1"), ValueError, "did you mean gymn"),
        (lambda: pg.host_env("gymnasium:CartPole-v1", g=1), TypeError, "argument 'g'"),
        (lambda: pg.host_env(Corridor), ValueError, "Corridor has no time limit"),
        (lambda: pg.host_env(Corridor()), TypeError, "give pg.host_env its class"),
        (lambda: pg.host_env("CartPole-v1"), TypeError, "CartPole-v1 is a JAX program"),
        (lambda: pg.host_env(jax_walk()), TypeError, r"pg.make_env\(...\) makes it"),
        (
            lambda: pg.make_env("gymnasium:CartPole-v1"),
            TypeError,
            r"lives on the host, and is no JAX program: pg.host_env\(...\)",
        ),
        (
            lambda: pg.host_env("gymnasium:CartPole-v1", time_limit=0),
            ValueError,
            "time_limit must be at least 1",
        ),
        (
            lambda: pg.host_env("gymnasium:CartPole-v1", time_limit_terminates=True),
            ValueError,
            "where a time limit truncates",
        ),
    ],
)
def test_what_cannot_be_made_is_told_in_a_sentence(make, error, told):
    with pytest.raises(error, match=told) as found:
        make()
    assert "\n" not in str(found.value)


def test_a_host_env_or_a_function_that_returns_one_is_taken():
    assert pg.host_env(host_walk()).max_steps == 6
    assert pg.host_env(host_walk, time_limit=3).max_steps == 3
    assert pg.host_env("host_walk:host_walk").name == "host walk"


def test_a_time_limit_is_kept_whatever_the_environment_says():
    rows = play(corridor(), actions=np.zeros(3, np.int32), steps=11)
    ends = [i for i, (happened, _) in enumerate(rows) if happened.truncated.all()]
    assert ends == [4, 9]


def test_names_are_those_of_gymnasium():
    assert {"CartPole-v1", "Pendulum-v1"} <= set(gymnasium_envs.names())


def test_the_contract_finds_nothing_wrong_with_what_is_right():
    assert pg.check_env(pg.host_env("gymnasium:CartPole-v1"), num_envs=3) == []
    assert pg.check_env(host_walk(), num_envs=3) == []
    assert steps_per_second_on_host(host_walk(), 2, seconds=0.1) > 10


class Silent(Walks):
    def step(self, which, action):
        raise HostEnvError("host walk: out of order")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (lambda: corridor(noise=0.1), "the same seeds and actions give something else"),
        (lambda: corridor(scale=5.0), "is outside env.observation_space, whose high"),
        (lambda: corridor(scale=np.nan), "an observation is not finite"),
        (lambda: corridor(scale=np.nan), "a reward is not finite"),
        (lambda: host_walk(Silent), "host walk: out of order"),
        (lambda: host_walk()._replace(action_space=3), "action_space must be"),
    ],
)
def test_the_contract_names_what_is_wrong(env, told):
    assert any(told in line for line in pg.check_env(env(), num_envs=3, seconds=5.0))
