"""Every episode of `unroll` starts from a draw of its own, whatever the others do.

Both ways of drawing them are tested, that of CPUs and that of accelerators.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
import pgjax.rollout
from pgjax._internal.start_states import _largest_divisor

NUM_ENVS, NUM_STEPS = 16, 24


@pytest.fixture(scope="module", params=["spares", "fresh ones"], autouse=True)
def way(request):
    """How starts are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pgjax.rollout, "on_cpu", lambda: request.param == "spares")
        yield request.param


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


def collector(lengths):
    """Maps a key to (T, N) contexts and whether each step began an episode."""
    rollout = pg.unroll(context(lengths), NUM_ENVS, NUM_STEPS)

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
    seen, began = jax.jit(jax.vmap(collector(LENGTHS[request.param])))(keys)
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


def test_an_agent_has_the_same_starts_alone_and_among_others():
    """Agents whose episodes have other lengths draw at other times."""
    keys = jax.random.split(jax.random.key(1), 4)
    lengths = jnp.stack([jnp.asarray(x) for x in LENGTHS.values()])
    together, _ = jax.jit(jax.vmap(lambda key, x: collector(x)(key)))(keys, lengths)
    for agent, key in enumerate(keys):
        alone, _ = jax.jit(collector(lengths[agent]))(key)
        np.testing.assert_array_equal(together[agent], alone)


def test_spares_are_drawn_where_they_are_needed(way):
    """Without an episode that ends, none is."""
    if way != "spares":
        pytest.skip("fresh ones are drawn for every step")
    env = context(np.full(NUM_ENVS, 100))
    drawn = []

    def reset(key, num_envs):
        jax.debug.callback(lambda: drawn.append(num_envs))
        return env.reset(key, num_envs)

    rollout = pg.unroll(env._replace(reset=reset), NUM_ENVS, 40)
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
