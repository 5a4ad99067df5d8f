import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest
from flax import struct
from gymnax.environments import spaces

import pgjax as pg
from pgjax.envs import gymnax_envs as envs


def play(env, num_envs, num_steps, action=None):
    """Steps without any reset; a list of (obs, next_obs, reward, ended, cut)."""
    step, reset = jax.jit(env.step), jax.jit(env.reset, static_argnums=1)
    obs, state = reset(jax.random.key(0), num_envs)
    action = np.zeros(num_envs, np.int32) if action is None else action
    rows = []
    for key in jax.random.split(jax.random.key(1), num_steps):
        next_obs, state, *row = step(key, state, action)
        rows.append((obs, next_obs, *row))
        obs = next_obs
    return [np.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_batched_steps_equal_those_of_gymnax(name):
    env = pg.make_env(name, time_limit=30)
    original, params = gymnax.make(name)
    params = params.replace(max_steps_in_episode=30)
    sample = original.action_space(params).sample
    _, state = env.reset(jax.random.key(0), 6)

    @jax.jit
    def both(key, state):
        keys = jax.random.split(key, 6)
        action = jax.vmap(sample)(keys)
        if name == "Pendulum-v1":
            action = 2 * action  # beyond the bounds: gymnax clips by itself
        steps = jax.vmap(original.step, in_axes=(0, 0, 0, None))
        _, after, *outcome, info = steps(keys, state, action, params)
        expected = info["final_observation"], after, *outcome
        return env.step(key, state, action), expected

    for key in jax.random.split(jax.random.key(1), 40):
        got, expected = both(key, state)
        done = np.asarray(got[3] | got[4])
        for index in (0, 2, 3, 4):
            assert_near(got[index], expected[index])
        for field in state.__dict__:
            after, want = (np.asarray(getattr(x[1], field)) for x in (got, expected))
            assert_near(after[~done], want[~done])
        state = got[1]
    assert got[4].all()  # the loop did pass the time limit
    assert name != "CartPole-v1" or got[3].any()  # and met terminal states


def assert_near(got, want):
    # The same float32 operations on the same numbers, perhaps fused differently.
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def assert_equal(got, want):
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("limit_terminates", [False, True])
def test_flags_and_time_limit(limit_terminates):
    env = pg.make_env("Countdown-probe", time_limit_terminates=limit_terminates)
    obs, _, _, terminated, truncated = play(env, 64, 4)
    steps = np.asarray(probes.countdown_steps(obs[0, :, 0]))
    time = np.arange(1, 5)[:, None]
    ended, cut = time >= steps, np.broadcast_to(time >= 4, (4, 64))
    assert (ended & cut).any()
    assert (~ended & cut).any()
    assert_equal(terminated, ended | cut if limit_terminates else ended)
    assert_equal(truncated, np.zeros_like(cut) if limit_terminates else cut)


def test_observation_at_the_end_is_the_one_before_any_reset():
    env = pg.make_env("Countdown-probe", time_limit=2)
    obs, next_obs, _, _, truncated = play(env, 5, 2)
    assert truncated[1].all()
    assert_equal(next_obs[1, :, 1], np.full(5, 2.0))  # the time, not a new start's 0
    assert_equal(next_obs[1, :, 0], obs[0, :, 0])  # and the same episode


def test_time_limit_is_overridden():
    assert pg.make_env("CartPole-v1").max_steps == 500
    env = pg.make_env("CartPole-v1", time_limit=3)
    assert env.max_steps == 3
    *_, terminated, truncated = play(env, 2, 3)
    assert_equal(truncated, [[False] * 2, [False] * 2, [True] * 2])
    assert not terminated.any()


def test_discrete_observations_become_one_hot():
    env = pg.make_env("FrozenLake-misc", is_slippery=False)
    right = np.full(3, 2)
    obs, next_obs, *_ = play(env, 3, 2, right)
    assert env.observation_space.shape == (16,)
    assert obs.dtype == np.float32
    assert_equal(obs[0], np.eye(16)[[0, 0, 0]])
    assert_equal(next_obs[:, 0], np.eye(16)[[1, 2]])


@pytest.mark.parametrize("name", ["Countdown-probe", "FrozenLake-misc"])
def test_rewards_and_observations_are_float32_and_batch_first(name):
    env = pg.make_env(name)
    obs, state = env.reset(jax.random.key(0), 3)
    action = jnp.ones(3, jnp.int32)
    next_obs, next_state, reward, *flags = jax.eval_shape(
        env.step, jax.random.key(1), state, action
    )
    assert reward.dtype == obs.dtype == next_obs.dtype == jnp.float32
    assert [flag.dtype for flag in flags] == [bool, bool]
    leaves = jax.tree.leaves((obs, state, next_obs, next_state, reward, flags))
    assert {leaf.shape[0] for leaf in leaves} == {3}


def test_state_keeps_its_types_over_a_step():
    # A scan, and a compiled function called again, need the same types each time.
    env = pg.make_env("CartPole-v1")
    _, state = env.reset(jax.random.key(0), 3)
    step = jax.eval_shape(env.step, jax.random.key(1), state, jnp.ones(3, jnp.int32))
    before, after = jax.tree.leaves(state), jax.tree.leaves(step[1])
    assert [x.dtype for x in before] == [x.dtype for x in after]
    assert not any(x.weak_type for x in before)


def test_continuous_actions_are_clipped_on_their_way_in():
    env = pg.make_env("Echo-probe")
    action = np.array([[3.0, -3.0], [0.7, 0.7], [-0.2, 0.1]], np.float32)
    _, next_obs, *_ = play(env, 3, 1, action)
    want = np.array([[1.0, -0.5], [0.7, 0.5], [-0.2, 0.1]], np.float32)
    assert_equal(next_obs[0], want)


def test_options_reach_the_environment():
    env = pg.make_env("Reacher-misc", num_joints=7)
    assert env.action_space.shape == (7,)
    with pytest.raises(TypeError, match="num_wheels"):
        pg.make_env("Reacher-misc", num_wheels=7)


def test_every_environment_has_its_own_noise():
    env = pg.make_env("Noise-probe")
    _, noise, *_ = play(env, 256, 3)
    # Of 768 draws among 2^23 numbers, two agree with probability 3.5%; seeds are fixed.
    assert len(np.unique(noise)) == 3 * 256
    # Adjacent environments are uncorrelated, too: variance of a product of two
    # centred uniforms is 1 / 144.
    centred = noise[..., 0] - 0.5
    products = centred[:, 1:] * centred[:, :-1]
    assert abs(products.mean()) < 5 / 12 / np.sqrt(products.size)


def test_names_include_registered_ones():
    assert {"CartPole-v1", "Bandit-probe"} <= set(pg.env_names())


@pytest.mark.parametrize("name", ["cartpole", "CartPole-v0", "Cart-Pole-v1"])
def test_unknown_name_suggests_the_nearest(name):
    with pytest.raises(ValueError, match=f"{name}.*did you mean CartPole-v1"):
        pg.make_env(name)


def test_name_like_no_other_lists_them_all():
    with pytest.raises(ValueError, match=r"CartPole-v1.*FrozenLake-misc"):
        pg.make_env("\N{SNOWMAN}")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"time_limit": 0}, ValueError, "time_limit must be at least 1, got 0"),
        ({"time_limit": -1}, ValueError, "time_limit must be at least 1, got -1"),
        ({"time_limit": 2**40}, ValueError, r"time_limit must be below 2\*\*31"),
        ({"time_limit": True}, TypeError, "time_limit must be an integer, got True"),
        ({"time_limit": 2.5}, TypeError, "time_limit must be an integer, got 2.5"),
        ({"time_limit": 9.0}, TypeError, "time_limit must be an integer, got 9.0"),
        ({"time_limit": "9"}, TypeError, "time_limit must be an integer, got '9'"),
        (
            {"time_limit_terminates": 1},
            TypeError,
            "time_limit_terminates must be True or False, got 1",
        ),
        ({"params": 3}, TypeError, "params must be of type Mapping, such as"),
    ],
)
def test_arguments_of_a_wrong_kind_are_told(options, kind, says):
    with pytest.raises(kind, match=says):
        pg.make_env("CartPole-v1", **options)


