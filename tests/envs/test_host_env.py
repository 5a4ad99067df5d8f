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


class Sees(gymnasium.Env):
    """It shows what it is told to, from `reset` and from `step`."""

    def __init__(self, space, obs, later=None, outcome=(1.0, False, False)):
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.obs, self.outcome = obs, outcome
        self.later = obs if later is None else later

    def reset(self, *, seed=None, options=None):
        return self.obs, {}

    def step(self, action):
        return self.later, *self.outcome, {}


LOW, HIGH = np.array([0, -1], np.int64), np.array([2**40, 1], np.int64)


@pytest.mark.parametrize(
    ("space", "obs", "dtype", "seen", "encoded"),
    [
        (spaces.Box(0, 255, (1, 2), np.uint8), np.uint8([[0, 255]]), np.uint8, None, 1),
        (spaces.Box(0, 7, (2,), np.uint8), np.uint8([3, 7]), np.uint8, None, 7),
        (spaces.Box(0, 1, (2,), np.bool_), np.array([0, 1], bool), np.bool_, None, 1),
        (spaces.Box(-9, 9, (2,), np.int64), np.array([-9, 9]), np.int32, None, 9),
        (spaces.Box(LOW, HIGH, dtype=np.int64), np.array([5, 1]), np.float32, None, 5),
        (spaces.Box(-1, 1, (2,), np.float64), np.array([0.5, 1]), np.float32, None, 1),
        (spaces.Discrete(3), 2, np.int32, None, 1),
        (spaces.Discrete(3, start=5), np.int64(7), np.int32, 2, 1),
        (spaces.MultiBinary(2), np.int8([0, 1]), np.int8, None, 1),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2]), np.int8, [0, 1, 0, 0, 1], 1),
    ],
)
def test_observations_keep_their_type_and_come_to_networks_as_they_are_meant(
    space, obs, dtype, seen, encoded
):
    env = pg.host_env(lambda: Sees(space, obs), time_limit=4)
    (happened, first), *_ = play(env, actions=np.zeros(3, np.int32), steps=1)
    expected = np.broadcast_to(obs if seen is None else seen, (3, *env.obs.shape))
    for found in (happened.next_obs, first):
        assert found.dtype == env.obs.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    assert env.obs.shape == env.observation_space.shape
    found = pg.encode(env.observation_space, first)
    assert found.dtype == np.float32
    assert found.max() == encoded
    assert pg.check_env(env, num_envs=2, seconds=2.0) == []


def test_a_dict_and_a_tuple_are_trees():
    both = spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 255, (3, 3, 1), np.uint8)))
    space = spaces.Dict(place=spaces.Box(0.0, 10.0, (1,)), both=both)
    image = np.full((3, 3, 1), 51, np.uint8)
    obs = {"place": np.float32([7]), "both": (1, image)}
    env = pg.host_env(lambda: Sees(space, obs), time_limit=4)
    assert env.observation_space["both"][0] == pg.Discrete(2)
    (happened, _), *_ = play(env, actions=np.zeros(3, np.int32), steps=1)
    for x, y in zip(jax.tree.leaves(happened.next_obs), (1, image, 7), strict=True):
        np.testing.assert_array_equal(x, np.broadcast_to(y, x.shape))
    encoded = pg.encode(env.observation_space, happened.next_obs)
    expected = np.float32([0, 1, *[0.2] * 9, 7])
    np.testing.assert_allclose(encoded, np.tile(expected, (3, 1)), rtol=1e-6)
    algorithm = pg.ppo(pg.actor_critic(env, (4,)), optax.adam(0.01), num_epochs=1)
    rollout = pg.unroll(env, 2, 8)
    _, metrics = pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))


def test_blackjack_and_its_three_numbers_are_trained_on():
    env = pg.host_env("gymnasium:Blackjack-v1", time_limit=9)
    assert env.observation_space == tuple(map(pg.Discrete, (32, 11, 2)))
    assert pg.check_env(env, num_envs=2, seconds=2.0) == []


PAIR = spaces.Box(-9.0, 9.0, (2,))
FINE = np.zeros(2, np.float32)
BYTES = spaces.Box(0, 255, (2,), np.uint8)
NEST = spaces.Dict(a=PAIR, b=spaces.Discrete(3))


@pytest.mark.parametrize(
    ("space", "obs", "later", "outcome", "told"),
    [
        (
            PAIR,
            FINE[None],
            None,
            (1.0, False, False),
            r"reset .* obs of shape \(1, 2\)",
        ),
        (PAIR, FINE, FINE[None], (1.0, False, False), r"step .* obs of shape \(1, 2\)"),
        (
            PAIR,
            FINE,
            3.0,
            (1.0, False, False),
            r"obs of shape \(\), and must give floa",
        ),
        (PAIR, FINE, ["a", "b"], (1.0, False, False), r"obs that is no number, \['a'"),
        (PAIR, FINE, [[1], [1, 2]], (1.0, False, False), "obs that is no array"),
        (
            BYTES,
            np.uint8([1, 2]),
            [1, 256],
            (1.0, False, False),
            "int64, .*of uint8 of",
        ),
        (BYTES, np.uint8([1, 2]), [0.5, 1], (1.0, False, False), "float64, .*of uint8"),
        (NEST, {"a": FINE, "b": 1}, {"a": FINE, "b": 1.5}, (1.0, False, False), "'b'"),
        (NEST, {"a": FINE, "b": 1}, {"a": FINE}, (1.0, False, False), "not hold: 'b'"),
        (PAIR, FINE, None, (np.array([2.0]), False, False), r"reward of shape \(1,\)"),
        (PAIR, FINE, None, ("2", False, False), "reward that is no number, '2', and"),
        (PAIR, FINE, None, (None, False, False), "reward that is no number, None, and"),
        (PAIR, FINE, None, (1.0, "yes", False), "terminated that is no number, 'yes'"),
        (PAIR, FINE, None, (1.0, 1, False), "terminated of type int64, 1, .*True or F"),
        (
            PAIR,
            FINE,
            None,
            (1.0, False, [True]),
            r"truncated of shape \(1,\), .*True or",
        ),
    ],
)
def test_what_one_environment_gives_is_not_broadcast(space, obs, later, outcome, told):
    env = pg.host_env(lambda: Sees(space, obs, later, outcome), time_limit=4)
    with pytest.raises(HostEnvError, match=told) as found:
        play(env, actions=np.zeros(3, np.int32), steps=1)
    assert "environment 0 gave" in str(found.value)
    assert "\n" not in str(found.value)


def pendulum(**options):
    return gymnasium.make("Pendulum-v1", **options)


def test_a_time_limit_that_would_never_come_is_told():
    assert pg.host_env(pendulum).max_steps == 200
    assert pg.host_env(pendulum, time_limit=150).max_steps == 150
    told = "cuts its episodes after 200 steps by itself, before time_limit=300"
    with pytest.raises(ValueError, match=told):
        pg.host_env(pendulum, time_limit=300)
    longer = pg.host_env(pendulum, time_limit=300, max_episode_steps=300)
    assert longer.max_steps == 300
    # Without the wrapper nothing cuts them.
    assert pg.host_env(lambda: pendulum().unwrapped, time_limit=300).max_steps == 300
    assert pg.host_env("gymnasium:Pendulum-v1", time_limit=300).max_steps == 300


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
            lambda: pg.host_env(
                "gymnasium:CartPole-v1", time_limit=9, max_episode_steps=7
            ),
            ValueError,
            "time_limit=9 and max_episode_steps=7, which are the same thing",
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
