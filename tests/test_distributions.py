from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import probes  # noqa: F401  (registers the probe environments)
import pytest
import scipy.special
import scipy.stats

import pgjax as pg
from pgjax import Categorical, DiagGaussian

rng = np.random.default_rng(0)
# K = 2 takes its own path, through a sigmoid.
each_k = pytest.mark.parametrize("k", [2, 3, 5])


log_prob = jax.jit(Categorical.log_prob)
sample = jax.jit(Categorical.sample)


@jax.jit
def summary(policy, other):
    """All that does not depend on an action or a key."""
    return policy.probs, policy.entropy(), policy.kl(other), policy.mode()


def logits_of(k, seed=0):
    return np.random.default_rng(seed).normal(size=(4, 3, k)).astype(np.float32) * 2


def one_hot(action, k):
    return np.arange(k) == action


EXTREMES = [
    [100.0, -100.0],
    [-100.0, 100.0],
    [0.0, -np.inf],
    [-np.inf, 0.0],
    [100.0, -100.0, 0.0],
    [0.0, -np.inf, 1.0],
    [-np.inf, -np.inf, 1.0],
    [1e30, -1e30, 0.0],
]
each_extreme = pytest.mark.parametrize("logits", EXTREMES, ids=str)


@each_k
def test_log_probs_equal_the_log_softmax(k):
    logits = logits_of(k)
    actions = rng.integers(0, k, size=(4, 3))
    result = log_prob(Categorical(logits), actions)
    expected = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    expected = np.take_along_axis(expected, actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@each_k
def test_probs_entropy_kl_and_mode_equal_numpy(k):
    logits, others = logits_of(k), logits_of(k, seed=1)
    policy, other = (scipy.special.softmax(np.float64(x), -1) for x in (logits, others))
    probs, entropy, kl, mode = summary(Categorical(logits), Categorical(others))
    np.testing.assert_allclose(probs, policy, rtol=1e-5)
    expected = scipy.stats.entropy(policy, axis=-1)
    np.testing.assert_allclose(entropy, expected, rtol=1e-4, atol=1e-6)
    expected = scipy.stats.entropy(policy, other, axis=-1)
    np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(mode, logits.argmax(-1))
    assert mode.dtype == jnp.int32


def test_two_actions_agree_with_the_general_formula():
    # A third action of probability zero takes K = 3's path to the same policy.
    logits = logits_of(2)
    masked = np.full((4, 3, 1), -np.inf, np.float32)
    two, three = Categorical(logits), Categorical(np.append(logits, masked, -1))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    for action in (0, 1):
        actions = np.full((4, 3), action)
        close(log_prob(two, actions), log_prob(three, actions))
    close(summary(two, two)[1], summary(three, three)[1])
    grad = jax.jit(jax.grad(lambda x: jnp.sum(Categorical(x).entropy())))
    close(grad(two.logits), grad(three.logits)[..., :2])
    # The same uniform number picks the same action on both paths.
    key = jax.random.key(0)
    np.testing.assert_array_equal(sample(two, key), sample(three, key))


@pytest.mark.usefixtures("optimized")
@each_k
def test_samples_have_the_policy_s_frequencies(k):
    size = 100_000
    policy = Categorical(jnp.asarray(logits_of(k)[0, 0]))
    batch = Categorical(jnp.broadcast_to(policy.logits, (size, k)))
    actions = sample(batch, jax.random.key(1))
    assert actions.dtype == jnp.int32
    expected = size * scipy.special.softmax(np.float64(policy.logits))
    assert expected.min() > 5  # for the chi-squared approximation
    observed = np.bincount(actions, minlength=k)
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert statistic < scipy.stats.chi2.isf(1e-6, k - 1)


DTYPES = ("float16", "bfloat16", "float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@jax.jit
def samples_of_one(policy, keys):
    """One action of a policy per key; its probabilities are summed up but once."""
    return jax.vmap(policy.sample)(keys)


@pytest.mark.usefixtures("optimized")
@each_dtype
@pytest.mark.parametrize("k", [2, 7, 1000])
def test_frequencies_are_the_softmax_whatever_the_logits_dtype(k, dtype):
    size = 40_000
    with jax.enable_x64(dtype == "float64"):
        logits = np.random.default_rng(k).normal(scale=0.5, size=k)
        logits = jnp.asarray(logits, dtype)
        keys = jax.random.split(jax.random.key(1), size)
        actions = samples_of_one(Categorical(logits), keys)
    expected = size * scipy.special.softmax(np.float64(logits))
    assert expected.min() > 5
    observed = np.bincount(actions, minlength=k)
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert statistic < scipy.stats.chi2.isf(1e-6, k - 1)


@pytest.mark.usefixtures("optimized")
@each_dtype
def test_equally_likely_actions_all_occur(dtype):
    with jax.enable_x64(dtype == "float64"):
        keys = jax.random.split(jax.random.key(0), 40_000)
        actions = samples_of_one(Categorical(jnp.zeros(1000, dtype)), keys)
    # One is missing with probability 1000 (1 - 1/1000)^40,000 = 4e-15.
    assert len(np.unique(actions)) == 1000


@pytest.mark.usefixtures("optimized")
@each_dtype
def test_every_one_of_many_actions_has_its_uniform_numbers(dtype):
    k, some = 100_000, np.append(np.arange(0, 100_000, 9_999), 99_999)
    with jax.enable_x64(dtype == "float64"):
        policy = Categorical(jnp.zeros((len(some), k), dtype))
        uniform = jnp.asarray((some + 0.5) / k, policy.noise(jax.random.key(0)).dtype)
        np.testing.assert_array_equal(policy.from_noise(uniform), some)


@each_dtype
def test_the_noise_is_float32_at_least(dtype):
    key, shape = jax.random.key(0), (5000, 3)
    with jax.enable_x64(dtype == "float64"):
        zeros = jnp.zeros(shape, dtype)
        wide = "float64" if dtype == "float64" else "float32"
        uniform, normal = (x.noise(key) for x in (Categorical(zeros), unit(zeros)))
        np.testing.assert_array_equal(uniform, jax.random.uniform(key, (5000,), wide))
        np.testing.assert_array_equal(normal, jax.random.normal(key, shape, wide))
        action = unit(zeros + 10.0).sample(key)  # where bfloat16 has steps of 1/16
        assert uniform.dtype == normal.dtype == action.dtype == wide
        assert len(np.unique(action)) > 0.99 * action.size


def unit(mean):
    return DiagGaussian(mean, jnp.zeros_like(mean))


@pytest.mark.parametrize("x64", [False, True])
def test_the_noise_of_float32_is_the_same_under_x64(x64):
    zeros, key = jnp.zeros((7, 3), jnp.float32), jax.random.key(0)
    want = jax.random.uniform(key, (7,)), jax.random.normal(key, (7, 3))
    with jax.enable_x64(x64):
        got = Categorical(zeros).noise(key), unit(zeros).noise(key)
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("masked", [[0], [1], [2], [0, 1], [1, 2], [0, 2]])
def test_an_action_of_logit_minus_infinity_is_never_sampled(masked):
    logits = np.zeros((20_000, 3), np.float32)
    logits[:, masked] = -np.inf
    actions = sample(Categorical(logits), jax.random.key(0))
    assert set(np.unique(actions)) == set(range(3)) - set(masked)


@pytest.mark.parametrize("k", [2, 3, 64, 1000])
def test_no_uniform_number_reaches_an_action_of_probability_zero(k, monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, k)).astype(np.float32)
    masked = rng.random((4, k)) < 0.5
    masked[:2, 0] = masked[2:, -1] = True
    masked[:2, -1] = masked[2:, 0] = False
    policy = Categorical(np.where(masked, -np.float32(np.inf), logits))
    # The worst cases: the ends, and both sides of each action's boundary.
    boundaries = np.asarray(jnp.cumsum(policy.probs, axis=-1))
    boundaries = (boundaries / boundaries[:, -1:]).T
    around = [np.nextafter(boundaries, np.float32(x)) for x in (0, 1)]
    last = np.float32(1 - 2**-23)
    ends = np.zeros((1, 4), np.float32), np.full((1, 4), last)
    uniform = np.concatenate([boundaries, *around, *ends])
    uniform = jnp.asarray(uniform.clip(0, last))  # (numbers, 4)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: uniform)
    batch = Categorical(jnp.broadcast_to(policy.logits, (*uniform.shape, k)))
    actions = np.asarray(batch.sample(jax.random.key(0)))
    assert not np.any(masked[np.arange(4), actions])


@jax.jit
def with_gradients(logits):
    """Values and gradients of all that is differentiable, by name."""
    k = logits.size
    uniform = Categorical(jnp.zeros(k))
    functions = {
        "entropy": lambda x: Categorical(x).entropy(),
        "kl": lambda x: Categorical(x).kl(uniform),
        "reverse_kl": lambda x: uniform.kl(Categorical(x)),
        "kl_to_itself": lambda x: Categorical(x).kl(Categorical(logits)),
    }
    functions |= {
        f"log_prob {a}": lambda x, a=a: Categorical(x).log_prob(jnp.asarray(a))
        for a in range(k)
    }
    return {name: jax.value_and_grad(fn)(logits) for name, fn in functions.items()}


@each_extreme
def test_extreme_logits_give_exact_limits_and_finite_gradients(logits):
    logits, k = np.array(logits, np.float32), len(logits)
    probs = scipy.special.softmax(np.float64(logits))
    entropy = scipy.stats.entropy(probs)
    results = with_gradients(logits)
    for _, grad in results.values():
        assert np.isfinite(grad).all()

    np.testing.assert_allclose(results["entropy"][0], entropy, atol=1e-6)
    np.testing.assert_allclose(results["kl"][0], np.log(k) - entropy, rtol=1e-5)
    np.testing.assert_allclose(results["kl_to_itself"][0], 0.0, atol=1e-6)
    assert np.isinf(results["reverse_kl"][0]) == np.isinf(logits.min())
    log_probs = scipy.special.log_softmax(np.float64(logits))
    for action in range(k):
        log_prob, grad = results[f"log_prob {action}"]
        np.testing.assert_allclose(log_prob, log_probs[action], rtol=1e-5, atol=1e-6)
        if np.isfinite(logits[action]):
            np.testing.assert_allclose(grad, one_hot(action, k) - probs, atol=1e-6)


@each_k
def test_the_score_has_mean_zero(k):
    logits = jnp.asarray(logits_of(k)[0, 0])

    def score(action):
        return jax.grad(lambda x: Categorical(x).log_prob(action))(logits)

    scores = jax.jit(jax.vmap(score))(jnp.arange(k))
    np.testing.assert_allclose(
        scores, np.eye(k) - np.float64(jax.nn.softmax(logits)), 0, 1e-6
    )
    mean = scipy.special.softmax(np.float64(logits)) @ np.float64(scores)
    np.testing.assert_allclose(mean, np.zeros(k), atol=1e-6)


@each_k
def test_logits_need_not_be_normalised(k):
    logits = logits_of(k)
    actions = rng.integers(0, k, size=(4, 3))
    plain, shifted = Categorical(logits), Categorical(logits + np.float32(64))
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    close(log_prob(plain, actions), log_prob(shifted, actions))
    jax.tree.map(close, summary(plain, plain), summary(shifted, plain))


@each_k
def test_vmap_gives_what_the_batch_gives(k):
    policy, other = Categorical(logits_of(k)), Categorical(logits_of(k, seed=1))
    actions = jnp.asarray(rng.integers(0, k, size=(4, 3)))

    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    agents = jax.jit(jax.vmap(jax.vmap(summary)))
    jax.tree.map(close, agents(policy, other), summary(policy, other))
    agents = jax.jit(jax.vmap(jax.vmap(Categorical.log_prob)))
    close(agents(policy, actions), log_prob(policy, actions))
    keys = jax.random.split(jax.random.key(0), 4)
    samples = jax.jit(jax.vmap(Categorical.sample))(policy, keys)
    for i in range(4):
        alone = sample(Categorical(policy.logits[i]), keys[i])
        np.testing.assert_array_equal(samples[i], alone)


@each_k
@pytest.mark.parametrize("shape", [(3,), (4, 3, 1), (3, 4), ()])
def test_actions_that_do_not_fit_the_batch_are_an_error(k, shape):
    message = rf"actions of shape \({str(shape)[1:-1]}\).*\(4, 3\).*\(4, 3, {k}\)"
    with pytest.raises(ValueError, match=message):
        Categorical(jnp.asarray(logits_of(k))).log_prob(jnp.zeros(shape, jnp.int32))


# The normal distribution. One array shape serves every event rank: 4 x 3 x 2 numbers
# are as many scalars, 4 x 3 vectors or 4 matrices.
SHAPE = (4, 3, 2)
EPS = float(np.finfo(np.float32).eps)
each_event_ndim = pytest.mark.parametrize("event_ndim", [0, 1, 2])


def gaussian(event_ndim=1, seed=0):
    rng = np.random.default_rng(seed)
    mean, log_std = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    return DiagGaussian(mean, log_std, event_ndim)


def reference(policy):
    """SciPy's distribution of the same numbers, in float64, of one element each."""
    return scipy.stats.norm(np.float64(policy.mean), np.exp(np.float64(policy.log_std)))


def event_sum(x, event_ndim):
    return x.sum(axis=tuple(range(x.ndim - event_ndim, x.ndim)))


@jax.jit
def gaussian_summary(policy, other, action):
    return policy.log_prob(action), policy.entropy(), policy.kl(other), policy.mode()


def expected_gaussian_kl(policy, other):
    """log s' / s + (s^2 + (m - m')^2) / 2 s'^2 - 1/2, per element, in float64."""
    mean, log_std, other_mean, other_log_std = (
        np.float64(x) for x in (policy.mean, policy.log_std, other.mean, other.log_std)
    )
    variance, other_variance = np.exp(2 * log_std), np.exp(2 * other_log_std)
    squares = (variance + (mean - other_mean) ** 2) / (2 * other_variance)
    return other_log_std - log_std + squares - 0.5


@each_event_ndim
def test_gaussian_log_prob_entropy_kl_and_mode_equal_scipy(event_ndim):
    policy, other = gaussian(event_ndim), gaussian(event_ndim, seed=1)
    action = gaussian(seed=2).mean
    log_prob, entropy, kl, mode = gaussian_summary(policy, other, action)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    close(log_prob, event_sum(reference(policy).logpdf(action), event_ndim))
    close(entropy, event_sum(reference(policy).entropy(), event_ndim))
    close(kl, event_sum(expected_gaussian_kl(policy, other), event_ndim))
    np.testing.assert_array_equal(mode, policy.mean)
    assert log_prob.shape == entropy.shape == kl.shape == SHAPE[: 3 - event_ndim]


def test_gaussian_vectors_have_the_multivariate_density():
    policy, action = gaussian(), gaussian(seed=2).mean
    log_probs = policy.log_prob(action)
    for i in np.ndindex(*SHAPE[:2]):
        covariance = np.diag(np.exp(2 * np.float64(policy.log_std[i])))
        expected = scipy.stats.multivariate_normal(policy.mean[i], covariance)
        np.testing.assert_allclose(log_probs[i], expected.logpdf(action[i]), 1e-5, 1e-5)


def test_the_gaussian_score_equals_its_closed_form():
    policy, action = gaussian(), gaussian(seed=2).mean
    score = jax.jit(jax.grad(lambda policy: jnp.sum(policy.log_prob(action))))(policy)
    std = np.exp(np.float64(policy.log_std))
    z = (np.float64(action) - policy.mean) / std
    np.testing.assert_allclose(score.mean, z / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(score.log_std, z**2 - 1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("log_std", [-30.0, -0.1, 0.0, 30.0])
def test_gaussian_kl_to_itself_is_exactly_zero(log_std):
    policy = DiagGaussian(jnp.full(3, 0.1), jnp.full(3, log_std))
    assert policy.kl(policy) == 0.0
    grads = jax.grad(lambda other: policy.kl(other))(policy)
    for grad in jax.tree.leaves(grads):
        np.testing.assert_array_equal(grad, np.zeros(3))


def test_gaussian_kl_of_nearly_equal_deviations_does_not_cancel():
    # x^2 to first order. All but a rounding error of x, that of expm1(2 x), must be
    # right: log, square and 1/2 one by one leave a rounding error of 1, whatever x.
    x = np.logspace(-5, -1, 50, dtype=np.float32)
    x = np.concatenate([x, -x])
    zero = jnp.zeros_like(x)
    kl = DiagGaussian(zero, x, event_ndim=0).kl(DiagGaussian(zero, zero, event_ndim=0))
    expected = (np.expm1(2 * np.float64(x)) - 2 * np.float64(x)) / 2
    error = np.abs(np.float64(kl) - expected)
    assert np.all(error < 2 * EPS * np.abs(x) + 1e-5 * expected)


@jax.jit
def gaussian_draws(policy, other, key):
    actions = policy.sample(key)
    return actions, policy.log_prob(actions) - other.log_prob(actions)


def test_gaussian_kl_is_the_mean_log_ratio_of_its_samples():
    size = 100_000
    policy, other = (
        DiagGaussian(*(np.broadcast_to(x[0, 0], (size, 2)) for x in pair))
        for pair in (
            (gaussian().mean, gaussian().log_std),
            (gaussian(seed=1).mean, gaussian(seed=1).log_std),
        )
    )
    _, log_ratio = gaussian_draws(policy, other, jax.random.key(0))
    log_ratio = np.float64(log_ratio)
    error = log_ratio.std() / np.sqrt(size)
    kl = expected_gaussian_kl(policy, other)[0].sum()
    assert abs(log_ratio.mean() - kl) < 5 * error
    assert kl > 50 * error  # an estimate of 0 would not pass


def test_gaussian_samples_have_mean_and_deviation_and_are_independent():
    size = 100_000
    mean = np.array([-1.0, 20.0], np.float32)
    log_std = np.log(np.array([0.3, 4.0], np.float32))
    policy = DiagGaussian(*(np.broadcast_to(x, (size, 2)) for x in (mean, log_std)))
    actions, _ = gaussian_draws(policy, policy, jax.random.key(0))
    assert actions.shape == (size, 2)
    z = (np.float64(actions) - mean) / np.exp(np.float64(log_std))
    assert np.all(np.abs(z.mean(axis=0)) < 5 / np.sqrt(size))
    # Of a standard normal, z^2 has variance 2, and the product of two of them 1.
    assert np.all(np.abs(np.square(z).mean(axis=0) - 1) < 5 * np.sqrt(2 / size))
    assert abs(np.mean(z[:, 0] * z[:, 1])) < 5 / np.sqrt(size)
    assert abs(np.mean(z[1:] * z[:-1])) < 5 / np.sqrt(2 * size)


@each_event_ndim
def test_a_gaussian_passes_jit_and_vmap_and_keeps_its_event_ndim(event_ndim):
    policy, other = gaussian(event_ndim), gaussian(event_ndim, seed=1)
    action = gaussian(seed=2).mean
    assert len(jax.tree.leaves(policy)) == 2
    kept = jax.jit(lambda policy: policy)(policy)
    assert isinstance(kept, DiagGaussian)
    assert kept.event_ndim == event_ndim
    together = gaussian_summary(policy, other, action)
    agents = jax.jit(jax.vmap(gaussian_summary))(policy, other, action)
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    jax.tree.map(close, agents, together)
    keys = jax.random.split(jax.random.key(0), 4)
    samples = jax.vmap(DiagGaussian.sample)(policy, keys)
    alone = DiagGaussian(policy.mean[1], policy.log_std[1], event_ndim).sample(keys[1])
    close(samples[1], alone)


@pytest.mark.parametrize("shape", [(), (2,), (4, 3), (4, 3, 1), (3, 4, 2)])
def test_gaussian_shapes_that_do_not_fit_are_an_error(shape):
    policy, wrong = gaussian(), jnp.zeros(shape)
    with pytest.raises(ValueError, match=r"action .*mean .*log_std "):
        policy.log_prob(wrong)
    with pytest.raises(ValueError, match=r"action .*mean .*log_std "):
        DiagGaussian(policy.mean, wrong).log_prob(policy.mean)
    with pytest.raises(ValueError, match=r"mean .*other_mean "):
        policy.kl(DiagGaussian(wrong, wrong, event_ndim=0))


def test_actions_beyond_the_bounds_keep_the_log_prob_of_what_was_sampled():
    policy = DiagGaussian(jnp.zeros((4, 2)), jnp.ones((4, 2)))
    rollout = pg.unroll(pg.make_env("Echo-probe"), 4, 3)  # bounds: 1 and 0.5
    key = jax.random.key(0)
    _, batch, _ = jax.jit(
        lambda key: rollout.collect(key, lambda *_: policy, (), rollout.init(key))
    )(key)
    bound = np.array([1.0, 0.5], np.float32)
    outside = np.abs(batch.action) > bound
    assert outside.any()
    np.testing.assert_allclose(batch.next_obs, np.clip(batch.action, -bound, bound))
    expected = scipy.stats.norm(0, np.e).logpdf(np.float64(batch.action)).sum(axis=-1)
    np.testing.assert_allclose(batch.log_prob, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "policy", [Categorical(jnp.zeros((3, 2))), DiagGaussian(*jnp.ones((2, 3, 2)))]
)
def test_a_sample_is_its_noise_made_an_action(policy):
    key = jax.random.key(4)
    shapes = jax.eval_shape(lambda: policy)  # noise needs no more than shapes
    action = policy.from_noise(shapes.noise(key))
    np.testing.assert_array_equal(action, policy.sample(key))


@pytest.mark.parametrize("number", [2, 4, 8])
def test_uniform_numbers_at_the_edges_belong_to_the_next_action(number):
    """[0, 1) is cut into [0, 1/K), [1/K, 2/K) and so on: exactly, for powers of 2."""
    policy = pg.Categorical(jnp.zeros((number, number)))
    edges = jnp.arange(number) / number
    np.testing.assert_array_equal(policy.from_noise(edges), np.arange(number))
