"""Returns, advantages and V-trace: one backward recursion and its special cases.

    G_t = r_t + gamma (1 - terminated_t) [(1 - c_t) V(s'_t) + c_t G_{t+1}],
    c_t = lambda (1 - done_t),    done_t = terminated_t or truncated_t

Termination sets what follows to zero; truncation only cuts the trace, so the value of
the state that was cut off, V(s'_t), stands in for the rest. V(s'_t) is the value of
the observation *before* any reset (`Transition.next_obs`).

Every function takes time first: (T,) and (T, N) are the same function. `gamma` and
`lam` are scalars, possibly traced, or arrays that broadcast against the rewards with
the same rank, such as (1, N) for one discount per agent.

What follows an episode's end never enters its returns, be it NaN. Rewards may be
integers or booleans; dtypes: see `pgjax._internal.precision`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pgjax._internal.checks import (
    as_count,
    check_arrays,
    check_broadcasts,
    check_positive,
    check_steps,
    check_unit_interval,
)
from pgjax._internal.precision import at_least_float32, largest_exponent
from pgjax.types import Array, Numeric


def discounted_returns(
    reward: Array, terminated: Array, truncated: Array, *, gamma: Numeric
) -> Array:
    """Monte Carlo returns, G_t = r_t + gamma (1 - done_t) G_{t+1}.

    Nothing is bootstrapped: what would follow a truncation, or the last step, counts
    as zero. For complete episodes this is the return of the time-limited task; to
    bootstrap at the limit, use `lambda_returns`.

    Args:
      reward: (T,) or (T, N, ...) rewards r_t, t in [0, ..., T-1].
      terminated: like `reward`, bool; the step led to a terminal state.
      truncated: like `reward`, bool; the step was the last before a time limit.
      gamma: discount in [0, 1].

    Returns:
      Returns, shaped like `reward`.

    Raises:
      ValueError: if the shapes differ, or `gamma` does not broadcast or is out of
        range.

    References:
      Sutton and Barto, Reinforcement Learning, 2nd ed., 2018, eq. 3.9.

    >>> reward, no = jnp.array([1., 1., 1.]), jnp.zeros(3, bool)
    >>> print(discounted_returns(reward, no, no, gamma=0.5))
    [1.75 1.5  1.  ]
    """
    check_arrays(reward=reward)
    return lambda_returns(
        reward, jnp.zeros_like(reward), terminated, truncated, gamma=gamma
    )


def lambda_returns(
    reward: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    *,
    gamma: Numeric,
    lam: Numeric = 1.0,
) -> Array:
    """Lambda returns: the recursion at the head of this file.

    lam = 1 is Monte Carlo, bootstrapped only where the data end without a terminal
    state; lam = 0 is the one-step target r_t + gamma V(s'_t).

    Args:
      reward: (T,) or (T, N, ...) rewards r_t, t in [0, ..., T-1].
      next_value: like `reward`; V(s'_t), the value of the observation before a reset.
      terminated: like `reward`, bool.
      truncated: like `reward`, bool.
      gamma: discount in [0, 1].
      lam: trace decay in [0, 1].

    Returns:
      Returns G_t, shaped like `reward`.

    Raises:
      ValueError: if the shapes differ, or `gamma` or `lam` does not broadcast or is
        out of range.

    References:
      Sutton and Barto, 2018, eq. 12.18 (the return with bootstrapping).

    >>> reward, value = jnp.array([1., 1., 1.]), jnp.array([10., 10., 10.])
    >>> cut, no = jnp.array([False, False, True]), jnp.zeros(3, bool)
    >>> print(lambda_returns(reward, value, no, cut, gamma=0.5))
    [3. 4. 6.]
    >>> print(lambda_returns(reward, value, cut, no, gamma=0.5))
    [1.75 1.5  1.  ]
    >>> print(lambda_returns(reward, value, no, cut, gamma=0.5, lam=0.))
    [6. 6. 6.]
    """
    check_steps(
        reward=reward, next_value=next_value, terminated=terminated, truncated=truncated
    )
    check_broadcasts(reward, gamma=gamma, lam=lam)
    check_unit_interval(gamma=gamma, lam=lam)
    reward, next_value = at_least_float32(reward, next_value)
    gamma, lam = (jnp.asarray(x, reward.dtype) for x in (gamma, lam))
    done = terminated | truncated
    discount = jnp.where(terminated, 0.0, gamma)
    trace = jnp.where(done, 0.0, lam)
    # What a critic says of a terminal state is ignored, be it NaN.
    bootstrap = jnp.where(terminated, 0.0, (1.0 - trace) * next_value)
    target = reward + discount * bootstrap
    # The value after the last step enters as G_T, so that the last step, too, follows
    # the recursion: (1 - c) V + c V = V.
    last = jnp.where(terminated[-1], 0.0, next_value[-1])
    return _backward(target, discount * trace, done, last)


def gae(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    *,
    gamma: Numeric,
    lam: Numeric,
) -> Array:
    """Generalised advantage estimates, A_t = G_t - V(s_t) with G_t the lambda return.

    Where V(s'_t) is V(s_{t+1}) within an episode, as it is for any one critic, that is
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},
    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t).

    Args:
      reward: (T,) or (T, N, ...) rewards r_t, t in [0, ..., T-1].
      value: like `reward`; V(s_t).
      next_value: like `reward`; V(s'_t), the value of the observation before a reset.
      terminated: like `reward`, bool.
      truncated: like `reward`, bool.
      gamma: discount in [0, 1].
      lam: trace decay in [0, 1]; 0 has least variance, 1 least bias.

    Returns:
      Advantages, shaped like `reward`.

    Raises:
      ValueError: if the shapes differ, or `gamma` or `lam` does not broadcast or is
        out of range.

    References:
      Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage
      Estimation, 2016, eq. 16.

    >>> reward, value = jnp.array([1., 1., 1.]), jnp.array([1., 2., 3.])
    >>> end, no = jnp.array([False, False, True]), jnp.zeros(3, bool)
    >>> print(gae(reward, value, jnp.array([2., 3., 4.]), end, no, gamma=1., lam=0.))
    [ 2.  2. -2.]
    >>> print(gae(reward, value, jnp.array([2., 3., 4.]), end, no, gamma=1., lam=1.))
    [ 2.  0. -2.]
    """
    check_steps(
        reward=reward,
        value=value,
        next_value=next_value,
        terminated=terminated,
        truncated=truncated,
    )
    reward, value, next_value = at_least_float32(reward, value, next_value)
    returns = lambda_returns(
        reward, next_value, terminated, truncated, gamma=gamma, lam=lam
    )
    return returns - value


def n_step_returns(
    reward: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    *,
    gamma: Numeric,
    n: int,
) -> Array:
    """Returns that bootstrap n steps ahead, or where an episode or the data end.

    G_t = r_t + gamma r_{t+1} + ... + gamma^{n-1} r_{t+n-1} + gamma^n V(s'_{t+n-1}).

    Args:
      reward: (T,) or (T, N, ...) rewards r_t, t in [0, ..., T-1].
      next_value: like `reward`; V(s'_t), the value of the observation before a reset.
      terminated: like `reward`, bool.
      truncated: like `reward`, bool.
      gamma: discount in [0, 1].
      n: number of rewards before the bootstrap, at least 1; a static int.

    Returns:
      Returns, shaped like `reward`.

    Raises:
      ValueError: if n < 1, the shapes differ, or `gamma` does not broadcast or is
        out of range.

    References:
      Sutton and Barto, 2018, eq. 7.1.

    >>> reward, value = jnp.array([1., 1., 1.]), jnp.array([10., 10., 10.])
    >>> no = jnp.zeros(3, bool)
    >>> print(n_step_returns(reward, value, no, no, gamma=0.5, n=2))
    [4. 4. 6.]
    """
    n = as_count("n", n)
    check_steps(
        reward=reward, next_value=next_value, terminated=terminated, truncated=truncated
    )
    check_broadcasts(reward, gamma=gamma)
    check_unit_interval(gamma=gamma)
    reward, next_value = at_least_float32(reward, next_value)
    gamma = jnp.asarray(gamma, reward.dtype)
    done = terminated | truncated

    def look_ahead(ahead: Array) -> Array:
        """One reward, then `ahead`, or V(s'_t) where the episode goes no further."""
        following = jnp.where(done, next_value, ahead)
        return reward + gamma * jnp.where(terminated, 0.0, following)

    def one_step_further(_: int, ahead: Array) -> Array:
        return jnp.concatenate([look_ahead(ahead)[1:], last])

    steps = min(n, reward.shape[0])
    last = next_value[-1:]
    return look_ahead(jax.lax.fori_loop(0, steps - 1, one_step_further, next_value))


def vtrace(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    log_ratio: Array,
    *,
    gamma: Numeric,
    lam: Numeric = 1.0,
    clip_rho: Numeric = 1.0,
    clip_c: Numeric = 1.0,
) -> tuple[Array, Array]:
    """V-trace targets and policy-gradient advantages, for data from an older policy.

    v_t = V(s_t) + rho_t delta_t + gamma c_t (1 - done_t) (v_{t+1} - V(s_{t+1})),
    rho_t = min(clip_rho, ratio_t),  c_t = lam min(clip_c, ratio_t),
    A_t = rho_t (r_t + gamma (1 - terminated_t) v'_t - V(s_t)),
    where v'_t is v_{t+1} within an episode and V(s'_t) at a truncation or the last row,
    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t), and an episode is done
    where it is terminated or truncated. A_t holds rho_t already: it goes with
    `policy_gradient_loss`, which takes it as a constant, as `value_loss` does v_t.
    With log_ratio = 0, v_t is the lambda return.

    Args:
      reward: (T,) or (T, N, ...) rewards r_t, t in [0, ..., T-1].
      value: like `reward`; V(s_t).
      next_value: like `reward`; V(s'_t), the value of the observation before a reset.
      terminated: like `reward`, bool.
      truncated: like `reward`, bool.
      log_ratio: like `reward`; log pi(a_t | s_t) - log mu(a_t | s_t), pi the policy
        that learns and mu the one that acted.
      gamma: discount in [0, 1].
      lam: trace decay in [0, 1].
      clip_rho: bound of the ratio that weighs the temporal differences, > 0.
      clip_c: bound of the ratio that carries them back, > 0.

    Returns:
      Targets v_t and advantages A_t, each shaped like `reward`.

    Raises:
      ValueError: if the shapes differ, or a coefficient does not broadcast or is
        out of range.

    References:
      Espeholt et al., IMPALA, 2018, eq. 1 and section 4.2.

    >>> reward, value = jnp.array([1., 1., 1.]), jnp.array([1., 2., 3.])
    >>> end, no = jnp.array([False, False, True]), jnp.zeros(3, bool)
    >>> target, advantage = vtrace(reward, value, jnp.array([2., 3., 4.]), end, no,
    ...                            jnp.zeros(3), gamma=1.)
    >>> print(target, advantage)
    [3. 2. 1.] [ 2.  0. -2.]
    """
    check_steps(
        reward=reward,
        value=value,
        next_value=next_value,
        terminated=terminated,
        truncated=truncated,
        log_ratio=log_ratio,
    )
    check_broadcasts(reward, gamma=gamma, lam=lam, clip_rho=clip_rho, clip_c=clip_c)
    check_unit_interval(gamma=gamma, lam=lam)
    check_positive(clip_rho=clip_rho, clip_c=clip_c)
    steps = at_least_float32(reward, value, next_value, log_ratio)
    reward, value, next_value, log_ratio = steps
    gamma, lam = (jnp.asarray(x, reward.dtype) for x in (gamma, lam))
    rho = _clipped_ratio(log_ratio, clip_rho)
    trace = lam * _clipped_ratio(log_ratio, clip_c)
    done = terminated | truncated
    reached = jnp.where(terminated, 0.0, next_value)
    difference = rho * (reward + gamma * reached - value)
    excess = _backward(difference, gamma * trace, done, jnp.zeros_like(value[-1]))
    target = value + excess
    following = jnp.concatenate([target[1:], next_value[-1:]])
    ahead = jnp.where(done, reached, following)
    advantage = rho * (reward + gamma * ahead - value)
    return target, advantage


def _clipped_ratio(log_ratio: Array, clip: Numeric) -> Array:
    """min(clip, exp(log_ratio)); without a clip, a third of what the dtype holds."""
    limit = largest_exponent(log_ratio.dtype) / 3.0
    most = jnp.minimum(jnp.log(jnp.asarray(clip, log_ratio.dtype)), limit)
    # Clipped before the exponential, which would overflow for ratios cut anyway.
    return jnp.exp(jnp.minimum(log_ratio, most))


def _backward(addend: Array, factor: Array, done: Array, last: Array) -> Array:
    """x_t = addend_t + factor_t x_{t+1}, without the second where done; x_T = last."""

    def step(following, inputs):
        addend_t, factor_t, done_t = inputs
        # Not a product with 0, which would keep another episode's NaN.
        following = jnp.where(done_t, 0.0, following)
        current = addend_t + factor_t * following
        return current, current

    _, result = jax.lax.scan(step, last, (addend, factor, done), reverse=True)
    return result
