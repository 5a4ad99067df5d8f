from functools import partial
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgjax as pg

discounted_returns = jax.jit(pg.discounted_returns)
lambda_returns = jax.jit(pg.lambda_returns)
gae = jax.jit(pg.gae)
n_step_returns = jax.jit(pg.n_step_returns, static_argnames="n")
vtrace = jax.jit(pg.vtrace)

close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


class Steps(NamedTuple):
    reward: np.ndarray
    value: np.ndarray
    next_value: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    log_ratio: np.ndarray

    @property
    def flags(self):
        return self.terminated, self.truncated

    @property
    def bootstrapped(self):
        return self.reward, self.next_value, *self.flags


def make_steps(reward, value, own_next, terminated, truncated, log_ratio):
    """Steps where V(s'_t) is V(s_{t+1}), but for the ends, which have their own."""
    following = np.append(value[1:], own_next[-1:], axis=0)
    next_value = np.where(terminated | truncated, own_next, following)
    return Steps(reward, value, next_value, terminated, truncated, log_ratio)


def random_steps(shape, end_probability, seed=0):
    rng = np.random.default_rng(seed)
    reward, value, own_next, log_ratio = rng.normal(size=(4, *shape)).astype("float32")
    terminated, truncated = rng.random((2, *shape)) < end_probability
    return make_steps(reward, value, own_next, terminated, truncated, log_ratio)


CASES = {
    "no ends": random_steps((7, 3), 0.0),
    "some ends": random_steps((7, 3), 0.25, seed=1),
    "all ends": random_steps((7, 3), 1.0),  # and both flags at once
    "one step": random_steps((1, 3), 0.5),
    "no envs axis": random_steps((7,), 0.25, seed=2),
}
each_case = pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
each_gamma = pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
each_lam = pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])

numbers = st.floats(-10, 10, width=32)
SHAPE = (6, 2)


def arrays(dtype=np.float32, elements=numbers):
    return hnp.arrays(dtype, SHAPE, elements=elements)


flags = arrays(bool, st.booleans())
steps_strategy = st.builds(
    make_steps, arrays(), arrays(), arrays(), flags, flags, arrays()
)
unit = st.floats(0, 1, width=32)


@each_gamma
@each_case
def test_discounted_returns_equal_the_sum_of_later_rewards(steps, gamma):
    result = discounted_returns(steps.reward, *steps.flags, gamma=gamma)
    close(result, oracles.discounted_returns(steps.reward, *steps.flags, gamma=gamma))


@each_lam
@each_gamma
@each_case
def test_lambda_returns_are_the_mixture_of_n_step_returns(steps, gamma, lam):
    result = lambda_returns(*steps.bootstrapped, gamma=gamma, lam=lam)
    expected = oracles.lambda_returns(*steps.bootstrapped, gamma=gamma, lam=lam)
    close(result, expected)


@each_lam
@each_gamma
@each_case
def test_gae_is_the_decayed_sum_of_temporal_differences(steps, gamma, lam):
    result = gae(*steps[:5], gamma=gamma, lam=lam)
    close(result, oracles.gae(*steps[:5], gamma=gamma, lam=lam))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
@each_gamma
@each_case
def test_n_step_returns_look_n_rewards_ahead(steps, gamma, n):
    result = n_step_returns(*steps.bootstrapped, gamma=gamma, n=n)
    close(result, oracles.n_step_returns(*steps.bootstrapped, gamma=gamma, n=n))


@pytest.mark.parametrize(("lam", "clip_rho", "clip_c"), [(1, 1, 1), (0.8, 2, 0.5)])
@each_gamma
@each_case
def test_vtrace_equals_its_definition(steps, gamma, lam, clip_rho, clip_c):
    options = {"gamma": gamma, "lam": lam, "clip_rho": clip_rho, "clip_c": clip_c}
    target, advantage = vtrace(*steps, **options)
    close(target, oracles.vtrace_target(*steps, **options))
    close(advantage, oracles.vtrace_advantage(*steps, **options))


