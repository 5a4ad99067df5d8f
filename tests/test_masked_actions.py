"""Illegal actions of logit -inf; and padding of zeros, for which none is legal.

The observation says what is legal, and the policy forbids the rest.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal import blocks

T, N = 6, 4
LENGTHS = np.array([[6, 1, 4, 3], [1, 1, 2, 1]])  # of two agents' episodes


def network(k):
    def init(key, obs):
        del key, obs
        return {"theta": jnp.linspace(-0.5, 0.5, k), "value": jnp.ones(k + 1)}

    def apply(params, obs):
        legal = obs[..., :k] > 0
        theta = jnp.broadcast_to(params["theta"], legal.shape)
        logits = jnp.where(legal, theta * obs[..., k:], -jnp.inf)
        return pg.Categorical(logits), obs @ params["value"]

    return pg.Network(init, apply)


FILLERS = ("samples", "zeros", "nan")


def batch(agent, k, padding):
    """Complete episodes, whose padding is zeros, NaN, or samples like all others."""
    rng = np.random.default_rng(agent)
    weight = np.arange(T)[:, None] < LENGTHS[agent]
    legal = rng.random((T, N, k)) < 0.5
    action = rng.integers(0, k, (T, N))
    np.put_along_axis(legal, action[..., None], True, axis=-1)
    obs = np.concatenate([legal, rng.normal(size=(T, N, 1))], -1).astype(np.float32)
    net = network(k)
    log_prob = net.apply(net.init(None, None), obs)[0].log_prob(action)
    last = np.arange(T)[:, None] == LENGTHS[agent] - 1
    full = pg.Transition(
        obs=obs,
        action=action.astype(np.int32),
        log_prob=np.asarray(log_prob),
        reward=rng.normal(size=(T, N)).astype(np.float32),
        terminated=last,
        truncated=np.zeros_like(last),
        next_obs=np.roll(obs, -1, 0),
        weight=weight.astype(np.float32),
    )
    if padding == "samples":
        return full

    def pad(x):
        filler = np.nan if padding == "nan" and x.dtype == np.float32 else 0
        return np.where(
            weight.reshape(T, N, *[1] * (x.ndim - 2)), x, x.dtype.type(filler)
        )

    return jax.tree.map(pad, full)._replace(weight=full.weight)


SGD = optax.sgd(0.1)
ALGORITHMS = {
    "reinforce": functools.partial(
        pg.reinforce, baseline=pg.leave_one_out, entropy_coefficient=0.1
    ),
    "reinforce, normalised": functools.partial(
        pg.reinforce, baseline=pg.value_baseline, normalize_advantage=True
    ),
    "a2c": functools.partial(pg.a2c, normalize_advantage=True),
    "ppo": functools.partial(pg.ppo, num_minibatches=2, entropy_coefficient=0.1),
    "ppo, one batch": functools.partial(
        pg.ppo, num_minibatches=1, normalize_over="batch", value_clip=0.2
    ),
    "trpo": functools.partial(pg.trpo, num_minibatches=1, max_kl=0.1),
}
each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


@each_algorithm
@pytest.mark.parametrize("k", [2, 3])
def test_no_algorithm_looks_at_padding(name, k, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 5)  # of 24
    algorithm = ALGORITHMS[name](network(k), SGD)
    key = jax.random.key(0)
    learner = algorithm.init(key, jnp.asarray(batch(0, k, "samples").obs[0]))
    # Side by side: one agent has blocks without a sample where another has some.
    kinds = [(agent, filler) for filler in FILLERS for agent in (0, 1)]
    batches = [batch(agent, k, filler) for agent, filler in kinds]
    update = jax.jit(jax.vmap(algorithm.update, (None, None, 0)))
    results = update(key, learner, jax.tree.map(lambda *x: np.stack(x), *batches))
    for leaf in jax.tree.leaves(results):
        assert np.isfinite(leaf).all()
        by_filler = leaf.reshape(len(FILLERS), 2, *leaf.shape[1:])
        for others in by_filler[1:]:
            np.testing.assert_allclose(others, by_filler[0], rtol=1e-4, atol=1e-5)
    moved = np.asarray(results[0].params["theta"]) - learner.params["theta"][None]
    assert np.all(np.abs(moved).max(axis=1) > 1e-4)


def crossroads(k):
    """Episodes of 1 to 5 steps; at each one another action than the last is legal."""

    def look(time):
        legal = jnp.arange(k)[None] != time[:, None] % k
        return jnp.append(legal, jnp.ones((len(time), 1)), axis=1).astype(jnp.float32)

    def reset(key, num_envs):
        time = jnp.zeros(num_envs, jnp.int32)
        return look(time), (time, jax.random.randint(key, (num_envs,), 1, 6))

    def step(key, state, action):
        del key
        time, end = state
        reward = jnp.where(action == time % k, -1e6, action.astype(jnp.float32))
        time = time + 1
        no = jnp.zeros(len(time), bool)
        return look(time), (time, end), reward, time >= end, no

    space = pg.Box(0.0, 1.0, (k + 1,))
    return pg.Env("crossroads", reset, step, space, pg.Discrete(k), 12)


@pytest.mark.parametrize("name", ["reinforce", "a2c", "ppo", "trpo"])
def test_all_algorithms_train_where_some_actions_are_illegal(name, monkeypatch):
    k = 3
    monkeypatch.setattr(blocks, "most_samples", lambda _: 9)
    algorithm = ALGORITHMS[name](network(k), SGD)
    rollout = pg.episodes(crossroads(k), 8)  # 12 x 8 steps, few of which count
    state, metrics = jax.jit(
        lambda key: pg.train(key, rollout, algorithm, num_updates=2)
    )(jax.random.key(0))
    assert pg.diverged(state, jax.tree.map(lambda x: x[-1], metrics)) == 0
    for leaf in jax.tree.leaves(metrics):
        assert not np.isnan(leaf).any()
    assert np.all(metrics["episode_return"] > -1.0)  # nothing illegal was done
