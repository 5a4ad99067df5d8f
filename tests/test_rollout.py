from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest

import pgjax as pg


def policy(params, obs):
    """Action 1 with log-odds `params`, in every state."""
    logits = jnp.stack([jnp.zeros(obs.shape[:-1]), jnp.full(obs.shape[:-1], params)])
    return pg.Categorical(jnp.moveaxis(logits, 0, -1))


def collector(rollout):
    return jax.jit(lambda key, *args: rollout.collect(key, policy, *args))


def to_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def assert_trees_equal(got, want):
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.fixture(scope="module")
def whole():
    """64 complete episodes of the countdown, and their lengths from its rules."""
    rollout = pg.episodes(pg.make_env("Countdown-probe"), 64)
    _, batch, ended = to_numpy(collector(rollout)(jax.random.key(0), 0.5, ()))
    steps = np.minimum(probes.countdown_steps(batch.obs[0, :, 0]), 4)
    assert set(steps) == {1, 2, 3, 4}
    return batch, ended, steps


def test_every_environment_plays_one_complete_episode(whole):
    batch, ended, steps = whole
    time = np.arange(4)[:, None]
    np.testing.assert_array_equal(batch.weight, (time < steps).astype(np.float32))
    np.testing.assert_array_equal(ended.finished, time == steps - 1)
    np.testing.assert_array_equal(batch.obs[0, :, 1], np.zeros(64))  # a fresh start


def test_flags_end_an_episode_where_its_weights_end(whole):
    batch, ended, _ = whole
    counts = batch.weight > 0
    done = (batch.terminated | batch.truncated) & counts
    np.testing.assert_array_equal(done, ended.finished)
    for flags in ((True, False), (False, True), (True, True)):
        here = (batch.terminated == flags[0]) & (batch.truncated == flags[1])
        assert (here & done).any()


def test_returns_and_lengths_are_those_of_the_episode(whole):
    batch, ended, steps = whole
    finished = ended.finished
    total = (batch.reward * batch.weight).sum(0)
    np.testing.assert_array_equal(ended.returns.T[finished.T], total)
    np.testing.assert_array_equal(ended.lengths.T[finished.T], steps)


def test_next_observations_are_the_following_ones_within_an_episode(whole):
    batch, _, steps = whole
    within = batch.weight[1:] > 0
    np.testing.assert_array_equal(batch.next_obs[:-1][within], batch.obs[1:][within])
    last = batch.next_obs[steps - 1, np.arange(64)]
    np.testing.assert_array_equal(last[:, 1], steps)  # not the time after a reset, 0


def test_log_probs_are_those_of_the_sampled_actions(whole):
    batch, *_ = whole
    want = policy(jnp.float32(0.5), batch.obs).log_prob(batch.action)
    np.testing.assert_allclose(batch.log_prob, want, rtol=1e-6)


@pytest.fixture(scope="module")
def pairs():
    """Two complete episodes at a time, far from their time limit of 50."""
    return collector(pg.episodes(pg.make_env("Countdown-probe", time_limit=50), 2))


def test_stepping_stops_with_the_last_episode(pairs):
    _, batch, ended = to_numpy(pairs(jax.random.key(0), 0.0, ()))
    last = int(batch.weight.sum(0).max())
    assert last <= 5
    # The record starts as zeros, and what was not stepped stays so.
    for leaf in jax.tree.leaves((batch, ended)):
        assert leaf.shape[0] == 50
        assert not np.any(leaf[last:])
    assert np.all(batch.next_obs[:last, :, 1] > 0)


def test_agent_alone_equals_the_same_agent_among_others(pairs):
    keys, params = jax.random.split(jax.random.key(3), 4), np.arange(4.0) - 1.0
    params = params.astype(np.float32)
    _, *together = to_numpy(jax.vmap(pairs, in_axes=(0, 0, None))(keys, params, ()))
    longest = together[0].weight.sum(1).max(1)
    assert len(set(longest)) > 1  # agents wait for each other, so this can fail
    for agent in range(4):
        _, *alone = to_numpy(pairs(keys[agent], params[agent], ()))
        mine = jax.tree.map(lambda x, agent=agent: x[agent], together)
        counts = alone[0].weight > 0
        np.testing.assert_array_equal(mine[0].weight, alone[0].weight)
        np.testing.assert_array_equal(mine[1].finished, alone[1].finished)
        for got, want in zip(*map(jax.tree.leaves, (mine, alone)), strict=True):
            np.testing.assert_array_equal(got[counts], want[counts])


STEPS, ENVS, POOL = 6, 33, 50


@pytest.fixture(scope="module", params=["spares", "fresh", "pooled"])
def resets(request):
    """How starts are drawn."""
    return request.param


