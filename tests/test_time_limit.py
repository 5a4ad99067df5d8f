"""`Env.max_steps` holds, whatever an environment does; and costs nothing until then."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal import complete_episodes

LIMIT, NUM_ENVS = 5, 4
NEVER = 10**6


def clock(ends, *, truncates=False, max_steps=LIMIT):
    """Rewards of 1; environment i ends after `ends[i]` steps, by either flag."""

    def reset(key, num_envs):
        del key
        return jnp.zeros((num_envs, 1)), jnp.zeros(num_envs, jnp.int32)

    def step(key, state, action):
        del key
        over = state + 1 >= jnp.asarray(ends)
        flags = (~over & over, over) if truncates else (over, ~over & over)
        obs = (state + 1.0)[:, None]
        return obs, state + 1, jnp.ones(len(action)), *flags

    space = pg.Box(0.0, np.inf, (1,))
    return pg.Env("clock", reset, step, space, pg.Discrete(2), max_steps)


def policy(params, obs):
    return pg.Categorical(jnp.zeros((*obs.shape[:-1], 2)))


def collect(rollout):
    def run(key):
        return rollout.collect(key, policy, (), rollout.init(key))

    return jax.tree.map(np.asarray, jax.jit(run)(jax.random.key(0)))


# When each environment would end by itself: never, late, at the limit, before it.
ENDS = np.array([NEVER, LIMIT + 1, LIMIT, LIMIT - 2])
WITHIN = np.minimum(ENDS, LIMIT)


@pytest.mark.parametrize("truncates", [False, True])
def test_complete_episodes_end_at_the_limit(truncates):
    _, batch, ended = collect(pg.episodes(clock(ENDS, truncates=truncates), NUM_ENVS))
    np.testing.assert_array_equal(batch.weight.sum(0), WITHIN)
    np.testing.assert_array_equal(ended.finished.sum(0), np.ones(NUM_ENVS))
    np.testing.assert_array_equal(ended.returns.T[ended.finished.T], WITHIN)
    last = WITHIN - 1, np.arange(NUM_ENVS)
    # An end that an environment gave itself stays what it was.
    own = np.array([False, False, True, True])
    np.testing.assert_array_equal(batch.terminated[last], own & (not truncates))
    np.testing.assert_array_equal(batch.truncated[last], ~own | truncates)


def test_unrolled_episodes_are_cut_across_rollouts():
    rollout = pg.unroll(clock(ENDS), NUM_ENVS, 3)
    state, rows = rollout.init(jax.random.key(0)), []
    for _ in range(5):
        state, batch, ended = rollout.collect(jax.random.key(0), policy, (), state)
        rows.append((batch.terminated, batch.truncated, batch.next_obs, ended.lengths))
    terminated, truncated, next_obs, lengths = (
        np.concatenate(x) for x in zip(*rows, strict=True)
    )
    time = np.arange(1, 16)[:, None]
    np.testing.assert_array_equal(terminated | truncated, time % WITHIN == 0)
    np.testing.assert_array_equal(truncated[:, :2], time % LIMIT == [[0, 0]])
    assert not truncated[:, 2:].any()
    # What the critic sees at the limit is the observation before the reset.
    np.testing.assert_array_equal(next_obs[truncated][:, 0], lengths[truncated])
    np.testing.assert_array_equal(lengths[truncated], LIMIT)


def test_a_critic_goes_on_where_the_library_cuts():
    """A reward of 1 for ever is worth 1 / (1 - gamma), whatever the limit."""
    network = pg.Network(
        lambda key, obs: jnp.zeros(()),
        lambda params, obs: (policy((), obs), jnp.broadcast_to(params, obs.shape[:-1])),
    )
    algorithm = pg.a2c(network, optax.sgd(0.5), gamma=0.5, value_coefficient=1.0)
    rollout = pg.unroll(clock(np.full(2, NEVER)), 2, LIMIT)
    state, _ = jax.jit(lambda key: pg.train(key, rollout, algorithm, num_updates=60))(
        jax.random.key(0)
    )
    np.testing.assert_allclose(state.learner.params, 2.0, atol=1e-4)


# Far limits: room grows as episodes need it.


@pytest.fixture
def small_rooms(monkeypatch):
    monkeypatch.setattr(complete_episodes, "FIRST_ROOM", 4)
    monkeypatch.setattr(complete_episodes, "GROWTH", 2)


def room_taken(rollout):
    """The number of steps that are handed over, and the sums over them."""

    def use(batch, ended):
        room = jnp.int32(len(batch.weight))
        return room, batch.weight.sum(0), jnp.sum(ended.finished, axis=0)

    def run(key):
        return rollout.collect_then(key, policy, (), (), use)[1]

    return run


@pytest.mark.parametrize(
    ("longest", "room"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 40), (40, 40), (99, 40)]
)
def test_room_is_the_least_that_all_episodes_fit_into(small_rooms, longest, room):
    env = clock(np.array([1, longest]), max_steps=40)
    taken, steps, finished = jax.jit(room_taken(pg.episodes(env, 2)))(jax.random.key(0))
    assert taken == room
    np.testing.assert_array_equal(steps, [1, min(longest, 40)])
    np.testing.assert_array_equal(finished, [1, 1])


def test_a_limit_within_reach_has_one_room():
    assert complete_episodes.rooms_up_to(500) == [500]
    assert complete_episodes.rooms_up_to(3999) == [3999]
    assert complete_episodes.rooms_up_to(50_000) == [1000, 8000, 50_000]


def test_rooms_change_nothing_but_padding(small_rooms):
    env = clock(np.array([3, 11]), max_steps=40)
    rollout = pg.episodes(env, 2)
    key = jax.random.key(3)
    _, *whole = rollout.collect(key, policy, (), ())
    _, most = rollout.collect_then(
        key, policy, (), (), lambda *rows: jax.tree.map(lambda x: x[:4], rows)
    )
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:4], y), whole, [*most])


def test_an_agent_learns_alike_among_others_that_need_more_room(small_rooms):
    network = pg.Network(
        lambda key, obs: jnp.zeros(2),
        lambda params, obs: (
            pg.Categorical(jnp.broadcast_to(params, (*obs.shape[:-1], 2))),
            None,
        ),
    )
    algorithm = pg.reinforce(network, optax.sgd(0.1))

    def train(key, longest):
        env = clock(jnp.stack([jnp.int32(2), longest]), max_steps=40)
        rollout = pg.episodes(env, 2)
        state, metrics = pg.train(key, rollout, algorithm, num_updates=2)
        return state.learner.params, metrics["env_steps"]

    longest = jnp.array([3, 7, 40])
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(train))(keys, longest)
    for agent in range(3):
        alone = jax.jit(train)(keys[agent], longest[agent])
        np.testing.assert_allclose(together[0][agent], alone[0], rtol=1e-6)
        np.testing.assert_array_equal(together[1][agent], alone[1])
