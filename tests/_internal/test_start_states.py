"""Start states of `unroll`: independent ones, and those of a pool at the price told."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from pgjax._internal import start_states
from pgjax._internal.start_states import _largest_divisor, bytes_of_starts

NUM_ENVS, NUM_STEPS = 16, 24


@pytest.fixture(scope="module", params=["spares", "fresh"])
def way(request):
    """How independent starts are drawn."""
    return request.param


def context(lengths):
    """Episodes of so many steps, (N,), that show x ~ N(0, 1), drawn at their start."""

    def reset(key, num_envs):
        x = jax.random.normal(key, (num_envs, 1))
        return x, (x, jnp.zeros(num_envs, jnp.int32))

    def step(key, state, action):
        x, time = state
        over = time + 1 >= jnp.asarray(lengths)
        return x, (x, time + 1), x[:, 0], over, jnp.zeros_like(over)

    space = pg.Box(-9.0, 9.0, (1,))
    return pg.Env("context", reset, step, space, pg.Discrete(2), 1000)


def policy(params, obs):
    return pg.Categorical(jnp.zeros((*obs.shape[:-1], 2)))


def collector(lengths, **resets):
    """Maps a key to (T, N) contexts and whether each step began an episode."""
    rollout = pg.unroll(context(lengths), NUM_ENVS, NUM_STEPS, **resets)

    def collect(key):
        state, batch, ended = rollout.collect(key, policy, (), rollout.init(key))
        began = jnp.concatenate([jnp.ones((1, NUM_ENVS), bool), ended.finished])
        seen = jnp.concatenate([batch.obs[..., 0], state.obs[None, :, 0]])
        return seen, began

    return collect


# All at once, one after the other, and everything between.
LENGTHS = {
    "one step": np.ones(NUM_ENVS, int),
    "two steps": np.full(NUM_ENVS, 2),
    "mixed": 1 + np.arange(NUM_ENVS) % 7,
    "one busy environment": np.where(np.arange(NUM_ENVS) == 3, 1, 100),
}


@pytest.fixture(scope="module", params=LENGTHS)
def rollouts(request, way):
    """(R, T + 1, N) contexts of 400 rollouts, and where episodes began."""
    keys = jax.random.split(jax.random.key(0), 400)
    seen, began = jax.jit(jax.vmap(collector(LENGTHS[request.param], resets=way)))(keys)
    return np.asarray(seen, np.float64), np.asarray(began[0])


def test_no_start_is_used_twice(rollouts):
    seen, began = rollouts
    for rollout in seen[:20]:
        assert len(np.unique(rollout[began])) == began.sum()


def test_an_episode_keeps_its_start(rollouts):
    seen, began = rollouts
    same = seen[:, 1:] == seen[:, :-1]
    np.testing.assert_array_equal(same, np.broadcast_to(~began[1:], same.shape))


def test_starts_are_independent(rollouts):
    """The variance of a rollout's sum of n starts is n, not more and not less."""
    seen, began = rollouts
    starts = seen[:, began]
    sums = starts.sum(1) / np.sqrt(starts.shape[1])
    # Of 400 standard normal numbers: their mean, and their mean square.
    assert abs(sums.mean()) < 5 / np.sqrt(400)
    assert abs((sums**2).mean() - 1) < 5 * np.sqrt(2 / 400)
    # Likewise of all starts by themselves: used spares are no selection of any kind.
    for moment, want, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (4, 3.0, 96.0)):
        error = np.sqrt(variance / starts.size)
        assert abs((starts**moment).mean() - want) < 5 * error


@pytest.mark.parametrize("way", ["spares", "fresh", "pooled"])
def test_an_agent_has_the_same_starts_alone_and_among_others(way):
    """Agents whose episodes have other lengths draw at other times."""
    keys = jax.random.split(jax.random.key(1), 4)
    lengths = jnp.stack([jnp.asarray(x) for x in LENGTHS.values()])
    together, _ = jax.jit(jax.vmap(lambda key, x: collector(x, resets=way)(key)))(
        keys, lengths
    )
    for agent, key in enumerate(keys):
        alone, _ = jax.jit(collector(lengths[agent], resets=way))(key)
        np.testing.assert_array_equal(together[agent], alone)


def test_spares_are_drawn_where_they_are_needed():
    """Without an episode that ends, none is."""
    env = context(np.full(NUM_ENVS, 100))
    drawn = []

    def reset(key, num_envs):
        jax.debug.callback(lambda: drawn.append(num_envs))
        return env.reset(key, num_envs)

    observed = env._replace(reset=reset)
    rollout = pg.unroll(observed, NUM_ENVS, 40, resets="spares")
    collect = jax.jit(lambda key, state: rollout.collect(key, policy, (), state)[0])
    state = rollout.init(jax.random.key(0))
    for update in range(3):  # episodes end in the third rollout only, all at once
        jax.effects_barrier()
        drawn.clear()
        state = jax.block_until_ready(collect(jax.random.key(update), state))
        jax.effects_barrier()
        assert len(drawn) == (update == 2)


