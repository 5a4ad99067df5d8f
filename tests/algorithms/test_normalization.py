from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg
from pgjax._internal.counters import as_float

KEY = jax.random.key(0)
NUM_STEPS, NUM_ENVS = 5, 3


def samples(seed, num_steps=NUM_STEPS, shape=(2,), mean=3.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 2.0, size=(num_steps, NUM_ENVS, *shape)).astype(np.float32)
    return x, (rng.random((num_steps, NUM_ENVS)) < 0.6).astype(np.float32)


def kept(pieces):
    """(samples that count, ...) in float64."""
    return np.concatenate([np.float64(x)[weight > 0] for x, weight in pieces])


def assert_moments(moments, data, rtol=1e-5):
    assert as_float(moments.num_samples) == len(data)
    np.testing.assert_allclose(moments.mean, data.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(moments.variance, data.var(axis=0), rtol=rtol)


OBSERVATIONS = {
    "bytes": (np.uint8, 7, 3),
    "counts": (np.int32, 1000, 50),
    "halves": (np.float16, 5.0, 2.0),
    "flags": (bool, 0.4, 0.5),
    "an offset": (np.float32, 1000.0, 0.002),
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_observations_of_any_type_come_out_alike(kind):
    dtype, mean, std = OBSERVATIONS[kind]
    rng = np.random.default_rng(0)
    obs = rng.normal(mean, std, size=(NUM_STEPS, NUM_ENVS, 2))
    obs = (obs > 0.4 if dtype is bool else obs).astype(dtype)
    weight = np.ones((NUM_STEPS, NUM_ENVS), np.float32)
    batch = transitions(0)._replace(obs=obs, next_obs=obs, weight=weight)
    algorithm = pg.normalize_observations(recorder())
    learner = algorithm.init(KEY, jnp.zeros((NUM_ENVS, 2), dtype))
    learner, _ = compiled_update(algorithm)(learner, batch)
    seen = algorithm.policy(learner.params, jnp.asarray(obs[0])).obs
    assert seen.dtype == jnp.float32
    data = np.float64(obs).reshape(-1, 2)
    np.testing.assert_allclose(seen, normalized(np.float64(obs[0]), data), atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 9.81, -12345.678, 1e-6, 1e30])
@pytest.mark.parametrize("noise", [0, 1])  # units in the last place
def test_a_constant_is_zero_and_its_rounding_is_not_magnified(value, noise):
    obs = np.full((NUM_STEPS, NUM_ENVS, 2), value, np.float32)
    if noise:
        obs[::2] = np.nextafter(np.float32(value), np.float32(np.inf))
    batch = transitions(0)._replace(obs=obs, next_obs=obs)
    algorithm = pg.normalize_observations(recorder())
    learner, _ = compiled_update(algorithm)(start(algorithm), batch)
    seen = np.asarray(algorithm.policy(learner.params, jnp.asarray(obs[0])).obs)
    if noise and abs(value) < 1e30:
        assert np.all(np.abs(seen) <= 1e-3)
    elif not noise:
        np.testing.assert_array_equal(seen, 0.0)


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
@pytest.mark.parametrize("filling", [np.nan, np.inf, -1e30])
def test_padding_may_hold_anything(wrap, filling):
    algorithm = wrap(recorder())
    batch = transitions(0)
    padding = batch.weight == 0
    spoilt = batch._replace(
        obs=np.where(padding[..., None], np.float32(filling), batch.obs),
        reward=np.where(padding, np.float32(filling), batch.reward),
    )
    got, want = (
        compiled_update(algorithm)(start(algorithm), x)[0] for x in (spoilt, batch)
    )
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
def test_twice_is_once_too_often(wrap):
    (other,) = {pg.normalize_observations, pg.scale_rewards} - {wrap}
    for inner in (wrap(recorder()), other(wrap(recorder()))):
        with pytest.raises(TypeError, match="twice"):
            start(wrap(inner))


class Seen(NamedTuple):
    """A "distribution" whose samples are the observations that the policy was given."""

    obs: jax.Array

    def sample(self, key):
        return self.obs

    def log_prob(self, action):
        return jnp.zeros(len(action))


def recorder(complete_episodes=False):
    """An algorithm that learns nothing and reports the batch it was given."""

    def update(key, learner, batch):
        count = learner.opt_state + 1
        return pg.Learner(learner.params + 1.0, count), {"batch": batch}

    return pg.Algorithm(
        init=lambda key, obs: pg.Learner(jnp.float32(0.0), jnp.int32(0)),
        update=update,
        policy=lambda params, obs: Seen(obs),
        complete_episodes=complete_episodes,
    )


def transitions(seed, mean=3.0):
    """A batch of which the observations, rewards, flags and weights are random."""
    obs, weight = samples((seed, 0), mean=mean)
    next_obs, _ = samples((seed, 1), mean=mean)
    reward, _ = samples((seed, 2), shape=(), mean=0.5 * mean)
    rng = np.random.default_rng((seed, 3))
    terminated, truncated = rng.random((2, NUM_STEPS, NUM_ENVS)) < 0.2
    zeros = np.zeros_like(reward)
    return pg.Transition(
        obs, zeros, zeros, reward, terminated, truncated, next_obs, weight
    )


def compiled_update(algorithm):
    return jax.jit(lambda learner, batch: algorithm.update(KEY, learner, batch))


def start(algorithm):
    return algorithm.init(KEY, jnp.zeros((NUM_ENVS, 2)))


def normalized(obs, data, clip=10.0):
    """(obs - mean) / deviation of the data, in float64."""
    return ((obs - data.mean(axis=0)) / data.std(axis=0)).clip(-clip, clip)


def test_observations_are_normalized_by_those_of_all_earlier_batches():
    algorithm = pg.normalize_observations(recorder(), clip=1.5)
    update, learner = compiled_update(algorithm), start(algorithm)
    batches = [transitions(seed) for seed in range(3)]
    for i, batch in enumerate(batches):
        before = learner
        learner, metrics = update(learner, batch)
        seen = metrics["batch"]
        if i == 0:  # as they come, within the bound
            np.testing.assert_array_equal(seen.obs, batch.obs.clip(-1.5, 1.5))
            np.testing.assert_array_equal(seen.next_obs, batch.next_obs.clip(-1.5, 1.5))
        else:
            data = kept([(earlier.obs, earlier.weight) for earlier in batches[:i]])
            for name in ("obs", "next_obs"):
                want = normalized(getattr(batch, name), data, clip=1.5)
                got = getattr(seen, name)
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
                assert np.any(np.abs(got) == 1.5)
        acted = algorithm.policy(before.params, batch.obs[0]).obs
        np.testing.assert_allclose(acted, seen.obs[0], rtol=1e-6, atol=1e-6)
        # The rest is passed on, and the algorithm inside goes on by itself.
        for name in ("reward", "terminated", "truncated", "weight", "log_prob"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(batch, name))
    assert (learner.params.params, learner.inner.opt_state) == (3.0, 3)
    everything = kept([(batch.obs, batch.weight) for batch in batches])
    assert_moments(learner.params.moments, everything)


def test_policy_and_update_see_the_same_numbers_after_a_rollout():
    algorithm = pg.normalize_observations(recorder())
    actions = pg.Box(-np.inf, np.inf, (1,))  # the recorder's are what it observes
    env = pg.make_env("Noise-probe")._replace(action_space=actions)
    rollout = pg.unroll(env, NUM_ENVS, NUM_STEPS)

    @jax.jit
    def step(key, state):
        envs, batch, _ = rollout.collect(
            key, algorithm.policy, state.learner.params, state.rollout_state
        )
        learner, metrics = algorithm.update(key, state.learner, batch)
        return state._replace(learner=learner, rollout_state=envs), metrics

    state = pg.init_train_state(KEY, rollout, algorithm)
    for i in range(3):
        moments = state.learner.params.moments
        mean, variance = np.float64(moments.mean), np.float64(moments.variance)
        state, metrics = step(jax.random.key(i), state)
        batch = metrics["batch"]
        np.testing.assert_allclose(batch.action, batch.obs, rtol=1e-6, atol=1e-6)
        # Noise pays what it observes next, so that rewards are raw observations.
        raw = np.float64(batch.reward)[..., None]
        want = raw if i == 0 else (raw - mean) / np.sqrt(variance)
        np.testing.assert_allclose(batch.next_obs, want, rtol=1e-4, atol=1e-5)
        assert np.any(batch.obs < 0) == (i > 0)  # raw ones are uniform in [0, 1)
    seen = as_float(state.learner.params.moments.num_samples)
    assert seen == 3 * NUM_STEPS * NUM_ENVS


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
def test_agents_never_mix_their_statistics(wrap):
    algorithm = wrap(recorder())
    update, learner = compiled_update(algorithm), start(algorithm)
    batches = [
        [transitions(2 * i, -50.0), transitions(2 * i + 1, 200.0)] for i in range(2)
    ]
    agents = jax.tree.map(lambda x: jnp.stack([x, x]), learner)
    alone = [learner, learner]
    for pair in batches:
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *pair)
        agents, together = jax.vmap(update)(agents, stacked)
        for i, batch in enumerate(pair):
            alone[i], want = update(alone[i], batch)
            got = jax.tree.map(lambda x, i=i: x[i], (agents, together))
            jax.tree.map(close, got, (alone[i], want))


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def expected_running_returns(running, batch, gamma):
    """R_t = gamma (1 - done_{t-1}) R_{t-1} + r_t, environment by environment.

    Padding, of weight 0, belongs to no episode: what follows it starts anew.
    """
    result = np.zeros(batch.reward.shape)
    running = list(running)
    for t, i in np.ndindex(*batch.reward.shape):
        running[i] = gamma * running[i] + float(batch.reward[t, i])
        result[t, i] = running[i]
        done = batch.terminated[t, i] or batch.truncated[t, i]
        if done or batch.weight[t, i] == 0.0:
            running[i] = 0.0
    return result, running


