"""Every environment that gymnax registers, with a2c and ppo: one tiny run each."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from turns import in_turns

import pgjax as pg

# Without those that other tests register.
NAMES = [x for x in pg.env_names() if not x.endswith("-probe") and "Oracle-" not in x]
ALGORITHMS = {"a2c": pg.a2c, "ppo": pg.ppo}
SGD = optax.sgd(0.1)


def lenient(fn):
    """gymnax's own code broadcasts: Swimmer-misc subtracts (5, 2) from (2,)."""

    def call(*args):
        with jax.numpy_rank_promotion("allow"):
            return fn(*args)

    return call


def measured(algorithm):
    """An algorithm whose metrics say how far it moved the parameters, and by what."""

    def update(key, learner, batch):
        before = learner.params
        learner, _ = algorithm.update(key, learner, batch)
        change = jax.tree.map(jnp.subtract, learner.params, before)
        metrics = {"moved": optax.tree.norm(change)}
        metrics |= {"lowest": batch.action.min(), "highest": batch.action.max()}
        return learner, metrics

    return algorithm._replace(update=update)


def clipped(space, action):
    low, high = (jnp.broadcast_to(x, action.shape) for x in (space.low, space.high))
    return jnp.clip(action, low, high)


# In turns: what matters here is the environment, whose program is by far the largest.
@pytest.mark.parametrize(("name", "algorithm"), in_turns(NAMES, ALGORITHMS))
def test_runs_with_a2c_and_ppo(name, algorithm, monkeypatch):
    if name == "MNISTBandit-bsuite":  # which would download its data
        images = np.random.default_rng(0).random((10, 28, 28), np.float32)
        data = images, np.arange(10)
        load = "gymnax.environments.bsuite.mnist.load_mnist.load_mnist"
        monkeypatch.setattr(load, lambda: (data, data))
    env = pg.make_env(name)
    env = env._replace(reset=lenient(env.reset), step=lenient(env.step))
    # A wide Gaussian, which leaves every bounded space.
    network = pg.actor_critic(env, (8,), initializer="torch", log_std=2.0)
    rollout = pg.unroll(env, 2, 4)

    @jax.jit
    def run(key):
        learner = measured(ALGORITHMS[algorithm](network, SGD))
        state, metrics = pg.train(key, rollout, learner, num_updates=1)
        steps = None
        if isinstance(env.action_space, pg.Box):
            far = 1e3 * jax.random.normal(key, (2, *env.action_space.shape))
            near = clipped(env.action_space, far)
            envs = state.rollout_state.env_state
            step = jax.vmap(lambda action: env.step(key, envs, action))
            steps = step(jnp.stack([far, near]))
        return state, metrics, steps

    state, metrics, steps = run(jax.random.key(0))
    for leaf in jax.tree.leaves(state.learner.params):
        assert np.isfinite(leaf).all()
    assert metrics["moved"] > 1e-6
    assert metrics["env_steps"] == 8
    lowest, highest = metrics["lowest"][0], metrics["highest"][0]
    if isinstance(env.action_space, pg.Discrete):
        assert 0 <= lowest <= highest < env.action_space.n
    else:
        # What was sampled is kept as it was; what the environment gets, is clipped.
        low, high = np.min(env.action_space.low), np.max(env.action_space.high)
        assert lowest < low or highest > high
        # The same step, but for how the compiler rounds it.
        far, near = (jax.tree.map(lambda x, i=i: x[i], steps) for i in (0, 1))
        chex.assert_trees_all_close(far, near, rtol=1e-6)


def test_all_of_gymnax_is_here():
    assert len(NAMES) >= 26
