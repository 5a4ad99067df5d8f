import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest

import pgjax as pg


def leaning(params, obs):
    """Action 1 with log-odds `params`, in every state."""
    logits = params * jnp.array([0.0, 1.0])
    return pg.Categorical(jnp.broadcast_to(logits, (*obs.shape[:-1], 2)))


@pytest.fixture(scope="module")
def play():
    """Evaluates on the countdown: action 1 in step t pays t + 1, action 0 nothing."""
    env = pg.make_env("Countdown-probe")

    def play(key, params, greedy, num_episodes=2000):
        return pg.evaluate(
            key, env, leaning, params, num_episodes=num_episodes, greedy=greedy
        )

    return jax.jit(play, static_argnums=(2, 3))


def countdown_lengths(key, num_episodes):
    env = pg.make_env("Countdown-probe")
    start = env.reset(jax.random.fold_in(key, 0), num_episodes)[0][:, 0]
    return np.minimum(probes.countdown_steps(start), env.max_steps)


def test_a_known_policy_gets_exactly_its_known_return(play):
    key = jax.random.key(0)
    returns, lengths = play(key, 0.1, True)
    want = countdown_lengths(key, 2000)
    assert set(want) == {1, 2, 3, 4}
    np.testing.assert_array_equal(lengths, want)
    np.testing.assert_array_equal(returns, want * (want + 1) / 2)
    assert returns.shape == lengths.shape == (2000,)
    assert lengths.dtype == jnp.int32
    worst, _ = play(key, -0.1, True)
    np.testing.assert_array_equal(worst, np.zeros(2000))


def test_each_environment_plays_one_complete_episode(play):
    # 40% of the starts run to the limit of 4; episodes that a fast environment plays
    # again, or slow ones that are dropped, would change the shares.
    _, lengths = play(jax.random.key(1), 0.1, True)
    shares = np.bincount(lengths, minlength=5)[1:] / 2000
    want = np.array([0.2, 0.2, 0.2, 0.4])
    assert np.abs((shares - want) / np.sqrt(want * (1 - want) / 2000)).max() < 5


def test_sampled_actions_follow_the_policy(play):
    returns, lengths = map(np.asarray, play(jax.random.key(2), 0.1, False))
    prob = 1 / (1 + np.exp(-0.1))
    # Given an episode's length L, its mean return is p L (L + 1) / 2, and its variance
    # p (1 - p) sum t^2, as the actions are independent.
    mean = prob * lengths * (lengths + 1) / 2
    squares = lengths * (lengths + 1) * (2 * lengths + 1) / 6
    variance = prob * (1 - prob) * squares.sum()
    assert abs((returns - mean).sum() / np.sqrt(variance)) < 5
    # Independent ones: squared deviations have that variance, too.
    z = (returns - mean) / np.sqrt(prob * (1 - prob) * squares)
    assert abs(np.square(z).mean() - 1) < 5 * np.square(z).std() / np.sqrt(2000)


def test_greedy_ignores_the_noise_and_sampling_does_not(play):
    one, other = jax.random.split(jax.random.key(3))
    greedy = [play(key, 0.1, True) for key in (one, other)]
    sampled = [play(key, 0.1, False) for key in (one, other)]
    for returns, lengths in greedy:
        np.testing.assert_array_equal(returns, lengths * (lengths + 1) / 2)
    for returns, lengths in sampled:
        assert np.any(returns != lengths * (lengths + 1) / 2)


def test_agents_in_a_vmap_are_evaluated_as_if_alone(play):
    keys, params = jax.random.split(jax.random.key(4), 3), jnp.array([-1.0, 0.0, 1.0])
    together = jax.vmap(lambda key, params: play(key, params, False, 2))(keys, params)
    for agent in range(3):
        alone = play(keys[agent], params[agent], False, 2)
        for got, want in zip(together, alone, strict=True):
            np.testing.assert_array_equal(got[agent], want)


def test_agrees_with_gymnax_stepped_in_python():
    weights = jnp.array([0.0, 0.0, 1.0, 0.0])

    def policy(params, obs):
        return pg.Categorical(jnp.stack([-obs @ params, obs @ params], axis=-1))

    env = pg.make_env("CartPole-v1", time_limit=60)
    key = jax.random.key(5)
    run = jax.jit(lambda key: pg.evaluate(key, env, policy, weights, num_episodes=3))
    returns, lengths = run(key)

    original, params = gymnax.make("CartPole-v1")
    params = params.replace(max_steps_in_episode=60)
    start_keys = jax.random.split(jax.random.fold_in(key, 0), 3)
    for episode, start_key in enumerate(start_keys):
        obs, state = original.reset(start_key, params)
        total, steps, done = 0.0, 0, False
        while not done:
            action = int(np.asarray(obs) @ np.asarray(weights) > 0)
            # CartPole's dynamics draw nothing: any key will do.
            obs, state, reward, terminated, truncated, _ = original.step(
                key, state, action, params
            )
            done = bool(terminated | truncated)
            total, steps = total + float(reward), steps + 1
        assert (total, steps) == (returns[episode], lengths[episode])
    assert len(set(np.asarray(lengths))) > 1  # not all at the limit