@pytest.fixture(scope="module", params=["Countdown-probe", "Noise-probe"])
def two_rollouts(request, resets):
    env = pg.make_env(request.param)
    size = POOL if resets == "pooled" else None
    rollout = pg.unroll(env, ENVS, STEPS, resets=resets, pool_size=size)
    collect = collector(rollout)
    keys = jax.random.split(jax.random.key(5), 2)
    state = start = rollout.init(jax.random.key(4))
    results = []
    for key in keys:
        state, batch, ended = collect(key, 0.5, state)
        results.append(to_numpy((batch, ended)))
    both = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
    return env, keys, start, state, *both


def choose(mask, new, old):
    """Leaves of `new` where the mask is true, of `old` elsewhere."""

    def leaf(new, old):
        return np.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(leaf, new, old)


def test_unroll_equals_a_python_loop_over_the_same_keys(two_rollouts, resets):
    env, keys, start, end, batch, ended = two_rollouts
    step, reset = jax.jit(env.step), jax.jit(env.reset, static_argnums=1)

    @jax.jit
    def act(key, obs):
        distribution = policy(0.5, obs)
        action = distribution.sample(key)
        return action, distribution.log_prob(action)

    obs, state = to_numpy((start.obs, start.env_state))
    returns, lengths = np.zeros(ENVS, np.float32), np.zeros(ENVS, np.int32)
    for t in range(2 * STEPS):
        if t % STEPS == 0:
            step_keys = jax.random.split(keys[t // STEPS], (STEPS, 3))
            spare, spent = (obs, state), np.ones(ENVS, bool)
            pool, taken = to_numpy(reset(step_keys[0, 2], POOL)), np.zeros(ENVS, int)
        action_key, env_key, reset_key = step_keys[t % STEPS]
        action, log_prob = act(action_key, obs)
        outcome = to_numpy(step(env_key, state, action))
        next_obs, state, reward, *flags = outcome
        returns, lengths = returns + reward, lengths + 1
        done = flags[0] | flags[1]
        row = (obs, action, log_prob, reward, *flags, next_obs, np.ones(ENVS))
        for name, got, want in zip(batch._fields, batch, row, strict=True):
            np.testing.assert_allclose(got[t], want, rtol=1e-6, err_msg=f"{name} {t}")
        np.testing.assert_array_equal(ended.finished[t], done)
        np.testing.assert_allclose(ended.returns[t], returns, rtol=1e-6)
        np.testing.assert_array_equal(ended.lengths[t], lengths)
        if resets == "fresh":
            spare = to_numpy(reset(reset_key, ENVS))
        elif resets == "pooled":
            place = (np.arange(ENVS) * POOL // ENVS + taken) % POOL
            spare = jax.tree.map(lambda x, place=place: x[place], pool)
            taken += done
        elif (done & spent).any():
            spare = choose(spent, to_numpy(reset(reset_key, ENVS)), spare)
            spent[:] = False
        obs, state = choose(done, spare, (next_obs, state))
        spent |= done
        returns, lengths = np.where(done, 0, returns), np.where(done, 0, lengths)
    np.testing.assert_array_equal(end.obs, obs)
    assert_trees_equal(end.env_state, state)
    np.testing.assert_allclose(end.episode_return, returns, rtol=1e-6)
    np.testing.assert_array_equal(end.episode_length, lengths)


@pytest.mark.parametrize("time_limit", [4, 60])  # 60: two segments of noise
def test_episodes_equal_a_python_loop_over_the_same_keys(time_limit):
    """Compiled, scanned and drawn at once, against a step at a time, nothing jitted."""
    env = pg.make_env("Countdown-probe", time_limit=time_limit)
    number, key = 5, jax.random.key(8)
    _, batch, ended = to_numpy(
        jax.jit(lambda key: pg.episodes(env, number).collect(key, policy, 0.5, ()))(key)
    )
    keys = jax.random.split(key, (time_limit + 1, 2))
    with jax.disable_jit():
        obs, state = to_numpy(env.reset(keys[0, 0], number))
        alive, returns = np.ones(number, bool), np.zeros(number, np.float32)
        for t in range(time_limit):
            if not alive.any():
                break
            distribution = policy(0.5, obs)
            action = distribution.sample(keys[t + 1, 0])
            log_prob = distribution.log_prob(action)
            outcome = to_numpy(env.step(keys[t + 1, 1], state, action))
            next_obs, state, reward, *flags = outcome
            row = (obs, action, log_prob, reward, *flags, next_obs, alive)
            for name, got, want in zip(batch._fields, batch, row, strict=True):
                got, want = got[t][alive], np.asarray(want)[alive]
                np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=f"{name} {t}")
            returns = returns + reward
            done = alive & (flags[0] | flags[1])
            np.testing.assert_array_equal(ended.finished[t], done)
            np.testing.assert_allclose(ended.returns[t][done], returns[done], 1e-6)
            alive, obs = alive & ~done, next_obs
    assert not alive.any()
    np.testing.assert_array_equal(batch.weight[t + 1 :], 0.0)


def test_next_observation_precedes_the_reset(two_rollouts):
    env, *_, batch, _ = two_rollouts
    done = batch.terminated | batch.truncated
    assert done.any()
    assert not done.all()
    running = ~done[:-1]
    np.testing.assert_array_equal(batch.next_obs[:-1][running], batch.obs[1:][running])
    if env.name == "Countdown-probe":
        assert np.all(batch.next_obs[done][:, 1] > 0)
        np.testing.assert_array_equal(batch.obs[1:][done[:-1]][:, 1], 0)


def test_episode_sums_carry_over_from_rollout_to_rollout(two_rollouts):
    *_, batch, ended = two_rollouts
    across = 0
    for env in range(ENVS):
        first = 0
        for last in np.flatnonzero(ended.finished[:, env]):
            rewards = batch.reward[first : last + 1, env]
            assert ended.lengths[last, env] == len(rewards)
            np.testing.assert_allclose(ended.returns[last, env], sum(rewards), 1e-6)
            across += first < STEPS <= last
            first = last + 1
    assert across > 0
    np.testing.assert_array_equal(batch.weight, np.ones_like(batch.weight))


class Wide(NamedTuple):
    """A stand-in for a Gaussian policy: actions far beyond the bounds."""

    mean: jax.Array

    def sample(self, key):
        return self.mean + 3.0 * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action):
        return -jnp.sum(jnp.square(action - self.mean), axis=-1)


def wide(params, obs):
    return Wide(jnp.zeros_like(obs))


def test_what_is_stored_is_the_sampled_action_and_its_log_prob():
    rollout = pg.unroll(pg.make_env("Echo-probe"), 8, 4)

    @jax.jit
    def collect(key):
        return rollout.collect(key, wide, None, rollout.init(key))[1]

    batch = to_numpy(collect(jax.random.key(0)))
    bounds = np.array([1.0, 0.5], np.float32)
    assert np.any(np.abs(batch.action) > bounds)
    np.testing.assert_array_equal(
        batch.next_obs, np.clip(batch.action, -bounds, bounds)
    )
    want = -np.square(batch.action).sum(-1)
    np.testing.assert_allclose(batch.log_prob, want, rtol=1e-6)


def test_example_observations_have_the_shape_of_real_ones():
    env = pg.make_env("Countdown-probe")
    for rollout in (pg.episodes(env, 3), pg.unroll(env, 3, 2)):
        obs = jax.eval_shape(rollout.observe, jax.random.key(0))
        assert obs.shape == (3, 2)


def test_rollouts_say_whether_their_episodes_are_complete():
    env = pg.make_env("Countdown-probe")
    assert pg.episodes(env, 3).complete_episodes
    assert not pg.unroll(env, 3, 2).complete_episodes


@pytest.mark.parametrize("count", [0, -2])
def test_counts_below_one_are_errors(count):
    env = pg.make_env("Countdown-probe")
    with pytest.raises(ValueError, match=f"num_envs must be at least 1, got {count}"):
        pg.episodes(env, count)
    with pytest.raises(ValueError, match=f"num_envs must be at least 1, got {count}"):
        pg.unroll(env, count, 5)
    with pytest.raises(ValueError, match=f"num_steps must be at least 1, got {count}"):
        pg.unroll(env, 5, count)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"resets": "rare"},
            "unknown resets 'rare'; known are auto, fresh, spares",
        ),
        ({"pool_size": 8}, 'pool_size=8 needs resets="pooled"; with resets="auto"'),
        (
            {"resets": "pooled", "pool_size": 4},
            "at least num_steps = 5, .* got 4",
        ),
        ({"resets": "pooled", "pool_size": 0}, "pool_size must be at least 1, got 0"),
    ],
)
def test_resets_that_cannot_be_are_errors(given, message):
    with pytest.raises(ValueError, match=message):
        pg.unroll(pg.make_env("Countdown-probe"), 3, 5, **given)


class Plain:
    """A distribution of somebody's own, which only knows how to sample."""

    def __init__(self, whole):
        self.whole = whole

    def sample(self, key):
        return self.whole.sample(key)

    def log_prob(self, action):
        return self.whole.log_prob(action)


jax.tree_util.register_pytree_node(
    Plain, lambda x: ((x.whole,), None), lambda _, children: Plain(*children)
)


@pytest.mark.parametrize("make", [pg.episodes, lambda env, n: pg.unroll(env, n, 6)])
def test_noise_drawn_at_once_is_what_each_step_would_draw(make):
    rollout = make(pg.make_env("Countdown-probe"), 8)

    def plain(params, obs):
        return Plain(policy(params, obs))

    key = jax.random.key(1)
    start = rollout.init(key)
    ours = jax.jit(lambda: rollout.collect(key, policy, 0.5, start))()
    theirs = jax.jit(lambda: rollout.collect(key, plain, 0.5, start))()
    assert_trees_equal(to_numpy(ours), to_numpy(theirs))