def test_gradients_equal_finite_differences_of_the_oracles():
    steps = random_steps((6,), 0.2, seed=5)
    assert steps.terminated.any()
    assert steps.truncated.any()
    reward, value, next_value, terminated, truncated, log_ratio = steps
    options = {"gamma": 0.9, "lam": 0.8}
    ends = terminated, truncated

    def linked(module, value):
        """V(s'_t) within an episode is V(s_{t+1}), so its gradient counts as well."""
        xp = np if module is oracles else jnp
        following = xp.append(value[1:], next_value[-1:])
        return xp.where(terminated | truncated, next_value, following)

    pairs = [
        (lambda m: lambda r: m.discounted_returns(r, *ends, gamma=0.9), reward),
        (lambda m: lambda r: m.lambda_returns(r, next_value, *ends, **options), reward),
        (lambda m: lambda v: m.lambda_returns(reward, v, *ends, **options), value),
        (lambda m: lambda v: m.n_step_returns(reward, v, *ends, gamma=0.9, n=3), value),
        (lambda m: lambda v: m.gae(reward, v, linked(m, v), *ends, **options), value),
    ]
    for make, x in pairs:
        close(jax.jit(jax.jacobian(make(pg)))(x), oracles.jacobian(make(oracles), x))

    for position, x in [(1, value), (2, next_value), (5, log_ratio)]:

        def inputs(x, position=position):
            return *steps[:position], x, *steps[position + 1 :]

        both = jax.jacobian(lambda x, f=inputs: pg.vtrace(*f(x), **options))
        target, advantage = jax.jit(both)(x)
        close(
            target,
            oracles.jacobian(lambda x: oracles.vtrace_target(*inputs(x), **options), x),
        )
        close(
            advantage,
            oracles.jacobian(
                lambda x: oracles.vtrace_advantage(*inputs(x), **options), x
            ),
        )


@given(steps_strategy, arrays(), unit, unit)
def test_lambda_returns_are_linear_in_reward_and_value(steps, other, gamma, lam):
    def returns(reward, value):
        return lambda_returns(reward, value, *steps.flags, gamma=gamma, lam=lam)

    both = returns(steps.reward + 2 * other, steps.next_value + 2 * steps.value)
    first, second = returns(steps.reward, steps.next_value), returns(other, steps.value)
    close(both, first + 2 * second, atol=1e-3)


@given(steps_strategy, st.integers(0, SHAPE[0] - 1), st.booleans(), unit)
def test_nothing_leaks_back_across_an_episode_s_end(steps, end, terminal, gamma):
    def after(x, fill):
        return np.concatenate([x[: end + 1], np.full_like(x[end + 1 :], fill)])

    flag = steps.terminated if terminal else steps.truncated
    flag = flag.copy()
    flag[end] = True
    steps = steps._replace(**{"terminated" if terminal else "truncated": flag})
    other = Steps(
        *(after(x, 77.0) for x in steps[:3]),
        *(after(x, True) for x in steps.flags),
        after(steps.log_ratio, 0.5),
    )

    def every_estimate(steps):
        return (
            discounted_returns(steps.reward, *steps.flags, gamma=gamma),
            lambda_returns(*steps.bootstrapped, gamma=gamma, lam=0.9),
            gae(*steps[:5], gamma=gamma, lam=0.9),
            n_step_returns(*steps.bootstrapped, gamma=gamma, n=3),
            *vtrace(*steps, gamma=gamma),
        )

    for x, y in zip(every_estimate(steps), every_estimate(other), strict=True):
        np.testing.assert_array_equal(x[: end + 1], y[: end + 1])


@given(arrays(), arrays(), arrays(), st.integers(0, SHAPE[0] - 1), unit, unit)
def test_truncation_adds_the_discounted_value_of_the_state_that_was_cut_off(
    reward, value, own_next, end, gamma, lam
):
    none, ends = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    ends[end] = True
    steps = make_steps(reward, value, own_next, none, ends, np.zeros_like(reward))
    swapped = steps._replace(terminated=ends, truncated=none)
    estimates = [
        lambda s: lambda_returns(*s.bootstrapped, gamma=gamma, lam=lam),
        lambda s: gae(*s[:5], gamma=gamma, lam=lam),
        lambda s: n_step_returns(*s.bootstrapped, gamma=gamma, n=3),
        lambda s: vtrace(*s, gamma=gamma)[0],
        lambda s: vtrace(*s, gamma=gamma)[1],
    ]
    for estimate in estimates:
        cut, ended = estimate(steps), estimate(swapped)
        close(cut[end] - ended[end], gamma * own_next[end], atol=1e-4)
        np.testing.assert_array_equal(cut[end + 1 :], ended[end + 1 :])


@given(steps_strategy)
def test_a_terminal_step_that_is_also_truncated_is_terminal(steps):
    both = steps._replace(truncated=steps.terminated | steps.truncated)
    one = steps._replace(truncated=steps.truncated & ~steps.terminated)
    for estimate in (
        lambda s: lambda_returns(*s.bootstrapped, gamma=0.9, lam=0.8),
        lambda s: n_step_returns(*s.bootstrapped, gamma=0.9, n=3),
        lambda s: vtrace(*s, gamma=0.9)[0],
        lambda s: vtrace(*s, gamma=0.9)[1],
    ):
        np.testing.assert_array_equal(estimate(both), estimate(one))


@each_case
def test_lambda_one_without_values_is_monte_carlo(steps):
    zeros = np.zeros_like(steps.reward)
    result = lambda_returns(steps.reward, zeros, *steps.flags, gamma=0.9, lam=1.0)
    expected = oracles.discounted_returns(steps.reward, *steps.flags, gamma=0.9)
    close(result, expected)


