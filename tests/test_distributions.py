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
    result = jax.jit(lambda d, a: d.log_prob(a))(Categorical(logits), actions)
    expected = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    expected = np.take_along_axis(expected, actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@each_k
def test_probs_entropy_kl_and_mode_equal_numpy(k):
    logits, others = logits_of(k), logits_of(k, seed=1)
    policy = Categorical(logits)
    probs, other = (scipy.special.softmax(np.float64(x), -1) for x in (logits, others))
    entropy = scipy.stats.entropy(probs, axis=-1)
    kl = scipy.stats.entropy(probs, other, axis=-1)
    np.testing.assert_allclose(policy.probs, probs, rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), entropy, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(policy.kl(Categorical(others)), kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(policy.mode(), logits.argmax(-1))
    assert policy.mode().dtype == jnp.int32


def test_two_actions_agree_with_the_general_formula():
    # A third action of probability zero takes K = 3's path to the same policy.
    logits = logits_of(2)
    two = Categorical(logits)
    three = Categorical(np.concatenate([logits, np.full((4, 3, 1), -np.inf)], -1))
    three = Categorical(three.logits.astype(np.float32))
    for action in (0, 1):
        actions = np.full((4, 3), action)
        np.testing.assert_allclose(
            two.log_prob(actions), three.log_prob(actions), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(two.entropy(), three.entropy(), rtol=1e-5, atol=1e-6)
    grads = [
        jax.grad(lambda x: jnp.sum(Categorical(x).entropy()))(d.logits)[..., :2]
        for d in (two, three)
    ]
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-6)
    # The same uniform number picks the same action on both paths.
    key = jax.random.key(0)
    np.testing.assert_array_equal(two.sample(key), three.sample(key))


@each_k
def test_samples_have_the_policy_s_frequencies(k):
    size = 100_000
    policy = Categorical(jnp.asarray(logits_of(k)[0, 0]))
    actions = jax.jit(
        lambda logits, key: Categorical(jnp.broadcast_to(logits, (size, k))).sample(key)
    )(policy.logits, jax.random.key(1))
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
    actions = Categorical(jnp.asarray(logits)).sample(jax.random.key(0))
    assert set(np.unique(actions)) == set(range(3)) - set(masked)


@pytest.mark.parametrize("k", [2, 3, 5, 1000])
def test_no_uniform_number_reaches_an_action_of_probability_zero(k, monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=k).astype(np.float32)
    logits[rng.random(k) < 0.4] = -np.inf
    logits[rng.integers(k)] = 0.0
    policy = Categorical(jnp.asarray(logits))
    # The worst cases: the ends, and both sides of each action's boundary.
    boundaries = np.asarray(jnp.cumsum(policy.probs), np.float32)
    boundaries = boundaries / boundaries[-1]
    last = np.float32(1 - 2**-23)
    around = [np.nextafter(boundaries, np.float32(x)) for x in (0, 1)]
    uniform = np.concatenate([[0.0], boundaries, *around, [last]])
    uniform = uniform.clip(0, last).astype(np.float32)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.asarray(uniform))
    batch = Categorical(jnp.broadcast_to(policy.logits, (len(uniform), k)))
    actions = np.asarray(batch.sample(jax.random.key(0)))
    assert np.all(np.isfinite(logits[actions]))


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
    np.testing.assert_allclose(plain.log_prob(actions), shifted.log_prob(actions), 1e-3)
    np.testing.assert_allclose(plain.entropy(), shifted.entropy(), 1e-3)
    np.testing.assert_allclose(plain.kl(shifted), np.zeros((4, 3)), atol=1e-4)


@each_k
def test_vmap_gives_what_the_batch_gives(k):
    policy, other = Categorical(logits_of(k)), Categorical(logits_of(k, seed=1))
    actions = jnp.asarray(rng.integers(0, k, size=(4, 3)))

    def summary(policy, other, action):
        log_prob = policy.log_prob(action)
        return log_prob, policy.entropy(), policy.kl(other), policy.mode()

    batched = summary(policy, other, actions)
    mapped = jax.jit(jax.vmap(jax.vmap(summary)))(policy, other, actions)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        batched,
        mapped,
    )
    keys = jax.random.split(jax.random.key(0), 4)
    samples = jax.vmap(lambda d, key: d.sample(key))(policy, keys)
    for i in range(4):
        alone = Categorical(policy.logits[i]).sample(keys[i])
        np.testing.assert_array_equal(samples[i], alone)


@each_k
@pytest.mark.parametrize("shape", [(3,), (4, 3, 1), (3, 4), ()])
def test_actions_that_do_not_fit_the_batch_are_an_error(k, shape):
    message = rf"actions of shape \({str(shape)[1:-1]}\).*\(4, 3\).*\(4, 3, {k}\)"
    with pytest.raises(ValueError, match=message):
        Categorical(jnp.asarray(logits_of(k))).log_prob(jnp.zeros(shape, jnp.int32))
