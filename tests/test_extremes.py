"""Extreme but legal numbers, in every dtype: results and gradients, finite and right.

What is legal is said by `pgjax.losses`, `pgjax.distributions` and `pgjax.reductions`.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from turns import slow

import pgjax as pg
from pgjax.baselines import BASELINES
from pgjax.reductions import moments, standardize, weighted_mean

DTYPES = ("float16", "bfloat16", "float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", [*DTYPES[:-1], slow(DTYPES[-1])])
LOG_PROBS = (-1e4, -300.0, -89.0, -12.0, -1.0, 0.0)
# Of advantages, values and rewards, each the largest that gradients have room for.
HUGE = {"float16": 1000.0, "bfloat16": 1e20, "float32": 1e20, "float64": 1e150}
TINY = {"float16": 1e-3, "bfloat16": 1e-30, "float32": 1e-30, "float64": 1e-200}


@pytest.fixture(autouse=True)
def x64(request):
    """float64 where it is asked for."""
    with jax.enable_x64(request.node.callspec.params.get("dtype") == "float64"):
        yield


def grid(dtype, *values):
    """Every combination of the values, an array each."""
    return [
        jnp.asarray(x, dtype) for x in zip(*itertools.product(*values), strict=True)
    ]


def wide(x):
    return np.asarray(x, np.float64)


def value_and_grad(fn, *arrays):
    """Of each element; both finite."""
    loss = fn(*arrays)
    grad = jax.grad(lambda x: jnp.sum(fn(x, *arrays[1:])))(arrays[0])
    assert grad.dtype == arrays[0].dtype
    assert np.isfinite(wide(loss)).all()
    assert np.isfinite(wide(grad)).all()
    return wide(loss), wide(grad)


def log_prob_grid(dtype):
    gains = (HUGE[dtype], 1.0, TINY[dtype], 0.0)
    return grid(dtype, LOG_PROBS, LOG_PROBS, (*gains, *(-x for x in gains)))


@each_dtype
def test_the_policy_gradient_has_the_advantage_s_sign(dtype):
    new, _, gain = log_prob_grid(dtype)
    _, grad = value_and_grad(pg.policy_gradient_loss, new, gain)
    np.testing.assert_array_equal(grad, -wide(gain))


@each_dtype
@pytest.mark.parametrize("clip", [0.2, 1e3, np.inf, None])
def test_surrogates_push_the_way_the_advantage_says_or_not_at_all(dtype, clip):
    def loss(*arrays):
        if clip is None:
            return pg.surrogate_loss(*arrays)
        return pg.clipped_surrogate_loss(*arrays, clip=clip)

    new, old, gain = log_prob_grid(dtype)
    _, grad = value_and_grad(loss, new, old, gain)
    x, gain = wide(new) - wide(old), wide(gain)
    assert np.all((np.sign(grad) == -np.sign(gain)) | (grad == 0))
    # Never where the ratio is too small for a good action, or too large for a bad one.
    back = (np.abs(x) < 5) if clip in (None, np.inf) else np.zeros(len(x), bool)
    back |= (gain < 0) & (x >= 0)
    assert np.all((grad != 0)[back & (np.abs(gain) >= 1)])
    if clip == 0.2:
        assert np.all(grad[(gain > 0) & (x > 1)] == 0)


@each_dtype
def test_the_kl_penalty_pulls_towards_the_reference(dtype):
    new, reference = grid(dtype, LOG_PROBS, LOG_PROBS)
    penalty, grad = value_and_grad(pg.kl_penalty, new, reference)
    x = wide(new) - wide(reference)
    np.testing.assert_array_equal(np.sign(grad), np.sign(x))
    np.testing.assert_array_equal(np.sign(penalty), np.abs(np.sign(x)))


@each_dtype
@pytest.mark.parametrize("clip", [None, 0.2])
def test_value_losses_pull_towards_the_target(dtype, clip):
    numbers = (0.0, 1.0, -1.0, 0.01 * HUGE[dtype], -0.01 * HUGE[dtype])
    value, old, target = grid(dtype, numbers, numbers, numbers)
    if clip is None:
        _, grad = value_and_grad(pg.value_loss, value, target)
    else:
        _, grad = value_and_grad(
            lambda *x: pg.clipped_value_loss(*x, clip=clip), value, old, target
        )
    error = wide(value) - wide(target)
    right = np.sign(grad) == np.sign(error)
    assert np.all(right if clip is None else right | (grad == 0))


@each_dtype
@pytest.mark.parametrize("reduction", ["sequences", "tokens", "sequence_sums"])
def test_grpo_s_loss_is_finite_and_pulls_the_right_way(dtype, reduction):
    new, old, gain = (x[None] for x in log_prob_grid(dtype))  # one token each
    weight = jnp.ones_like(new)

    def loss(kl_coefficient, gain, new):
        settings = {"reduction": reduction, "kl_coefficient": kl_coefficient}
        return pg.grpo_loss(new, old, old, gain, weight, **settings)

    def gradient(*arguments):
        total, metrics = loss(*arguments, new)
        assert np.isfinite([wide(x) for x in (total, *metrics.values())]).all()
        grad = jax.grad(lambda x: loss(*arguments, x)[0] * new.size)(new)
        assert np.isfinite(wide(grad)).all()
        return np.sign(wide(grad))

    sign = gradient(0.0, gain)
    assert np.all((sign == -np.sign(wide(gain))) | (sign == 0))
    penalty = gradient(1.0, jnp.zeros_like(gain))
    np.testing.assert_array_equal(penalty, np.sign(wide(new) - wide(old)))


@each_dtype
@pytest.mark.parametrize("size", [1.0, "huge", "tiny"])
def test_group_advantages_of_rewards_of_any_size(dtype, size):
    scale = {"huge": HUGE, "tiny": TINY}.get(size, dict.fromkeys(DTYPES, 1.0))[dtype]
    reward = jnp.asarray([1.0, 2.0, 3.0, 4.0, 0.0, -2.0, 1.0, 1.0], dtype) * scale
    expected = wide(reward).reshape(2, 4)
    expected = expected / np.abs(expected).max(axis=1, keepdims=True)
    expected -= expected.mean(axis=1, keepdims=True)
    expected /= expected.std(axis=1, ddof=1, keepdims=True)
    close = np.testing.assert_allclose
    close(pg.grpo_advantages(reward, group_size=4), expected.ravel(), rtol=1e-5)
    rloo = wide(pg.rloo_advantages(reward, group_size=4)) / wide(scale)
    others = wide(reward).reshape(2, 4) / wide(scale)
    others = others - (others.sum(axis=1, keepdims=True) - others) / 3
    close(rloo, others.ravel(), rtol=1e-5)


NO = np.zeros(4, bool)
LAST = np.array([False, True, False, True])


def returns_of(name, reward, value, flags):
    steps, settings = (reward, value, *flags), {"gamma": 1.0, "lam": 0.9}
    ratio = jnp.zeros_like(reward)
    return {
        "discounted_returns": lambda: pg.discounted_returns(reward, *flags, gamma=1.0),
        "lambda_returns": lambda: pg.lambda_returns(*steps, **settings),
        "gae": lambda: pg.gae(reward, *steps, **settings),
        "n_step_returns": lambda: pg.n_step_returns(*steps, gamma=1.0, n=3),
        "vtrace": lambda: jnp.stack(pg.vtrace(reward, *steps, ratio, **settings)),
    }[name]()


RETURNS = ("discounted_returns", "lambda_returns", "gae", "n_step_returns", "vtrace")


@each_dtype
@pytest.mark.parametrize("name", RETURNS)
@pytest.mark.parametrize("ended", ["terminated", "truncated"])
def test_returns_of_huge_rewards_are_finite_and_keep_to_their_episode(
    name, ended, dtype
):
    flags = (LAST, NO) if ended == "terminated" else (NO, LAST)
    huge = jnp.full(4, HUGE[dtype], dtype)
    assert np.isfinite(wide(returns_of(name, huge, huge, flags))).all()

    def first_episode(x):
        # Rewards and values alike; those of the second episode may be NaN.
        return returns_of(name, x, x, flags)[..., :2]

    poisoned = huge.at[2:].set(jnp.nan)
    np.testing.assert_array_equal(first_episode(poisoned), first_episode(huge))
    grad = jax.grad(lambda x: jnp.sum(first_episode(x)))(poisoned)
    assert np.isfinite(wide(grad)).all()


@each_dtype
@pytest.mark.parametrize("log_ratio", [-1e4, -100.0, 100.0, 1e4])
def test_vtrace_is_finite_for_any_ratio(dtype, log_ratio):
    ones = jnp.ones(1, dtype)
    no = np.zeros(1, bool)
    for clip in (1.0, 5.0, np.inf):
        results = pg.vtrace(
            *(HUGE[dtype] * ones, -ones, ones, no, no, log_ratio * ones),
            gamma=0.9,
            clip_rho=clip,
            clip_c=clip,
        )
        assert np.isfinite(wide(results)).all()


FILLERS = (np.nan, np.inf, -np.inf)
STATISTICS = {
    "weighted_mean": weighted_mean,
    "mean over time": lambda x, weight: weighted_mean(x, weight, axis=0),
    "moments": lambda x, weight: jnp.stack(moments(x, weight)),
    "standardize": lambda x, weight: standardize(x, weight)[:, :2],
} | {
    name: lambda x, weight, baseline=baseline: baseline(x, weight, x)[:, :2]
    for name, baseline in BASELINES.items()
}


@each_dtype
@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("filler", FILLERS)
def test_padding_may_hold_anything(name, filler, dtype):
    rng = np.random.default_rng(0)
    counts = np.arange(5)[:, None] < np.array([5, 5, 3, 1])
    x = jnp.asarray(rng.normal(size=(5, 4)), dtype)
    padded = jnp.where(counts, x, jnp.asarray(filler, dtype))
    weight = counts.astype(dtype)
    fn = STATISTICS[name]
    np.testing.assert_array_equal(fn(padded, weight), fn(x, weight))
    clean, grad = (
        jax.grad(lambda x: jnp.sum(jnp.square(fn(x, weight))))(x) for x in (x, padded)
    )
    np.testing.assert_array_equal(wide(grad), wide(clean))


# Logits, in units of the largest number of the dtype; and -inf for what is illegal.
LOGITS = {
    "two far apart": [0.9, -0.9],
    "one of two": [0.0, -np.inf],
    "the other of two": [-np.inf, 0.9],
    "far apart": [0.9, -0.9, 0.0],
    "all low": [-0.9, -0.9, -0.9],
    "all high": [0.9, 0.9, 0.9],
    "one illegal": [0.0, -np.inf, 0.0],
    "one legal": [-np.inf, 0.9, -np.inf],
    "one legal, low": [-np.inf, -0.9, -np.inf, -np.inf],
    "some illegal": [0.9, -np.inf, -0.9, 0.0, 0.0],
}


def logits_of(name, dtype):
    return jnp.asarray(np.array(LOGITS[name]) * float(jnp.finfo(dtype).max), dtype)


@each_dtype
@pytest.mark.parametrize("name", LOGITS)
def test_categoricals_of_extreme_logits(name, dtype):
    logits = logits_of(name, dtype)
    legal = ~np.isinf(wide(logits))
    k = len(logits)
    policy = pg.Categorical(logits)
    assert 0 <= policy.entropy() <= np.log(k) + 1e-6
    np.testing.assert_allclose(np.sum(wide(policy.probs)), 1.0, rtol=1e-6)
    assert np.all(wide(policy.probs)[~legal] == 0)
    assert legal[policy.mode()]
    keys = jax.random.split(jax.random.key(0), 100)
    assert legal[np.asarray(jax.vmap(policy.sample)(keys))].all()

    def finite(fn):
        grad = jax.grad(lambda x: fn(pg.Categorical(x)))(logits)
        assert grad.dtype == logits.dtype
        assert np.isfinite(wide(grad)).all()
        return wide(grad)

    finite(lambda x: x.entropy())
    finite(lambda x: x.kl(policy))
    finite(lambda x: policy.kl(x))
    assert policy.kl(policy) == 0
    for action in np.flatnonzero(legal):
        score = finite(lambda x, a=action: x.log_prob(jnp.asarray(a)))
        # As high as it can, every other one as low.
        assert score[action] >= 0
        assert np.all(np.delete(score, action) <= 0)
        assert score[action] > 0.4 or wide(policy.probs)[action] > 0.4


@each_dtype
@pytest.mark.parametrize("low", [0.0, -50.0, -1e4])  # probabilities that underflow too
@pytest.mark.parametrize("k", [2, 3])
def test_kl_to_what_is_illegal_there_is_infinite_and_never_nan(k, low, dtype):
    logits = jnp.zeros(k, dtype).at[0].set(low)
    masked = logits.at[0].set(-jnp.inf)
    here, there = pg.Categorical(logits), pg.Categorical(masked)
    assert here.kl(there) == np.inf
    assert 0 <= there.kl(here) < 1
    for kl in (
        lambda x: pg.Categorical(x).kl(there),
        lambda x: pg.Categorical(x).kl(here),
    ):
        for x in (logits, masked):
            assert np.isfinite(wide(jax.grad(kl)(x))).all()
    for kl in (
        lambda x: here.kl(pg.Categorical(x)),
        lambda x: there.kl(pg.Categorical(x)),
    ):
        for x in (logits, masked):
            assert np.isfinite(wide(jax.grad(kl)(x))).all()


LOG_STDS = {
    "float16": (-8.0, 0.0, 8.0),
    "bfloat16": (-1e30, -1e4, -200.0, -80.0, 0.0, 80.0),
    "float32": (-1e30, -1e4, -200.0, -88.0, -80.0, 0.0, 80.0),
    "float64": (-1e200, -1e4, -700.0, -200.0, 0.0, 200.0, 700.0),
}


@each_dtype
@pytest.mark.parametrize("mean", [0.0, -1.0, 1000.0])
def test_gaussians_of_extreme_deviations(mean, dtype):
    for log_std in LOG_STDS[dtype]:
        policy = pg.DiagGaussian(*(jnp.full(3, x, dtype) for x in (mean, log_std)))
        action = policy.sample(jax.random.key(0))
        assert np.isfinite(wide(action)).all()
        sampled = jax.tree.map(jnp.asarray, policy)

        def log_prob(policy, action=action):
            return policy.log_prob(action)

        results = {
            "log_prob": jax.value_and_grad(log_prob)(sampled),
            "entropy": jax.value_and_grad(pg.DiagGaussian.entropy)(sampled),
            "kl to it": jax.value_and_grad(lambda x, p=policy: x.kl(p))(sampled),
            "kl of it": jax.value_and_grad(lambda x, p=policy: p.kl(x))(sampled),
        }
        for name, result in results.items():
            for leaf in jax.tree.leaves(result):
                assert np.isfinite(wide(leaf)).all(), (name, log_std)
        if log_std <= -1e4:  # the density rises as the deviation falls
            assert np.all(wide(results["log_prob"][1].log_std) < 0)
        assert np.all(wide(results["entropy"][1].log_std) == 1)


@pytest.mark.parametrize("dtype", ["float32"])
def test_gaussians_wider_than_the_dtype_are_finite_all_the_same(dtype):
    wide_one = jnp.full(10_000, 1e4, dtype)
    policy = pg.DiagGaussian(jnp.zeros(10_000, dtype), wide_one, event_ndim=0)
    action = policy.sample(jax.random.key(0))
    assert np.isfinite(action).all()
    assert np.isfinite(policy.log_prob(action)).all()