def expected_divisor(returns):
    """max(std, max(1, largest) min(1, 10 / k)^2), k = samples (std / largest)^2."""
    std, largest = returns.std(), np.abs(returns).max()
    differing = len(returns) * (std / largest) ** 2
    unknown = min(1.0, 10.0 / differing) ** 2 if differing > 0 else 1.0
    return max(std, max(1.0, largest) * unknown)


@pytest.mark.parametrize("clip", [10.0, 0.5])
def test_rewards_are_divided_by_the_deviation_of_the_running_return(clip):
    gamma = 0.8
    algorithm = pg.scale_rewards(recorder(), gamma=gamma, clip=clip)
    update, learner = compiled_update(algorithm), start(algorithm)
    running, pieces = np.zeros(NUM_ENVS), []
    batches = [transitions(seed) for seed in range(3)]
    for name in ("terminated", "truncated"):
        assert np.any([getattr(batch, name)[:-1] for batch in batches])
    for batch in batches:
        learner, metrics = update(learner, batch)
        returns, running = expected_running_returns(running, batch, gamma)
        pieces.append((returns, batch.weight))
        scaled = np.float64(batch.reward) / expected_divisor(kept(pieces))
        seen = metrics["batch"]
        want = scaled.clip(-clip, clip)
        want = np.where(batch.weight > 0, want, 0.0)
        np.testing.assert_allclose(seen.reward, want, rtol=1e-5)
        np.testing.assert_allclose(learner.running_return, running, rtol=1e-5)
        np.testing.assert_array_equal(seen.obs, batch.obs)
        np.testing.assert_array_equal(seen.next_obs, batch.next_obs)
    assert np.any(running)  # an episode goes on across batches
    assert_moments(learner.moments, kept(pieces))
    assert (learner.params, learner.inner.opt_state) == (3.0, 3)