def test_fewer_than_one_episode_is_an_error():
    env = pg.make_env("Countdown-probe")
    with pytest.raises(ValueError, match="num_episodes must be at least 1, got 0"):
        pg.evaluate(jax.random.key(0), env, leaning, 0.0, num_episodes=0)


def endless(max_steps, ends=None):
    """Pays 1 for ever, and never says that it is over; or at the step `ends`."""

    def reset(key, num):
        del key
        return jnp.zeros((num, 1)), jnp.zeros(num, jnp.int32)

    def step(key, state, action):
        del key
        over = jnp.zeros(len(action), bool) if ends is None else state + 1 >= ends
        ones = jnp.ones(len(action), jnp.float32)
        return jnp.ones((len(action), 1)), state + 1, ones, over, jnp.zeros_like(over)

    return pg.Env(
        "endless", reset, step, pg.Box(0.0, 1.0, (1,)), pg.Discrete(2), max_steps
    )


@pytest.mark.parametrize("greedy", [True, False, jnp.array(True)])
@pytest.mark.parametrize(
    ("limit", "ends", "length"), [(5, None, 5), (1, None, 1), (5, 9, 5), (5, 3, 3)]
)
def test_the_time_limit_ends_what_does_not_end(limit, ends, length, greedy):
    returns, lengths = pg.evaluate(
        jax.random.key(0),
        endless(limit, ends),
        leaning,
        0.0,
        num_episodes=2,
        greedy=greedy,
    )
    np.testing.assert_array_equal(lengths, [length, length])
    np.testing.assert_array_equal(returns, [length, length])


def test_a_time_limit_costs_no_memory():
    # Keys for all of these steps would be 16 GiB each.
    env = endless(2**31 - 1, ends=3)
    play = jax.jit(lambda key: pg.evaluate(key, env, leaning, 0.0, num_episodes=2))
    memory = play.lower(jax.random.key(0)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**20
    np.testing.assert_array_equal(play(jax.random.key(0))[1], [3, 3])


def test_every_step_has_keys_of_its_own():
    env = pg.make_env("Noise-probe", time_limit=50)

    def policy(params, obs):  # observes the noise of the last step
        del params
        return pg.Categorical(jnp.zeros((*obs.shape[:-1], 2)))

    seen = []

    def step(key, state, action):
        result = env.step(key, state, action)
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), result[2])
        return result

    watched = env._replace(step=step)
    returns, _ = pg.evaluate(
        jax.random.key(3), watched, policy, None, num_episodes=4, greedy=False
    )
    jax.effects_barrier()
    assert len(seen) == 50
    assert len(np.unique(seen)) == 200
    np.testing.assert_allclose(returns, np.sum(seen, axis=0), rtol=1e-6)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("promotion", ["standard", "strict"])
def test_types_stay_under_other_settings(x64, promotion):
    with jax.enable_x64(x64), jax.numpy_dtype_promotion(promotion):
        env = endless(5)
        for greedy in (True, False):
            returns, lengths = pg.evaluate(
                jax.random.key(0), env, constant, (), num_episodes=2, greedy=greedy
            )
            assert (returns.dtype, lengths.dtype) == (jnp.float32, jnp.int32)
            np.testing.assert_array_equal(returns, [5, 5])


def constant(params, obs):
    del params
    return pg.Categorical(jnp.zeros((*obs.shape[:-1], 2)))


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"num_episodes": 1.5}, TypeError, "num_episodes must be an integer, got 1.5"),
        ({"num_episodes": True}, TypeError, "num_episodes must be an integer"),
        ({"key": 0}, TypeError, "key must be a typed key"),
        ({"env": "CartPole-v1"}, TypeError, "env must be of type Env"),
        ({"policy": None}, TypeError, "policy must be of type Callable"),
    ],
)
def test_arguments_of_a_wrong_kind_are_told(options, kind, says):
    given = {"key": jax.random.key(0), "env": endless(5), "policy": leaning}
    with pytest.raises(kind, match=says):
        pg.evaluate(**(given | {"params": 0.0} | options))