@each_case
def test_lambda_zero_is_the_one_step_target(steps):
    td = steps.reward + 0.9 * np.where(steps.terminated, 0, steps.next_value)
    close(lambda_returns(*steps.bootstrapped, gamma=0.9, lam=0.0), td)
    close(n_step_returns(*steps.bootstrapped, gamma=0.9, n=1), td)
    close(gae(*steps[:5], gamma=0.9, lam=0.0), td - steps.value)


@each_lam
@each_case
def test_gae_plus_value_is_the_lambda_return(steps, lam):
    advantage = gae(*steps[:5], gamma=0.9, lam=lam)
    returns = lambda_returns(*steps.bootstrapped, gamma=0.9, lam=lam)
    close(advantage + steps.value, returns)


@each_lam
@each_case
def test_vtrace_on_policy_is_the_lambda_return(steps, lam):
    steps = steps._replace(log_ratio=np.zeros_like(steps.reward))
    target, _ = vtrace(*steps, gamma=0.9, lam=lam)
    close(target, lambda_returns(*steps.bootstrapped, gamma=0.9, lam=lam))


@each_case
def test_n_of_the_whole_length_is_lambda_one(steps):
    whole = n_step_returns(*steps.bootstrapped, gamma=0.9, n=len(steps.reward))
    close(whole, lambda_returns(*steps.bootstrapped, gamma=0.9, lam=1.0))


@pytest.mark.parametrize(
    "estimate",
    [
        lambda s, **g: discounted_returns(s.reward, *s.flags, **g),
        lambda s, **g: lambda_returns(*s.bootstrapped, lam=0.8, **g),
        lambda s, **g: gae(*s[:5], lam=0.8, **g),
        lambda s, **g: n_step_returns(*s.bootstrapped, n=3, **g),
        lambda s, **g: jnp.stack(vtrace(*s, **g), axis=-1),
    ],
    ids=["discounted", "lambda", "gae", "n_step", "vtrace"],
)
def test_each_column_is_the_same_function_with_its_own_gamma(estimate):
    steps, gamma = CASES["some ends"], np.array([[0.2, 0.9, 1.0]], np.float32)
    together = estimate(steps, gamma=gamma)
    for i in range(gamma.size):
        alone = Steps(*(x[:, i] for x in steps))
        close(together[:, i], estimate(alone, gamma=gamma[0, i]), rtol=1e-6)


def test_gamma_and_lambda_may_be_swept_by_vmap():
    steps, gammas = CASES["some ends"], jnp.array([0.0, 0.5, 1.0])
    lams = jnp.array([1.0, 0.3, 0.0])
    swept = jax.vmap(
        lambda g, c: pg.lambda_returns(*steps.bootstrapped, gamma=g, lam=c)
    )
    for result, gamma, lam in zip(swept(gammas, lams), gammas, lams, strict=True):
        close(result, lambda_returns(*steps.bootstrapped, gamma=gamma, lam=lam))


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_large_and_small_rewards_keep_their_relative_accuracy(scale):
    steps = CASES["some ends"]
    steps = steps._replace(
        reward=np.abs(steps.reward) * np.float32(scale),
        next_value=np.abs(steps.next_value) * np.float32(scale),
    )
    result = lambda_returns(*steps.bootstrapped, gamma=0.99, lam=0.95)
    expected = oracles.lambda_returns(*steps.bootstrapped, gamma=0.99, lam=0.95)
    close(result, expected, rtol=1e-5, atol=0)


def test_a_long_episode_loses_no_accuracy():
    reward, no = np.ones(10_000, np.float32), np.zeros(10_000, bool)
    result = discounted_returns(reward, no, no, gamma=0.999)
    remaining = np.arange(10_000, 0, -1)
    gamma = np.float64(np.float32(0.999))
    close(result, (1 - gamma**remaining) / (1 - gamma), rtol=1e-4)


@jax.jit
def vtrace_gradients(value, log_ratio, others, clip):
    def total(value, log_ratio):
        steps = others._replace(value=value, log_ratio=log_ratio)
        target, advantage = pg.vtrace(*steps, gamma=0.9, clip_rho=clip, clip_c=clip)
        return jnp.sum(target) + jnp.sum(advantage), (target, advantage)

    return jax.grad(total, (0, 1), has_aux=True)(value, log_ratio)


