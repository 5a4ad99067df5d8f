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
    start_key = jax.random.split(key, (env.max_steps + 1, 2))[0, 0]
    start = env.reset(start_key, num_episodes)[0][:, 0]
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
    start_keys = jax.random.split(jax.random.split(key, (61, 2))[0, 0], 3)
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