@pytest.mark.parametrize(
    ("number", "divisor"), [(1, 1), (5, 5), (32, 32), (33, 11), (37, 1), (128, 32)]
)
def test_segments_share_out_all_steps(number, divisor):
    assert _largest_divisor(number, 32) == divisor


# A pool: no environment takes a start twice; episodes that share one are correlated.

POOLS = {"least": NUM_STEPS, "odd": 37, "enough for all": NUM_ENVS * NUM_STEPS}


@pytest.fixture(scope="module", params=POOLS)
def pool_size(request):
    return POOLS[request.param]


@pytest.fixture(scope="module", params=LENGTHS)
def pooled(request, pool_size):
    """As `rollouts`, of a pool; and how many episodes took each start, (P,)."""
    keys = jax.random.split(jax.random.key(2), 1000)
    collect = collector(LENGTHS[request.param], resets="pooled", pool_size=pool_size)
    seen, began = jax.jit(jax.vmap(collect))(keys)
    began = np.asarray(began[0])
    place = np.arange(NUM_ENVS) * pool_size // NUM_ENVS
    takes = np.concatenate(
        [place[i] + np.arange(n) for i, n in enumerate(began[1:].sum(0))]
    )
    counts = np.bincount(takes % pool_size, minlength=pool_size)
    return np.asarray(seen, np.float64), began, counts


def test_no_environment_takes_a_start_twice(pooled):
    seen, began, _ = pooled
    for rollout in seen[:20]:
        for env in range(NUM_ENVS):
            own = rollout[began[:, env], env]
            assert len(np.unique(own)) == len(own)


def test_as_many_starts_are_seen_as_are_taken(pooled):
    seen, began, counts = pooled
    for rollout in seen[:20]:
        found = np.unique(rollout[1:][began[1:]], return_counts=True)[1]
        np.testing.assert_array_equal(np.sort(found), np.sort(counts[counts > 0]))


def test_a_pool_costs_what_is_told(pooled, pool_size):
    """The variance of a sum over M starts, by M: 1 where none is shared."""
    seen, began, counts = pooled
    starts = seen[:, 1:][:, began[1:]]
    sums = starts.sum(1) / np.sqrt(starts.shape[1])
    want = (counts**2).sum() / counts.sum()
    assert abs(sums.mean()) < 5 * np.sqrt(want / len(sums))
    assert abs((sums**2).mean() / want - 1) < 5 * np.sqrt(2 / len(sums))
    per_start = counts.sum() / pool_size
    assert max(1.0, per_start) - 1e-9 <= want <= 1 + per_start


def sums_of_starts(resets, key):
    """Sums over a rollout of (1, x, x^2), where an episode's length depends on x."""
    env = context(1)

    def step(key, state, action):
        x, time = state
        over = time + 1 >= jnp.where(x[:, 0] > 0, 1, 6)
        return x, (x, time + 1), x[:, 0], over, jnp.zeros_like(over)

    rollout = pg.unroll(env._replace(step=step), 4, NUM_STEPS, resets=resets)
    _, batch, ended = rollout.collect(key, policy, (), rollout.init(key))
    x = batch.reward
    return jnp.stack([ended.finished.sum() * 1.0, x.sum(), jnp.square(x).sum()])


def test_expectations_are_those_of_independent_starts():
    """Also where a start says how many others follow, which would bias a queue."""
    keys = jax.random.split(jax.random.key(3), 4000)
    sums = {
        resets: np.asarray(
            jax.jit(jax.vmap(partial(sums_of_starts, resets)))(keys), float
        )
        for resets in ("spares", "fresh", "pooled")
    }
    for resets in ("fresh", "pooled"):
        one, other = sums["spares"], sums[resets]
        error = np.sqrt((one.var(0) + other.var(0)) / len(keys))
        assert (np.abs(one.mean(0) - other.mean(0)) < 5 * error).all(), resets


# Memory: fresh starts are drawn for as many steps at once as there is room for.


def test_fresh_starts_of_many_steps_are_few_bytes(monkeypatch):
    env = context(np.ones(NUM_ENVS, int))
    assert bytes_of_starts(env, NUM_ENVS) == NUM_ENVS * (4 + 4 + 4)

    def program():
        rollout = pg.unroll(env, NUM_ENVS, NUM_STEPS, resets="fresh")
        key = jax.random.key(0)
        return str(
            jax.make_jaxpr(lambda s: rollout.collect(key, policy, (), s))(
                jax.eval_shape(rollout.init, key)
            )
        )

    whole = program()
    monkeypatch.setattr(
        start_states, "BYTES_AT_ONCE", 3 * bytes_of_starts(env, NUM_ENVS)
    )
    bounded = program()
    assert f"f32[{NUM_STEPS},{NUM_ENVS},1]" in whole
    assert "length=8" in bounded  # 8 segments of 3 steps
    assert "length=8" not in whole