def rewarded(algorithm, rewards, *, num_envs=NUM_ENVS, ends=False):
    """What the learner sees of each row of equal rewards, one row for each update."""
    update, seen = compiled_update(algorithm), []
    learner = algorithm.init(KEY, jnp.zeros((num_envs, 2)))
    flags = np.full((1, num_envs), ends)
    for reward in rewards:
        row = np.broadcast_to(np.float32(reward), (1, num_envs))
        zeros, obs = np.zeros_like(row), np.zeros((1, num_envs, 2), np.float32)
        batch = pg.Transition(
            obs, zeros, zeros, row, flags, flags & False, obs, zeros + 1.0
        )
        learner, metrics = update(learner, batch)
        seen.append(np.asarray(metrics["batch"].reward))
    return np.stack(seen), learner


# Rewards, row by row; whether each row is an episode.
UNKNOWN = {
    "a constant": (np.ones(40), False),
    "episodes of one step": (np.ones(40), True),
    "hardly a constant": (1.0 + 1e-6 * np.arange(40), True),
    "a large constant": (np.full(40, 1e4), True),
    "a small constant": (np.full(40, 1e-4), True),
    "costs": (-np.ones(40), False),
    "nothing, then a goal": (np.eye(40)[30], True),
    "nothing": (np.zeros(40), False),
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_a_deviation_that_is_not_known_yet_magnifies_nothing(case, num_envs):
    rewards, ends = UNKNOWN[case]
    algorithm = pg.scale_rewards(recorder())
    seen, _ = rewarded(algorithm, rewards, num_envs=num_envs, ends=ends)
    assert np.all(np.abs(seen) <= np.abs(rewards[:, None, None]))
    assert np.all(np.abs(seen) <= 1.0)
    np.testing.assert_array_equal(np.sign(seen[:, 0, 0]), np.sign(rewards))


@pytest.mark.parametrize("size", [0.1, 1.0, 1e4])
def test_a_deviation_that_is_known_is_what_rewards_are_divided_by(size):
    rewards = size * np.random.default_rng(0).normal(size=(2000, 1))
    algorithm = pg.scale_rewards(recorder(), gamma=0.0)
    seen, learner = rewarded(algorithm, rewards, num_envs=1)
    std = rewards.std()
    np.testing.assert_allclose(learner.moments.variance, std**2, rtol=1e-4)
    np.testing.assert_allclose(seen[-1, 0], rewards[-1] / std, rtol=1e-3)


def test_rewards_of_zero_stay_zero():
    algorithm = pg.scale_rewards(recorder())
    batch = transitions(0)._replace(reward=np.zeros((NUM_STEPS, NUM_ENVS), np.float32))
    learner, metrics = compiled_update(algorithm)(start(algorithm), batch)
    np.testing.assert_array_equal(metrics["batch"].reward, batch.reward)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(learner))


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
@pytest.mark.parametrize("complete_episodes", [False, True])
def test_the_need_for_complete_episodes_is_passed_on(wrap, complete_episodes):
    assert wrap(recorder(complete_episodes)).complete_episodes == complete_episodes


