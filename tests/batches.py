"""Transitions made up by hand, and what one update of an algorithm does with them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles

import pgjax as pg

T, N = 6, 4
LENGTHS = np.array([6, 1, 4, 3])  # of the episodes in `episodes()`

# An optimizer that changes nothing and keeps the gradient as its state.
RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda grads, state, params=None: (
        jax.tree.map(jnp.zeros_like, grads),
        grads,
    ),
)

# For `probes.linear_network(critic=True)` and observations of 3 numbers.
PARAMS = {
    "theta": np.array([[0.5, -0.2], [0.1, 0.4], [-0.3, 0.7]], np.float32),
    "value": np.array([0.3, -0.6, 0.2], np.float32),
}


def steps(obs, terminated, truncated, weight, params=PARAMS, seed=0):
    """Random actions and rewards; `log_prob` is that of the policy of `params`."""
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 2, (T, N))
    following = np.append(obs[1:], rng.normal(size=(1, *obs.shape[1:])), 0)
    elsewhere = rng.normal(size=obs.shape)
    ended = (terminated | truncated)[..., None]
    log_prob = log_probs(params, np.float64(obs), action)
    return pg.Transition(
        obs=obs,
        action=action,
        log_prob=log_prob.astype(np.float32),
        reward=rng.normal(size=(T, N)).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        next_obs=np.where(ended, elsewhere, following).astype(np.float32),
        weight=weight.astype(np.float32),
    )


def rollout(obs=None, params=PARAMS, seed=0):
    """As from `pg.unroll`: ends of both kinds within, and cut at the horizon."""
    terminated, truncated = np.zeros((2, T, N), bool)
    terminated[1, 0] = terminated[2, 2] = True
    truncated[3, 1] = truncated[2, 2] = True
    if obs is None:
        obs = np.random.default_rng(seed + 100).normal(size=(T, N, 3))
    obs = np.float32(obs)
    return steps(obs, terminated, truncated, np.ones((T, N)), params, seed)


def episodes(seed=0):
    """As from `pg.episodes`, but with noise in the padding."""
    rng = np.random.default_rng(seed + 200)
    time = np.arange(T)[:, None]
    last, padding = time == LENGTHS - 1, time >= LENGTHS
    noise = rng.random((2, T, N)) < 0.5
    terminated = np.where(padding, noise[0], last & [True, False, True, False])
    truncated = np.where(padding, noise[1], last & [False, True, True, True])
    obs = np.float32(rng.normal(size=(T, N, 3)))
    return steps(obs, terminated, truncated, ~padding, seed=seed)


def with_other_padding(batch):
    """The batch with other, large, numbers wherever its weight is 0."""
    rng = np.random.default_rng(1)
    padding = batch.weight == 0

    def replace(x):
        mask = padding.reshape(padding.shape + (1,) * (x.ndim - 2))
        if x.dtype == np.float32:
            other = rng.normal(size=x.shape, scale=1e3).astype(np.float32)
        else:
            other = rng.integers(0, 2, x.shape).astype(x.dtype)
        return np.where(mask, other, x)

    changed = jax.tree.map(replace, batch._replace(weight=None))
    return changed._replace(weight=batch.weight)


def equal_episodes(length, seed=0):
    """Episodes of one length, with padding and without: the same samples."""
    trimmed = jax.tree.map(lambda x: x[:length], rollout(seed=seed))
    ends = np.arange(length)[:, None] == length - 1
    trimmed = trimmed._replace(
        terminated=ends & np.array([True, False, True, False]),
        truncated=ends & np.array([False, True, True, True]),
    )
    padding = jax.tree.map(lambda x: x[length:], rollout(seed=seed + 1))
    padding = padding._replace(weight=np.zeros_like(padding.weight))
    padded = jax.tree.map(lambda x, y: np.append(x, y, 0), trimmed, padding)
    return padded, trimmed


def update(algorithm, optimizer, params, batch, key=0):
    """The learner and the metrics after one update from fresh optimizer state."""
    learner = pg.Learner(params, optimizer.init(params))
    return algorithm.update(jax.random.key(key), learner, batch)


@functools.cache
def compiled(make, network, optimizer, **options):
    """`update` of the algorithm with these options, jitted once."""
    algorithm = make(network, optimizer, **options)
    return jax.jit(functools.partial(update, algorithm, optimizer))


def log_probs(params, obs, action):
    probs = oracles.softmax(obs @ np.float64(params["theta"]))
    return np.log(np.take_along_axis(probs, action[..., None], -1))[..., 0]


def entropies(params, obs):
    probs = oracles.softmax(np.float64(obs) @ params["theta"])
    return -(probs * np.log(probs)).sum(-1)


def estimates(params, batch, *, gamma, lam=1.0, n_step=None):
    """V(s_t), G_t and A_t of the linear network, from the definitions."""
    value, next_value = (
        np.float64(x) @ params["value"] for x in (batch.obs, batch.next_obs)
    )
    ends = batch.terminated, batch.truncated
    if n_step is None:
        advantage = oracles.gae(
            batch.reward, value, next_value, *ends, gamma=gamma, lam=lam
        )
        return value, value + advantage, advantage
    returns = oracles.n_step_returns(
        batch.reward, next_value, *ends, gamma=gamma, n=n_step
    )
    return value, returns, returns - value


def standardized(x, weight):
    real = x[weight > 0]
    return (x - real.mean()) / np.sqrt(real.var(ddof=1) + 1e-8)


def policy_gradient(params, batch, advantage, scale):
    """Of sum -scale A log pi(a) by theta, by hand."""
    obs = np.float64(batch.obs)
    error = oracles.softmax(obs @ params["theta"]) - np.eye(2)[batch.action]
    return np.einsum("tn,tnd,tna->da", scale * advantage, obs, error)


def entropy_gradient(params, batch, scale):
    """Of sum scale H by theta, by hand: dH / dlogits = -p (log p + H)."""
    obs = np.float64(batch.obs)
    probs = oracles.softmax(obs @ params["theta"])
    to_logits = -probs * (np.log(probs) + entropies(params, obs)[..., None])
    return np.einsum("tn,tnd,tna->da", scale, obs, to_logits)


def value_gradient(params, batch, returns, scale):
    """Of sum scale (V - G)^2 / 2, by hand."""
    obs = np.float64(batch.obs)
    return np.einsum("tn,tnd->d", scale * (obs @ params["value"] - returns), obs)


def assert_close(got, want, tolerance=1e-5):
    """Relative to the largest element: sums of float32 round to that."""
    want = np.asarray(want)
    error = np.abs(np.asarray(got) - want).max()
    assert error <= tolerance * np.abs(want).max(), (got, want)