def test_a_time_limit_may_be_numpys_and_as_long_as_int32():
    for limit in (np.int64(7), 2**31 - 1):
        assert pg.make_env("CartPole-v1", time_limit=limit).max_steps == limit


def test_missing_time_limit_is_an_error():
    with pytest.raises(ValueError, match="need a field max_steps_in_episode"):
        pg.make_env("Timeless-probe", time_limit=2)


def test_the_arm_observes_like_gymnaxs_own():
    env = pg.make_env("Reacher-misc")
    original, params = gymnax.make("Reacher-misc")
    obs, state = env.reset(jax.random.key(0), 5)
    expected = jax.vmap(lambda state: original.get_obs(state, params))(state)
    assert_equal(obs, expected)


def test_the_arm_may_have_seven_joints():
    # gymnax 1.0.1's own observation fails for any number of joints but two.
    env = pg.make_env("Reacher-misc", num_joints=7)
    assert env.action_space.shape == (7,)
    obs, next_obs, *_ = play(env, 3, 2, np.ones((3, 7), np.float32))
    assert obs.shape == (2, 3, 23)
    assert_near(obs[..., :7] ** 2 + obs[..., 7:14] ** 2, np.ones((2, 3, 7)))
    assert_near(next_obs[..., 14:21], obs[..., 14:21] + 0.05)  # torque 1, dt 0.05


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0.0, 1.0, (3, 0)), r"of shape \(3, 0\) holds nothing"),
        (spaces.Tuple([spaces.Discrete(2)]), "no support for the space"),
    ],
)
def test_spaces_that_are_not_served_are_told(space, message):
    with pytest.raises(ValueError, match=message):
        envs._space(space)


@struct.dataclass
class Look:
    image: jax.Array
    kinds: tuple


class Looking(probes.Probe):
    """A dict of an image and a tuple, which its observation has as fields."""

    def look(self, state):
        image = jnp.full((3, 3, 1), 200, jnp.uint8)
        return Look(image, (state.time % 2, jnp.float16(state.value)))

    def observation_space(self, params):
        kinds = spaces.Tuple((spaces.Discrete(2), spaces.Box(0.0, 1.0, ())))
        image = spaces.Box(0, 255, (3, 3, 1))
        return spaces.Dict({"image": image, "kinds": kinds})


def test_spaces_of_several_parts():
    env = pg.make_env(Looking)
    assert env.observation_space == {
        "image": pg.Box(0, 255, (3, 3, 1)),
        "kinds": (pg.Discrete(2), pg.Box(0.0, 1.0, ())),
    }
    obs, next_obs, *_ = (
        jax.tree.map(lambda x: x.dtype, x)
        for x in jax.eval_shape(
            lambda key: (
                env.reset(key, 2)[0],
                env.step(key, env.reset(key, 2)[1], jnp.zeros(2, jnp.int32))[0],
            ),
            jax.random.key(0),
        )
    )
    assert obs == next_obs
    assert obs == {"image": jnp.uint8, "kinds": (jnp.int32, jnp.float32)}
    assert pg.check_env(env, num_envs=2) == []