def both(algorithm):
    return pg.normalize_observations(pg.scale_rewards(algorithm))


def both_the_other_way(algorithm):
    return pg.scale_rewards(pg.normalize_observations(algorithm))


@pytest.fixture(scope="module")
def trained():
    """Two chunks of three updates each, of the wrappers in both orders."""
    network = probes.linear_network(critic=True)
    rollout = pg.unroll(pg.make_env("Countdown-probe"), NUM_ENVS, NUM_STEPS)

    def run(wrap):
        algorithm = wrap(pg.a2c(network, optax.sgd(0.1)))
        state, metrics = pg.train(KEY, rollout, algorithm, num_updates=3)
        # A state that was taken apart, as a file does, and put together again.
        leaves, treedef = jax.tree.flatten(state)
        again = jax.tree.unflatten(treedef, leaves)
        return metrics, state, pg.train_steps(again, rollout, algorithm, num_updates=3)

    return {
        wrap: jax.jit(lambda w=wrap: run(w))() for wrap in (both, both_the_other_way)
    }


@pytest.mark.parametrize("wrap", [both, both_the_other_way])
def test_the_wrappers_compose_around_an_algorithm_that_trains(trained, wrap):
    metrics, state, (later, _) = trained[wrap]
    params = state.learner.params.params
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((params, later.learner)))
    assert all(np.any(x != 0) for x in jax.tree.leaves(params))  # zeros at first
    for name in ("policy_loss", "value_loss", "entropy", "gradient_norm"):
        assert np.isfinite(metrics[name]).all()
    for num_updates, learner in ((3, state.learner), (6, later.learner)):
        for moments in (learner.moments, learner.inner.moments):
            seen = as_float(moments.num_samples)
            assert seen == num_updates * NUM_STEPS * NUM_ENVS


def test_the_order_of_the_wrappers_makes_no_difference(trained):
    one, other = (
        trained[wrap][1].learner.params for wrap in (both, both_the_other_way)
    )
    jax.tree.map(close, one, other)
    assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
def test_a_learner_keeps_its_structure_shapes_and_types(wrap):
    algorithm = wrap(recorder())
    learner = start(algorithm)
    after, _ = compiled_update(algorithm)(learner, transitions(0))
    assert jax.tree.structure(after) == jax.tree.structure(learner)
    leaves = zip(*map(jax.tree.leaves, (learner, after)), strict=True)
    for old, new in leaves:
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    rebuilt = jax.tree.unflatten(jax.tree.structure(after), jax.tree.leaves(after))
    assert type(rebuilt) is type(learner)
    jax.tree.map(np.testing.assert_array_equal, rebuilt, after)


def test_complete_episodes_start_from_a_running_return_of_zero():
    env = pg.make_env("Countdown-probe")
    network = probes.linear_network()
    algorithm = pg.scale_rewards(pg.reinforce(network, optax.sgd(0.1)))
    rollout = pg.episodes(env, 16)
    state, _ = jax.jit(lambda key: pg.train(key, rollout, algorithm, num_updates=2))(
        jax.random.key(0)
    )
    assert np.all(state.learner.running_return == 0.0)


def test_one_integer_is_a_choice_and_nothing_to_normalize():
    """Networks make it one-hot, and cannot do that with what was normalized."""
    env = pg.Env("cells", None, None, pg.Discrete(16), pg.Discrete(2), 4)
    algorithm = pg.normalize_observations(
        pg.ppo(pg.actor_critic(env, (4,)), optax.adam(0.01))
    )
    for dtype in (jnp.int32, jnp.uint8):
        with pytest.raises(ValueError, match="choices become one-hot as they are"):
            algorithm.init(jax.random.key(0), jnp.zeros(3, dtype))


def test_one_float_or_several_integers_alone_are_normalized():
    for obs in (jnp.zeros(3), jnp.zeros((3, 2), jnp.int32)):
        space = pg.Box(-9.0, 9.0, obs.shape[1:])
        env = pg.Env("numbers", None, None, space, pg.Discrete(2), 4)
        algorithm = pg.ppo(pg.actor_critic(env, (4,)), optax.adam(0.01))
        normalized = pg.normalize_observations(algorithm)
        state = normalized.init(jax.random.key(0), obs)
        assert state.moments.mean.shape == obs.shape[1:]
