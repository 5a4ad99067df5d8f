from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from pgjax import Categorical

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
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: uniform)
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
