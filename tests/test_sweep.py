"""Agents side by side on several devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from pgjax.sweep import over_agents, pad_agents

# XLA counts its CPU devices once, at its start: several need a process of their own.
SEVERAL = """
import jax, jax.numpy as jnp, optax
import pgjax as pg
from pgjax.sweep import over_agents, pad_agents

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
