"""The equations, as NumPy loops in float64: slow, obvious and independent of JAX.

Where an equation is a sum, it is written as that sum, not as the recursion that pgjax
uses to compute it.
"""

from __future__ import annotations

import functools

import numpy as np


def per_column(fn):
    """Lets an oracle of (T,) arrays take (T, N) ones, column by column."""

    @functools.wraps(fn)
    def columns(*arrays, **coefficients):
        arrays = [np.asarray(x) for x in arrays]
        arrays = [x if x.dtype == bool else x.astype(np.float64) for x in arrays]
        shape = arrays[0].shape
        full = {
            name: np.broadcast_to(np.asarray(x, np.float64), shape)
            if name != "n"
            else x
            for name, x in coefficients.items()
        }
        if len(shape) == 1:
            return fn(*arrays, **full)
        results = [
            fn(
                *(x[:, i] for x in arrays),
                **{k: x if k == "n" else x[:, i] for k, x in full.items()},
            )
            for i in range(shape[1])
        ]
        return np.stack(results, axis=-1)

    return columns


@per_column
def discounted_returns(reward, terminated, truncated, *, gamma):
    """G_t = sum_k (prod of gamma) r_{t+k}, up to and with the episode's last step."""
    result = np.zeros(len(reward))
    for t in range(len(reward)):
        discount = 1.0
        for k in range(t, len(reward)):
            result[t] += discount * reward[k]
            discount *= gamma[k]
            if terminated[k] or truncated[k]:
                break
    return result


def _n_step_return(t, n, reward, next_value, terminated, truncated, gamma):
    """The n-step return from t, and how many steps it really took."""
    total, discount = 0.0, 1.0
    for k in range(t, min(t + n, len(reward))):
        total += discount * reward[k]
        discount *= gamma[k]
        if terminated[k]:
            return total, k + 1 - t
        if truncated[k]:
            break
    return total + discount * next_value[k], k + 1 - t


@per_column
def n_step_returns(reward, next_value, terminated, truncated, *, gamma, n):
    steps = reward, next_value, terminated, truncated, gamma
    return np.array([_n_step_return(t, n, *steps)[0] for t in range(len(reward))])


@per_column
def lambda_returns(reward, next_value, terminated, truncated, *, gamma, lam):
    """(1 - lam) sum_n lam^{n-1} G^(n), with what weight is left on the longest return.

    Sutton and Barto, 2018, eq. 12.3.
    """
    steps = reward, next_value, terminated, truncated, gamma
    result = np.zeros(len(reward))
    for t in range(len(reward)):
        weight = 1.0
        _, longest = _n_step_return(t, len(reward), *steps)
        for n in range(1, longest):
            result[t] += weight * (1 - lam[t + n - 1]) * _n_step_return(t, n, *steps)[0]
            weight *= lam[t + n - 1]
        result[t] += weight * _n_step_return(t, longest, *steps)[0]
    return result


@per_column
def gae(reward, value, next_value, terminated, truncated, *, gamma, lam):
    """A_t = sum_l (gamma lam)^l delta_{t+l}; Schulman et al., 2016, eq. 16."""
    result = np.zeros(len(reward))
    for t in range(len(reward)):
        decay = 1.0
        for k in range(t, len(reward)):
            following = 0.0 if terminated[k] else next_value[k]
            result[t] += decay * (reward[k] + gamma[k] * following - value[k])
            decay *= gamma[k] * lam[k]
            if terminated[k] or truncated[k]:
                break
    return result


@per_column
def vtrace_target(
    reward,
    value,
    next_value,
    terminated,
    truncated,
    log_ratio,
    *,
    gamma,
    lam=1.0,
    clip_rho=1.0,
    clip_c=1.0,
):
    """v_s = V(x_s) + sum_t gamma^{t-s} (prod c_i) rho_t delta_t; IMPALA, eq. 1."""
    # Their clips default to 1, which `per_column` only sees where they are given.
    lam, clip_rho, clip_c = (
        np.broadcast_to(x, reward.shape) for x in (lam, clip_rho, clip_c)
    )
    result = value.copy()
    for s in range(len(reward)):
        decay = 1.0
        for t in range(s, len(reward)):
            rho = min(clip_rho[t], np.exp(log_ratio[t]))
            following = 0.0 if terminated[t] else next_value[t]
            delta = reward[t] + gamma[t] * following - value[t]
            result[s] += decay * rho * delta
            if terminated[t] or truncated[t]:
                break
            decay *= gamma[t] * lam[t] * min(clip_c[t], np.exp(log_ratio[t]))
    return result


def vtrace_advantage(
    reward,
    value,
    next_value,
    terminated,
    truncated,
    log_ratio,
    *,
    gamma,
    clip_rho=1.0,
    **others,
):
    """rho_s (r_s + gamma v_{s+1} - V(x_s)); IMPALA, section 4.2."""
    arrays = reward, value, next_value, terminated, truncated, log_ratio
    target = vtrace_target(*arrays, gamma=gamma, clip_rho=clip_rho, **others)
    ahead = np.where(
        terminated | truncated, next_value, np.append(target[1:], next_value[-1:], 0)
    )
    ahead = np.where(terminated, 0.0, ahead)
    rho = np.minimum(clip_rho, np.exp(np.asarray(log_ratio, np.float64)))
    return rho * (reward + gamma * ahead - value)


def jacobian(fn, x, eps=1e-5):
    """d fn(x) / d x of arrays of any shape, by central differences in float64."""
    x = np.asarray(x, np.float64)
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = eps
        step = step.reshape(x.shape)
        columns.append((fn(x + step) - fn(x - step)) / (2 * eps))
    return np.stack(columns, axis=-1).reshape(*np.shape(columns[0]), *x.shape)


def softmax(logits):
    weights = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def episode_mean(returns, weight):
    result = np.zeros((1, returns.shape[1]))
    for i in range(returns.shape[1]):
        own = [g for g, w in zip(returns[:, i], weight[:, i], strict=True) if w]
        result[0, i] = np.mean(own) if own else 0.0
    return result


def batch_mean(returns, weight):
    kept = [g for g, w in zip(returns.flat, weight.flat, strict=True) if w]
    return np.full((1, 1), np.mean(kept) if kept else 0.0)


def leave_one_out(returns, weight):
    result = np.zeros(returns.shape)
    for t, i in np.ndindex(*returns.shape):
        others = [
            returns[t, j] for j in range(returns.shape[1]) if j != i and weight[t, j]
        ]
        result[t, i] = np.mean(others) if others else 0.0
    return result