@pytest.mark.parametrize("log_ratio", [-100.0, 100.0])
@pytest.mark.parametrize("clip", [1.0, 10.0])
def test_vtrace_survives_extreme_ratios(log_ratio, clip):
    steps = CASES["some ends"]
    extreme = np.full_like(steps.reward, log_ratio)
    grads, (target, advantage) = vtrace_gradients(
        steps.value, extreme, steps._replace(value=None, log_ratio=None), clip
    )
    assert all(np.isfinite(x).all() for x in (*grads, target, advantage))
    if log_ratio < 0:  # nothing of such data is to be believed
        close(target, steps.value)
        close(advantage, 0)
    else:  # the clip makes it on-policy data, scaled
        unclipped = steps._replace(log_ratio=np.full_like(extreme, np.log(clip)))
        close(target, vtrace(*unclipped, gamma=0.9, clip_rho=clip, clip_c=clip)[0])


@pytest.mark.parametrize("dtype", [np.int32, np.float64, jnp.bfloat16, np.float16])
def test_rewards_of_any_number_type_have_returns(dtype):
    no = np.zeros(3, bool)
    reward = np.ones(3, dtype)
    expected = [1.75, 1.5, 1.0]
    # A swept gamma is an array, so its float32 is not weakly typed.
    gamma = jnp.float32(0.5)
    close(pg.discounted_returns(reward, no, no, gamma=gamma).astype(float), expected)


def test_environments_against_a_column_vector_is_an_error():
    good, bad = jnp.zeros((4, 1)), jnp.zeros(4)
    no = jnp.zeros((4, 1), bool)
    shapes = r"reward \(4,\).*next_value \(4, 1\)"
    with pytest.raises(ValueError, match=shapes):
        pg.lambda_returns(bad, good, no, no, gamma=0.9)
    with pytest.raises(ValueError, match=shapes):
        pg.n_step_returns(bad, good, no, no, gamma=0.9, n=2)
    with pytest.raises(ValueError, match=r"reward \(4,\).*terminated \(4, 1\)"):
        pg.discounted_returns(bad, no, no, gamma=0.9)
    with pytest.raises(ValueError, match=r"reward \(4, 1\), value \(4,\)"):
        pg.gae(good, bad, good, no, no, gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match=r"log_ratio \(4,\)"):
        pg.vtrace(good, good, good, no, no, bad, gamma=0.9)


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_flags_that_are_not_boolean_are_an_error(flag):
    flags = {"terminated": jnp.zeros(3, bool), "truncated": jnp.zeros(3, bool)}
    flags[flag] = jnp.zeros(3)
    with pytest.raises(TypeError, match=rf"{flag} must be boolean, got float32"):
        pg.discounted_returns(jnp.zeros(3), **flags, gamma=0.9)


@pytest.mark.parametrize("shape", [(), (0,), (0, 5)])
def test_no_steps_are_an_error(shape):
    empty, no = jnp.zeros(shape), jnp.zeros(shape, bool)
    with pytest.raises(ValueError, match=r"time is the first axis.*\("):
        pg.discounted_returns(empty, no, no, gamma=0.9)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2), (4, 1, 1)])
@pytest.mark.parametrize("name", ["gamma", "lam"])
def test_a_coefficient_that_does_not_fit_is_an_error(name, shape):
    reward, no = jnp.zeros((4, 3)), jnp.zeros((4, 3), bool)
    options = {"gamma": 0.9, "lam": 0.9, name: jnp.ones(shape)}
    with pytest.raises(ValueError, match=rf"{name} has shape \({shape[0]}.*\(4, 3\)"):
        pg.lambda_returns(reward, reward, no, no, **options)


def test_the_message_about_gamma_says_what_to_pass():
    reward, no = jnp.zeros((4, 3)), jnp.zeros((4, 3), bool)
    with pytest.raises(ValueError, match=r"\(1, N\) for one number per environment"):
        pg.discounted_returns(reward, no, no, gamma=jnp.ones(3))


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_step_is_an_error(n):
    reward, no = jnp.zeros(3), jnp.zeros(3, bool)
    with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
        pg.n_step_returns(reward, reward, no, no, gamma=0.9, n=n)


def test_what_a_critic_says_of_a_terminal_state_is_ignored_be_it_nan():
    reward, no = jnp.ones(3), jnp.zeros(3, bool)
    end = jnp.array([False, False, True])
    next_value = jnp.array([1.0, 1.0, jnp.nan])
    clean = next_value.at[-1].set(0.0)
    for function in (
        lambda v: pg.lambda_returns(reward, v, end, no, gamma=0.9, lam=0.5),
        lambda v: pg.gae(reward, reward, v, end, no, gamma=0.9, lam=0.5),
        lambda v: pg.n_step_returns(reward, v, end, no, gamma=0.9, n=2),
        lambda v: pg.vtrace(reward, reward, v, end, no, no * 0.0, gamma=0.9)[0],
        lambda v: pg.vtrace(reward, reward, v, end, no, no * 0.0, gamma=0.9)[1],
    ):
        np.testing.assert_array_equal(function(next_value), function(clean))
