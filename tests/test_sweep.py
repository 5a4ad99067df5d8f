"""Agents side by side on several devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from probes import quick_jit

import pgjax as pg
from pgjax.agents import in_batches, over_agents, pad_agents

ENV = pg.make_env("CartPole-v1", time_limit=20)
NETWORK = pg.actor_critic(ENV, (4,))
UNROLL, EPISODES = pg.unroll(ENV, 2, 8), pg.episodes(ENV, 2)
# Each algorithm, with one of its own floats.
ALGORITHMS = {
    "reinforce": (EPISODES, lambda opt, x: pg.reinforce(NETWORK, opt, gamma=x)),
    "a2c": (UNROLL, lambda opt, x: pg.a2c(NETWORK, opt, lam=x)),
    "ppo": (UNROLL, lambda opt, x: pg.ppo(NETWORK, opt, clip=x, num_minibatches=2)),
    "trpo": (UNROLL, lambda opt, x: pg.trpo(NETWORK, opt, max_kl=x)),
}
# XLA counts its CPU devices once, at its start: several need a process of their own.
SEVERAL = """
import jax, jax.numpy as jnp, optax
import pgjax as pg
from pgjax.agents import over_agents, pad_agents

devices = jax.devices()
assert len(devices) == 4 and pad_agents(6, devices) == 8
env = pg.make_env("CartPole-v1", time_limit=20)
network = pg.mlp_policy(env, (4,))
rollout = pg.episodes(env, 3)

def train(key, learning_rate):
    algorithm = pg.reinforce(
        network, optax.adam(learning_rate), baseline=pg.leave_one_out
    )
    state, metrics = pg.train(key, rollout, algorithm, num_updates=3)
    return state.learner.params, metrics["env_steps"]

keys = jax.random.split(jax.random.key(0), 8)
rates = jnp.linspace(0.001, 0.01, 8)
params, steps = jax.jit(over_agents(train, devices))(keys, rates)
assert len(steps.sharding.device_set) == 4
alone, alone_steps = jax.jit(train)(keys[5], rates[5])
assert (steps[5] == alone_steps).all()
for many, one in zip(jax.tree.leaves(params), jax.tree.leaves(alone)):
    # Three updates' worth of float32 rounding.
    assert jnp.allclose(many[5], one, atol=1e-5)
print("equal")
"""


def test_agents_on_four_devices_are_the_agents_alone():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    process = subprocess.run(
        [sys.executable, "-c", SEVERAL], capture_output=True, text=True, env=environment
    )
    assert process.stdout == "equal\n", process.stderr


def test_one_device_is_a_vmap():
    squares = over_agents(lambda x: x**2, jax.devices()[:1])
    assert squares(jnp.arange(3)).tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("count", "devices", "padded"), [(1, 1, 1), (5, 1, 5), (5, 2, 6), (6, 2, 6)]
)
def test_padding_is_to_the_next_multiple(count, devices, padded):
    assert pad_agents(count, [None] * devices) == padded


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_agent_of_a_sweep_is_that_agent_alone(name):
    rollout, factory = ALGORITHMS[name]

    def make(learning_rate, x):
        return factory(optax.sgd(learning_rate), x)

    rates, xs = [0.01, 0.1], [0.05, 0.2, 0.9]

    def sweep():
        values = {"learning_rate": jnp.array(rates), "x": jnp.array(xs)}
        return pg.sweep(make, values, rollout, num_seeds=2, num_updates=2, seed=5)

    state, metrics = quick_jit(sweep)()
    assert metrics["env_steps"].shape == (2, 3, 2, 2)
    alone, alone_metrics = quick_jit(
        lambda key: pg.train(key, rollout, make(0.1, 0.2), num_updates=2)
    )(jax.random.key(6))
    agent = jax.tree.map(lambda x: x[1, 1, 1], (state, metrics))
    assert (agent[1]["env_steps"] == alone_metrics["env_steps"]).all()
    many, one = (jax.tree.leaves(x) for x in (agent[0].learner, alone.learner))
    for ours, theirs in zip(many, one, strict=True):
        # Two updates' worth of float32 rounding.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # And it is not what the others are.
    for other in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        params = jax.tree.map(lambda x, i=other: x[i], state.learner.params)
        assert any(
            not np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            for ours, theirs in zip(jax.tree.leaves(params), one, strict=True)
        )


def test_batches_are_the_whole():
    def fn(x, tree):
        return {"sum": x + tree["y"], "twice": 2 * x}

    agents = jnp.arange(7.0), {"y": jnp.arange(7.0) * 10}
    for size in (None, 1, 3, 7, 100):
        result = in_batches(fn, agents, agents_at_once=size)
        assert result["sum"].tolist() == [0, 11, 22, 33, 44, 55, 66]
        assert result["twice"].tolist() == [0, 2, 4, 6, 8, 10, 12]


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
