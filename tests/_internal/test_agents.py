"""Agents side by side, block by block and on several devices."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quick_compilation import with_flags

import pgjax as pg
from pgjax._internal.agents import in_batches, over_active, pad_agents
from pgjax._internal.meshes import over_mesh

ONE = pg.make_mesh(jax.devices()[:1])
# XLA counts its CPU devices once, at its start: several need a process of their own.
SEVERAL = """
import jax, jax.numpy as jnp, optax
import pgjax as pg
from pgjax._internal.agents import pad_agents
from pgjax._internal.meshes import over_mesh

devices = jax.devices()
assert len(devices) == 4 and pad_agents(6, 4) == 8
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
params, steps = jax.jit(over_mesh(jax.vmap(train), pg.make_mesh()))(keys, rates)
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
        "XLA_FLAGS": with_flags("--xla_force_host_platform_device_count=4"),
        "JAX_PLATFORMS": "cpu",
    }
    process = subprocess.run(
        [sys.executable, "-c", SEVERAL], capture_output=True, text=True, env=environment
    )
    assert process.stdout == "equal\n", process.stderr


def test_one_device_is_a_vmap():
    squares = over_mesh(jax.vmap(lambda x: x**2), ONE)
    assert squares(jnp.arange(3)).tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("count", "shares", "padded"), [(1, 1, 1), (5, 1, 5), (5, 2, 6), (6, 2, 6)]
)
def test_padding_is_to_the_next_multiple(count, shares, padded):
    assert pad_agents(count, shares) == padded


def test_batches_are_the_whole():
    def fn(x, tree):
        return {"sum": x + tree["y"], "twice": 2 * x}

    agents = jnp.arange(7.0), {"y": jnp.arange(7.0) * 10}
    for size in (None, 1, 3, 7, 100):
        result = in_batches(fn, agents, agents_at_once=size)
        assert result["sum"].tolist() == [0, 11, 22, 33, 44, 55, 66]
        assert result["twice"].tolist() == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8])
def test_only_agents_with_work_go_on_and_each_goes_on_once(block):
    def fn(state, step):
        return state + step, {"seen": 10 * state}

    work = np.array([3, 0, 7, 1, 0], np.int32)
    state, step = jnp.arange(1.0, 6.0), jnp.full(5, 0.5)
    new, outputs = jax.jit(over_active(fn, ONE, block=block))(work, state, step)
    assert new.tolist() == [1.5, 2.0, 3.5, 4.5, 5.0]
    assert outputs["seen"].tolist() == [10.0, 0.0, 30.0, 40.0, 0.0]


def test_blocks_hold_agents_with_as_much_to_do_and_are_no_more_than_needed():
    blocks = []

    def fn(state):
        return state, ()

    def watched(state):
        return jax.pure_callback(lambda x: x, state, state, vmap_method="sequential")

    def seen(states):  # a whole block at a time
        blocks.append(sorted(np.asarray(states).tolist()))
        return states

    @jax.custom_batching.custom_vmap
    def look(x):
        return watched(x)

    @look.def_vmap
    def _(size, batched, x):
        return jax.pure_callback(seen, x, x), True

    run = over_active(lambda x: fn(look(x)), ONE, block=2)
    jax.block_until_ready(
        jax.jit(run)(np.array([5, 90, 0, 80, 6, 0, 0]), jnp.arange(7.0))
    )
    assert blocks == [[1.0, 3.0], [0.0, 4.0]]
    blocks.clear()
    jax.block_until_ready(jax.jit(run)(np.zeros(7, int), jnp.arange(7.0)))
    assert blocks == []


def test_who_shares_a_block_changes_nobodys_bits():
    env = pg.make_env("CartPole-v1", time_limit=20)
    rollout = pg.episodes(env, 3)
    algorithm = pg.reinforce(pg.mlp_policy(env, (8,)), optax.adam(0.05))

    def init(key):
        return pg.init_train_state(key, rollout, algorithm)

    keys = jax.random.split(jax.random.key(3), 6)
    states = jax.jit(jax.vmap(init))(keys)
    run = jax.jit(
        over_active(
            lambda s: pg.train_steps(s, rollout, algorithm, num_updates=4),
            ONE,
            block=2,
        )
    )
    results = []
    for work in ([1, 1, 1, 1, 1, 1], [6, 1, 5, 2, 4, 3], [1, 0, 9, 0, 1, 0]):
        state, _ = run(np.array(work), states)
        agents = state.learner.params, state.recent_returns
        results.append(jax.tree.map(lambda x: np.asarray(x)[[0, 2, 4]], agents))
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)
