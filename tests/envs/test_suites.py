"""Adapters beside the real packages; those that are installed (.ci/worlds has all)."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from experiments.worlds import checks
from experiments.worlds.suites import own_of

PACKAGES = {"playground": "mujoco_playground"}  # where its name is another
# The cheapest that show what is special in each suite.
NAMES = {
    "brax": ["inverted_pendulum", "fast"],
    "craftax": ["Craftax-Classic-Symbolic-v1"],
    "jumanji": ["Snake-v1", "Game2048-v1", "RubiksCube-v0", "SearchAndRescue-v0"],
    "navix": ["Navix-Empty-5x5-v0", "Navix-Dynamic-Obstacles-5x5-v0"],
    "pgx": ["2048", "minatar-breakout", "tic_tac_toe", "kuhn_poker"],
    "playground": ["CartpoleBalance"],
    "xminigrid": ["MiniGrid-Empty-5x5", "MiniGrid-MemoryS8"],
}
ALL = [
    pytest.param(suite, name, marks=pytest.mark.xdist_group(suite))
    for suite, names in NAMES.items()
    for name in names
]


@pytest.fixture(autouse=True)
def defaults_of_jax():
    """The suites' own code, beside which an adapter is run, broadcasts and promotes."""
    with jax.numpy_rank_promotion("allow"):
        yield


def adapter(suite):
    pytest.importorskip(PACKAGES.get(suite, suite))
    return importlib.import_module(f"pgjax.envs.{suite}_envs")


def play(env, policy, *, steps, num_envs=4, seed=0):
    """Rows (T, N, ...) of (obs, action, reward, terminated, truncated), and the end."""
    key = jax.random.key(seed)
    obs, state = env.reset(key, num_envs)

    def step(carry, key):
        obs, state = carry
        action_key, env_key = jax.random.split(key)
        action = policy(action_key, obs, state)
        after, state, *rest = env.step(env_key, state, action)
        return (after, state), (obs, action, *rest)

    keys = jax.random.split(key, steps)
    end, rows = jax.jit(lambda: jax.lax.scan(step, (obs, state), keys))()
    return jax.device_get(rows), end


@pytest.mark.parametrize(("suite", "name"), ALL)
def test_an_adapter_says_what_its_suite_says(suite, name):
    env = adapter(suite).make(name, time_limit=checks.LIMIT)
    assert env.name == f"{suite}:{name}"
    assert env.max_steps == checks.LIMIT
    own = own_of(suite, name, checks.LIMIT)
    assert checks.findings(env, own, train=False) == []


@pytest.mark.parametrize(("suite", "name"), [(s, n[0]) for s, n in NAMES.items()])
def test_a_suite_trains(suite, name):
    env = adapter(suite).make(name, time_limit=checks.LIMIT)
    outcome = jax.jit(lambda key: checks.train_and_evaluate(env, key))(
        jax.random.key(0)
    )
    assert [*checks.training(env, jax.device_get(outcome))] == []


@pytest.mark.parametrize("suite", NAMES)
def test_an_unknown_name_is_told(suite):
    module = adapter(suite)
    assert set(NAMES[suite]) <= set(module.names())
    wrong = module.names()[0][:-1] + "?"
    with pytest.raises(
        ValueError, match=f"unknown environment '{suite}:.*did you mean"
    ):
        module.make(wrong)


@pytest.mark.parametrize("suite", NAMES)
def test_an_unknown_option_is_a_type_error(suite):
    with pytest.raises(TypeError, match="no_such_option"):
        adapter(suite).make(NAMES[suite][0], no_such_option=1)


@pytest.mark.parametrize("suite", NAMES)
def test_a_time_limit_below_one_is_refused(suite):
    with pytest.raises(ValueError, match="time_limit must be at least 1, got 0"):
        adapter(suite).make(NAMES[suite][0], time_limit=0)


