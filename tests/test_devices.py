"""Eight devices, of one CPU: the agents of one, and the gradient of one."""

import os
import subprocess
import sys

import pytest
from quick_compilation import FLAGS
from turns import slow

START = """
from functools import partial

import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import PartitionSpec as P
import pgjax as pg
from experiments import weak_scaling
from pgjax._internal.meshes import ENV, over_mesh

assert jax.device_count() == 8
ONE = pg.make_mesh(jax.devices()[:1])
env = pg.make_env("CartPole-v1")
"""

AGENTS = """
network = pg.actor_critic(env, (8,))

def make_algorithm(learning_rate):
    return pg.ppo(network, optax.adam(learning_rate))

def sweep(mesh):
    rates = {"learning_rate": [1e-3, 3e-3]}
    size = {"num_seeds": 6, "num_updates": 3, "mesh": mesh}
    return pg.sweep(make_algorithm, rates, pg.unroll(env, 4, 16), **size)

assert weak_scaling.collectives(8) == 0  # nobody waits for anybody

for (state, metrics), (same, others) in [(sweep(pg.make_mesh()), sweep(ONE))]:
    assert len(metrics["episodes"].sharding.device_set) == 8
    # Another number of agents side by side is another order of the sums within matrix
    # products: about 1e-7 each, and three updates of Adam, which divides by sizes.
    for one, other in zip(
        jax.tree.leaves(state.learner.params), jax.tree.leaves(same.learner.params)
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)
    np.testing.assert_array_equal(metrics["env_steps"], others["env_steps"])
"""

GRADIENT = """
network = pg.actor_critic(env, (16, 16), activation="tanh")
descend = optax.sgd(1.0)  # so that parameters move by the gradient
MESH = pg.make_mesh(env=8)

for algorithm in (
    pg.reinforce(network, descend, baseline=pg.value_baseline),
    pg.a2c(network, descend),
    pg.ppo(network, descend, num_epochs=1, num_minibatches=1),
):
    whole = algorithm.complete_episodes
    rollout = pg.episodes(env, 32) if whole else pg.unroll(env, 32, 16)
    state = jax.jit(partial(pg.init_train_state, rollout=rollout, algorithm=algorithm))(
        jax.random.key(0)
    )
    learner = state.learner
    _, batch, _ = jax.jit(rollout.collect, static_argnums=1)(
        jax.random.key(1), algorithm.policy, learner.params, state.rollout_state
    )
    update = partial(algorithm.update, jax.random.key(2))
    one = jax.jit(update)(learner, batch)[0].params
    split = over_mesh(
        lambda l, b: update(l, b, ENV)[0].params, MESH, (P(), P(None, ENV)), P()
    )
    many = jax.jit(split)(learner, batch)
    pg.check_replicas(many)
    gradient, other = (
        jax.flatten_util.ravel_pytree(jax.tree.map(jnp.subtract, learner.params, x))[0]
        for x in (one, many)
    )
    error = jnp.linalg.norm(gradient - other) / jnp.linalg.norm(gradient)
    assert error < 1e-5, error
"""

# Sums of many seeds' returns, which are independent: the difference of two means of 96,
# in units of its standard error, at ten points of the curve.
CURVE = """
algorithm = lambda: pg.reinforce(
    pg.mlp_policy(env, (16,)), optax.adam(0.02), baseline=pg.leave_one_out
)
curves = []
for mesh in (pg.make_mesh(env=8), ONE):
    size = {"num_seeds": 96, "num_updates": 20, "mesh": mesh}
    _, metrics = jax.block_until_ready(
        pg.sweep(algorithm, {}, pg.episodes(env, 16), **size)
    )
    curves.append(np.asarray(metrics["episode_return"], np.float64))
one, other = (curve[:, 1::2] for curve in curves)
error = np.sqrt(one.var(0, ddof=1) / 96 + other.var(0, ddof=1) / 96)
z = (one.mean(0) - other.mean(0)) / error
assert np.abs(z).max() < 5, z
assert one.mean(0)[-1] > 1.5 * one.mean(0)[0]  # it has learned
assert not np.array_equal(one, other)  # other random numbers
"""

# Devices whose episodes all ended wait for the others before they learn: the room that
# episodes take is the same for all. One of these devices plays long episodes alone.
ROOMS = """
from pgjax._internal import complete_episodes

complete_episodes.FIRST_ROOM, complete_episodes.GROWTH = 4, 2
MESH = pg.make_mesh(env=8)

def reset(key, n):
    length = jnp.where(jax.lax.axis_index("env") == 5, 30, 2)
    return jnp.zeros((n, 1)), (jnp.broadcast_to(length, n), jnp.zeros(n, jnp.int32))

def step(key, state, action):
    length, time = state
    over = time + 1 >= length
    obs = jnp.ones((len(action), 1))
    return obs, (length, time + 1), jnp.ones(len(action)), over, ~over & over

env = pg.Env("uneven", reset, step, pg.Box(0.0, 1.0, (1,)), pg.Discrete(2), 40)
rollout = pg.episodes(env, 16)
algorithm = pg.reinforce(pg.linear_softmax_policy(env), optax.sgd(0.1))

def train(key):
    def run(key):
        state = pg.init_train_state(key, rollout, algorithm, axis_name="env")
        state, metrics = pg.train_steps(
            state, rollout, algorithm, num_updates=2, axis_name="env"
        )
        return state.learner.params, metrics["env_steps"]
    return over_mesh(run, MESH, P(), (P(), P()))(key)

params, env_steps = jax.jit(train)(jax.random.key(0))
pg.check_replicas(params)
np.testing.assert_array_equal(env_steps, [2 * (7 * 2 + 30)] * 2)
"""


SCRIPTS = {"agents": AGENTS, "gradient": GRADIENT, "rooms": ROOMS}


@pytest.mark.parametrize(
    "script",
    [*SCRIPTS.values(), slow(CURVE)],
    ids=[*SCRIPTS, "curve"],
)
def test_eight_devices(script):
    process = subprocess.run(
        [sys.executable, "-c", START + script + 'print("fine")'],
        env=os.environ | {"XLA_FLAGS": FLAGS, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert process.stdout == "fine\n", process.stderr[-3000:]
