"""Seeds x hyperparameters in one program."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from turns import slow

import pgjax as pg


def walk():
    def reset(key, num):
        obs = jax.random.uniform(key, (num, 2), jnp.float32)
        return obs, jnp.zeros(num, jnp.int32)

    def step(key, state, action):
        obs, _ = reset(key, len(action))
        no = jnp.zeros(len(action), bool)
        return obs, state + 1, obs[:, 0], state >= 2, no

    return pg.Env("walk", reset, step, pg.Box(0.0, 1.0, (2,)), pg.Discrete(2), 3)


ENV = walk()
NETWORK = pg.actor_critic(ENV, (4,))
UNROLL, EPISODES = pg.unroll(ENV, 2, 8), pg.episodes(ENV, 2)
# Each algorithm, with one of its own floats.
ALGORITHMS = {
    "reinforce": (EPISODES, lambda opt, x: pg.reinforce(NETWORK, opt, gamma=x)),
    "a2c": (UNROLL, lambda opt, x: pg.a2c(NETWORK, opt, lam=x)),
    "ppo": (UNROLL, lambda opt, x: pg.ppo(NETWORK, opt, clip=x, num_minibatches=2)),
    "trpo": (UNROLL, lambda opt, x: pg.trpo(NETWORK, opt, max_kl=x)),
}


@pytest.mark.parametrize("name", ["reinforce", "a2c", "ppo", slow("trpo")])
def test_an_agent_of_a_sweep_is_that_agent_alone(name):
    rollout, factory = ALGORITHMS[name]

    def make(learning_rate, x):
        return factory(optax.sgd(learning_rate), x)

    rates, xs = [0.01, 0.1], [0.05, 0.2, 0.9]

    def sweep():
        values = {"learning_rate": jnp.array(rates), "x": jnp.array(xs)}
        return pg.sweep(make, values, rollout, num_seeds=2, num_updates=2, seed=5)

    state, metrics = jax.jit(sweep)()
    assert metrics["env_steps"].shape == (2, 3, 2, 2)
    alone, alone_metrics = jax.jit(
        lambda key: pg.train(key, rollout, make(0.1, 0.2), num_updates=2)
    )(jax.random.key(6))
    agent = jax.tree.map(lambda x: x[1, 1, 1], (state, metrics))
    assert (agent[1]["env_steps"] == alone_metrics["env_steps"]).all()
    # Two updates' worth of float32 rounding.
    close = partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-5)
    close(agent[0].learner, alone.learner)
    # And it is not what the others are.
    for other in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        params = jax.tree.map(lambda x, i=other: x[i], state.learner.params)
        with pytest.raises(AssertionError):
            close(params, alone.learner.params)


def test_a_sweep_in_batches_and_without_hyperparameters():
    def make():
        return pg.reinforce(NETWORK, optax.sgd(0.1))

    def returns(**options):
        _, metrics = pg.sweep(make, {}, EPISODES, num_seeds=3, num_updates=2, **options)
        return np.asarray(metrics["episode_return"])

    np.testing.assert_allclose(returns(), returns(agents_at_once=2), rtol=1e-5)
    assert returns().shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0"),
        ({"agents_at_once": 0}, "agents_at_once must be at least 1"),
        ({"values": []}, r"gamma needs a flat list of values, got shape \(0,\)"),
        ({"values": 0.9}, r"gamma needs a flat list of values, got shape \(\)"),
        ({"num_updates": 0}, "num_updates must be at least 1"),
    ],
)
def test_what_a_sweep_cannot_be(options, says):
    options = {"num_seeds": 1, "num_updates": 1, "values": [0.9]} | options

    def make(gamma):
        return pg.reinforce(NETWORK, optax.sgd(0.1), gamma=gamma)

    with pytest.raises(ValueError, match=says):
        pg.sweep(make, {"gamma": options.pop("values")}, EPISODES, **options)


def ppo_of(**values):
    return pg.ppo(NETWORK, optax.sgd(0.1), **({"num_epochs": 1} | values))


def final(result, agent=()):
    return jax.tree.map(lambda x: x[agent], result[0].learner.params)


@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        slow({"num_epochs": np.array([1, 2])}, (2,)),
        ({"num_epochs": (np.int64(1), jnp.int32(2)), "gamma": [0.9, 0.5]}, (2, 2)),
        slow({"gamma": [0.9, 0.5], "num_epochs": [1, 2], "clip": [0.1]}, (2, 2, 1)),
        ({"target_kl": [None, 1e-9], "num_epochs": [2]}, (2, 1)),
        slow({"gamma": [0, 1]}, (2,)),
        ({"gamma": [0, 0.5, 1]}, (3,)),
    ],
    ids=str,
)
def test_a_grid_of_any_types_is_its_agents_alone(grid, shape):
    result = pg.sweep(ppo_of, grid, UNROLL, num_seeds=2, num_updates=1, seed=3)
    assert result[1]["env_steps"].shape == (*shape, 2, 1)
    last = tuple(n - 1 for n in shape)
    for corner in {last, (*(0 for _ in shape[1:]), shape[-1] - 1)}:
        values = {
            name: np.asarray(grid[name], object)[i]
            for name, i in zip(grid, corner, strict=True)
        }
        values = {k: x.item() if hasattr(x, "item") else x for k, x in values.items()}
        alone = pg.train(jax.random.key(4), UNROLL, ppo_of(**values), num_updates=1)
        chex.assert_trees_all_close(
            final(result, (*corner, 1)), final(alone), rtol=1e-4, atol=1e-5
        )


def test_a_grid_of_functions_and_names():
    grid = {
        "baseline": [pg.no_baseline, pg.leave_one_out],
        "reduction": ["sum"],
        "discount_states": [True],
        "gamma": [0.5, 0.9],
    }

    def make(**values):
        return pg.reinforce(pg.mlp_policy(ENV, (4,)), optax.sgd(0.1), **values)

    result = pg.sweep(make, grid, EPISODES, num_seeds=1, num_updates=1)
    values = {"baseline": pg.leave_one_out, "reduction": "sum", "gamma": 0.9}
    values |= {"discount_states": True}
    alone = pg.train(jax.random.key(0), EPISODES, make(**values), num_updates=1)
    assert result[1]["env_steps"].shape == (2, 1, 1, 2, 1, 1)
    chex.assert_trees_all_close(
        final(result, (1, 0, 0, 1, 0)), final(alone), rtol=1e-4, atol=1e-5
    )


def make_any(**values):
    """Takes any name, and uses gamma, width and rate."""
    network = pg.actor_critic(ENV, (values.get("width", 4),))
    optimizer = optax.sgd(values.get("rate", 0.1))
    return pg.a2c(network, optimizer, gamma=values.get("gamma", 0.9))


def make_one(gamma, *, rate=0.1):
    return pg.a2c(NETWORK, optax.sgd(rate), gamma=gamma)


@pytest.mark.parametrize(
    ("make", "grid", "kind", "says"),
    [
        (make_any, {"width": [4, 8]}, ValueError, r"'width': 4.*'width': 8.*params"),
        (make_any, {"gama": [0.9, 0.99]}, ValueError, "gama reaches nothing"),
        (make_any, {"gamma": [0.9], "x": [1.0]}, ValueError, "x reaches nothing"),
        (make_one, {"gama": [0.9]}, TypeError, r"takes \(gamma, \*, rate=0.1\).*gama"),
        (make_one, {"rate": [0.9]}, TypeError, "missing a required argument: 'gamma'"),
        (make_one, {}, TypeError, "none, do not fit"),
        (make_one, {"gamma": [0.9, 1.5]}, ValueError, r"gamma must be in \[0, 1\]"),
        (make_one, {"gamma": [2, 3]}, ValueError, r"gamma must be in \[0, 1\], got 2"),
        (make_one, {"gamma": ["a"]}, TypeError, "gamma must be a real number, got 'a'"),
        (make_one, {"gamma": [[0.9]]}, ValueError, "gamma needs a flat list"),
        (make_one, {"gamma": np.ones((1, 1))}, ValueError, "gamma needs a flat list"),
        (make_one, {"gamma": "0.9"}, ValueError, "gamma needs a flat list"),
        (make_one, {"gamma": {"a": 1}}, ValueError, "gamma needs a flat list"),
        (make_any, {"rate": [1e39, 1.0]}, ValueError, "rate has values too large"),
        (None, {}, TypeError, "make_algorithm must be of type Callable"),
    ],
)
def test_grids_that_cannot_be(make, grid, kind, says):
    with pytest.raises(kind, match=says):
        pg.sweep(make, grid, UNROLL, num_seeds=1, num_updates=1)


def test_integers_that_are_traced_are_told():
    def run(values):
        return pg.sweep(
            ppo_of, {"num_epochs": values}, UNROLL, num_seeds=1, num_updates=1
        )

    with pytest.raises(TypeError, match=r"num_epochs has int32 values.*be known"):
        jax.jit(run)(jnp.array([1, 2]))


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"num_seeds": 1.5}, TypeError, "num_seeds must be an integer, got 1.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 2**31 - 1}, ValueError, r"seed \+ num_seeds must be below 2\*\*31"),
        ({"num_updates": True}, TypeError, "num_updates must be an integer"),
    ],
)
def test_numbers_of_a_wrong_kind_are_told(options, kind, says):
    given = {"num_seeds": 1, "num_updates": 1} | options
    with pytest.raises(kind, match=says):
        pg.sweep(ppo_of, {}, UNROLL, **given)


@pytest.mark.parametrize(
    ("x64", "promotion"), [(True, "standard"), (False, "strict"), (True, "strict")]
)
def test_a_sweep_under_other_types(x64, promotion):
    grid, rollout = {"gamma": [0.9, 0.5], "rate": [0.1]}, pg.unroll(ENV, 2, 3)
    with jax.enable_x64(x64), jax.numpy_dtype_promotion(promotion):
        state, _ = pg.sweep(small, grid, rollout, num_seeds=2, num_updates=1)
    for leaf in jax.tree.leaves(state.learner.params):
        assert leaf.shape[:3] == (2, 1, 2)
        assert leaf.dtype == jnp.float32


def small(gamma, rate):
    def init(key, obs):
        del key, obs
        return {
            "theta": jnp.zeros((2, 2), jnp.float32),
            "value": jnp.zeros(2, jnp.float32),
        }

    def apply(params, obs):
        return pg.Categorical(obs @ params["theta"]), obs @ params["value"]

    return pg.a2c(pg.Network(init, apply), optax.sgd(rate), gamma=gamma)