def test_pgx_an_opponent_plays_the_other_side():
    """Tic-tac-toe: legal games to their ends, won by a line of three."""
    env = adapter("pgx").make("tic_tac_toe")

    def legal(key, obs, state):
        mask = state[1].legal_action_mask
        return jax.random.categorical(key, jnp.where(mask, 0.0, -1e9))

    rows, _ = play(env, legal, steps=5, num_envs=64)
    obs, action, reward, terminated, _ = rows
    began = obs[0].sum(axis=(1, 2, 3)) == 0  # an empty board: the learner moves first
    assert 16 <= began.sum() <= 48
    assert (obs[0][~began, ..., 1].sum(axis=(1, 2)) == 1).all()  # or the opponent has
    assert terminated.any(axis=0).all()
    length = terminated.argmax(axis=0)
    games = np.arange(64)
    assert set(np.unique(reward[length, games])) <= {-1.0, 0.0, 1.0}
    won = reward[length, games] == 1
    assert 0.3 < won.mean() < 0.9
    lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
    lines += [[0, 4, 8], [2, 4, 6]]
    for game in games:
        last = length[game]
        mine = obs[last, game, ..., 0].ravel() > 0
        mine[action[last, game]] = True
        assert won[game] == any(mine[line].all() for line in lines)


def test_pgx_an_illegal_action_loses():
    env = adapter("pgx").make("tic_tac_toe")
    rows, _ = play(env, lambda key, obs, state: jnp.zeros(8, int), steps=2, num_envs=8)
    _, _, reward, terminated, _ = rows
    assert terminated.any(axis=0).all()
    lost = terminated[1] & ~terminated[0]
    assert lost.any()
    assert (reward[1][lost] == -1).all()


def test_pgx_a_given_opponent_is_asked():
    def first_legal(key, state):
        del key
        return jnp.argmax(state.legal_action_mask)

    env = adapter("pgx").make("tic_tac_toe", opponent=first_legal)
    obs, _ = env.reset(jax.random.key(0), 32)
    moved = np.asarray(obs[..., 1]).reshape(32, 9)
    assert set(map(tuple, moved)) == {(0,) * 9, (1, *(0,) * 8)}


def test_jumanji_one_choice_is_all_combinations_of_parts():
    env = adapter("jumanji").make("RubiksCube-v0")
    assert env.action_space == pg.Discrete(6 * 1 * 3)
    _, state = env.reset(jax.random.key(0), 1)
    states = jax.tree.map(lambda x: jnp.repeat(x, 18, axis=0), state)
    obs, *_ = env.step(jax.random.key(0), states, jnp.arange(18))
    assert len(np.unique(obs, axis=0)) == 18


def test_jumanji_too_many_combinations_are_told():
    with pytest.raises(ValueError, match=r"jumanji:JobShop-v0 has \S+ combinations"):
        adapter("jumanji").make("JobShop-v0")


def test_jumanji_a_snake_that_starves_is_truncated_and_one_that_bites_is_not():
    env = adapter("jumanji").make("Snake-v1", time_limit=3)
    rows, _ = play(
        env, lambda key, obs, state: jnp.zeros(64, int), steps=3, num_envs=64
    )
    terminated, truncated = rows[3:]
    ended = terminated[:2].any(axis=0)
    assert ended.any()
    assert not ended.all()
    assert (truncated[2] == ~terminated[2])[~ended].all()


def test_navix_pictures_are_kept_only_where_they_are_looked_at():
    navix_envs = adapter("navix")
    import navix

    sizes = {}
    for look in ("symbolic", "rgb"):
        see = getattr(navix.observations, look)
        env = navix_envs.make("Navix-Empty-5x5-v0", observation_fn=see)
        reset = partial(env.reset, num_envs=1)
        _, state = jax.eval_shape(reset, jax.random.key(0))
        sizes[look] = sum(x.size for x in jax.tree.leaves(state))
    assert sizes["rgb"] > 5_000 > 500 > sizes["symbolic"]


def test_playground_runs_in_jax_without_a_gpu():
    module = adapter("playground")
    assert module.make("CartpoleBalance", time_limit=7).max_steps == 7
    with pytest.raises(TypeError, match=r"has no option 'dt'; .*ctrl_dt"):
        module.make("CartpoleBalance", dt=0.1)
