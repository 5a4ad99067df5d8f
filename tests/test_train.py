import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg


def assert_trees_equal(got, want):
    jax.tree.map(np.testing.assert_array_equal, *map(numpy_tree, (got, want)))


def numpy_tree(tree):
    """Typed keys as their data, all the rest as it is."""

    def convert(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        return np.asarray(x)

    return jax.tree.map(convert, tree)


@pytest.fixture(scope="module")
def agent():
    """Trains an agent on CartPole for 4 updates, as a compiled function."""
    rollout = pg.episodes(pg.make_env("CartPole-v1", time_limit=30), 4)
    network = probes.linear_network()

    @jax.jit
    def run(key, learning_rate):
        algorithm = pg.reinforce(network, optax.adam(learning_rate))
        return pg.train(key, rollout, algorithm, num_updates=4)

    return run


KEYS = jax.random.split(jax.random.key(0), 3)
LEARNING_RATES = np.array([0.003, 0.01, 0.03], np.float32)


@pytest.fixture(scope="module")
def alone(agent):
    pairs = zip(KEYS, LEARNING_RATES, strict=True)
    return [numpy_tree(agent(key, rate)) for key, rate in pairs]


def test_the_same_key_gives_the_same_bits(agent, alone):
    assert_trees_equal(agent(KEYS[0], LEARNING_RATES[0]), alone[0])
    other, _ = agent(KEYS[1], LEARNING_RATES[0])
    theirs, mine = other.learner.params, alone[0][0].learner.params
    assert not np.array_equal(theirs["theta"], mine["theta"])


def test_an_agent_alone_is_the_same_agent_among_others(agent, alone):
    # Keys and learning rates differ across the batch; so do the episodes' lengths.
    together = numpy_tree(jax.vmap(agent)(KEYS, LEARNING_RATES))
    for index, want in enumerate(alone):
        got = jax.tree.map(lambda x, index=index: x[index], together)
        # A batched matrix product sums in another order, so parameters differ by
        # rounding. Adam divides by the gradient's size, which may enlarge it; a
        # different action, had one been taken, would move them by the learning rate.
        mine, theirs = (x[0].learner.params["theta"] for x in (got, want))
        np.testing.assert_allclose(mine, theirs, atol=0.01 * LEARNING_RATES[index])
        assert np.abs(theirs).max() > LEARNING_RATES[index]
        # What happened is the same to the bit: counts, lengths, returns.
        for name in ("env_steps", "episodes", "episode_return", "recent_return"):
            np.testing.assert_array_equal(got[1][name], want[1][name])
        np.testing.assert_array_equal(got[0].recent_returns, want[0].recent_returns)
    lengths = together[1]["env_steps"]
    assert len(np.unique(lengths[:, 0])) > 1


def _stub_update(key, learner, batch):
    step = 0.1 * jax.random.uniform(key) + 0.01 * jnp.mean(batch.reward)
    count = learner.opt_state + 1
    return pg.Learner(learner.params + step, count), {"own": jnp.sum(batch.reward)}


def stub(complete_episodes):
    """Cheap to compile; what it does depends on all that it is given."""
    return pg.Algorithm(
        init=lambda key, obs: pg.Learner(jax.random.uniform(key), jnp.int32(0)),
        update=_stub_update,
        policy=lambda params, obs: pg.Categorical(
            jnp.stack([jnp.zeros(len(obs)), jnp.full(len(obs), params)], axis=-1)
        ),
        complete_episodes=complete_episodes,
    )


ROLLOUTS = {
    "few": lambda: pg.unroll(pg.make_env("ConstantTruncates-probe"), 3, 2),
    "many": lambda: pg.unroll(pg.make_env("Countdown-probe"), 64, 8),
    "episodes": lambda: pg.episodes(pg.make_env("Countdown-probe"), 7),
}


@pytest.fixture(scope="module", params=ROLLOUTS)
def run(request):
    """Six updates, in two chunks, and the episodes that each of them saw."""
    rollout = ROLLOUTS[request.param]()
    algorithm = stub(rollout.complete_episodes)
    init = jax.jit(lambda key: pg.init_train_state(key, rollout, algorithm))
    start = init(jax.random.key(1))
    steps = jax.jit(
        lambda state, num: pg.train_steps(state, rollout, algorithm, num_updates=num),
        static_argnums=1,
    )
    state, first = steps(start, 3)
    state, second = steps(state, 3)
    metrics = jax.tree.map(lambda *parts: np.concatenate(parts), first, second)

    @jax.jit
    def replay(key, learner, rollout_state):
        key, rollout_key, update_key = jax.random.split(key, 3)  # as a train step does
        rollout_state, batch, ended = rollout.collect(
            rollout_key, algorithm.policy, learner.params, rollout_state
        )
        learner, _ = algorithm.update(update_key, learner, batch)
        return (key, learner, rollout_state), (batch, ended)

    seen, carry = [], (start.key, start.learner, start.rollout_state)
    for _ in range(6):
        carry, row = replay(*carry)
        seen.append(numpy_tree(row))
    return request.param, start, steps, (state, metrics), seen


def test_metrics_describe_the_episodes_of_their_update(run):
    _, _, _, (state, metrics), seen = run
    for update, (batch, ended) in enumerate(seen):
        got = {name: np.asarray(x[update]) for name, x in metrics.items()}
        returns, lengths = ended.returns[ended.finished], ended.lengths[ended.finished]
        assert got["env_steps"] == (batch.weight > 0).sum()
        assert got["episodes"] == len(returns)
        for name, mine in (("episode_return", returns), ("episode_length", lengths)):
            want = mine.mean() if len(mine) else np.nan
            np.testing.assert_allclose(got[name], want, rtol=1e-6)
        np.testing.assert_allclose(got["own"], batch.reward.sum(), rtol=1e-6)
    assert state.num_episodes == sum(ended.finished.sum() for _, ended in seen)
    assert state.num_updates == state.learner.opt_state == 6


def test_recent_return_is_the_mean_of_a_deque_of_100(run):
    name, _, _, (state, metrics), seen = run
    recent = collections.deque(maxlen=100)
    at_once = []
    for update, (_, ended) in enumerate(seen):
        for time, env in np.argwhere(ended.finished):  # in order of time, then env
            recent.append(ended.returns[time, env])
        want = np.mean(recent) if recent else np.nan
        got = metrics["recent_return"][update]
        np.testing.assert_allclose(got, want, rtol=1e-6)
        at_once.append(ended.finished.sum())
    newest_first = list(recent)[::-1]
    np.testing.assert_array_equal(state.recent_returns[: len(recent)], newest_first)
    # The cases that matter do occur: none finished, some left over, over a hundred.
    if name == "few":
        assert 0 in at_once
        assert len(recent) < 100
    if name == "many":
        assert min(at_once) > 100
        assert len(set(recent)) > 3


@pytest.mark.parametrize("run", ["many", "episodes"], indirect=True)
def test_chunks_give_the_same_bits_as_one_run(run):
    _, start, steps, in_chunks, _ = run
    assert_trees_equal(steps(start, 6), in_chunks)


def test_nothing_of_the_size_of_a_rollout_leaves_training():
    num_steps, num_envs, num_updates = 31, 29, 5
    rollout = pg.unroll(pg.make_env("Countdown-probe"), num_envs, num_steps)
    algorithm = stub(False)
    state, metrics = jax.eval_shape(
        functools.partial(
            pg.train, rollout=rollout, algorithm=algorithm, num_updates=num_updates
        ),
        jax.random.key(0),
    )
    assert {x.shape for x in metrics.values()} == {(num_updates,)}
    assert max(x.size for x in jax.tree.leaves(state)) < num_steps * num_envs / 2


def test_state_keeps_its_types_over_a_chunk():
    # Otherwise the second chunk would be compiled anew, or could not be donated.
    rollout = pg.episodes(pg.make_env("Countdown-probe"), 3)
    algorithm = pg.reinforce(probes.linear_network(), optax.adam(0.1))
    before = jax.eval_shape(
        lambda key: pg.init_train_state(key, rollout, algorithm), jax.random.key(0)
    )
    steps = functools.partial(
        pg.train_steps, rollout=rollout, algorithm=algorithm, num_updates=2
    )
    after, _ = jax.eval_shape(steps, before)
    assert before == after
    assert not any(x.weak_type for x in jax.tree.leaves(before))


def test_no_updates_is_an_error():
    rollout = pg.episodes(pg.make_env("Countdown-probe"), 3)
    algorithm = stub(True)
    with pytest.raises(ValueError, match="num_updates must be at least 1, got 0"):
        pg.train(jax.random.key(0), rollout, algorithm, num_updates=0)
