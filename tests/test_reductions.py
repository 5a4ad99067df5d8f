import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax.reductions import mean_weights, moments, standardize, weighted_mean

rng = np.random.default_rng(0)
X = rng.normal(3.0, 2.0, size=(5, 4)).astype(np.float32)
WEIGHT = (rng.random((5, 4)) < 0.6).astype(np.float32)
WEIGHT[:, 1] = 0.0  # one environment has no sample that counts
KEPT = X.astype(np.float64)[WEIGHT > 0]


def test_the_mean_is_that_of_the_samples_that_count():
    np.testing.assert_allclose(weighted_mean(X, WEIGHT), KEPT.mean(), rtol=1e-6)
    np.testing.assert_allclose(weighted_mean(X, np.ones_like(X)), X.mean(), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_mean_along_an_axis_keeps_the_axis(axis):
    result = weighted_mean(X, WEIGHT, axis)
    columns = [np.moveaxis(a, axis, 0) for a in (np.float64(X), WEIGHT)]
    expected = [
        np.mean(x[w > 0]) if w.any() else 0.0
        for x, w in zip(*(np.moveaxis(a, 0, 1) for a in columns), strict=True)
    ]
    expected = np.expand_dims(np.array(expected), axis)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_the_mean_is_weighted():
    weight = np.array([2.0, 1.0, 0.0], np.float32)
    assert weighted_mean(jnp.array([1.0, 4.0, 9.0]), weight) == 2.0


def test_mean_weights_make_a_sum_a_mean():
    weights = mean_weights(WEIGHT)
    np.testing.assert_allclose(np.sum(weights * X), KEPT.mean(), rtol=1e-6)
    np.testing.assert_array_equal(weights > 0, WEIGHT > 0)


def test_moments_are_those_of_the_samples_that_count():
    mean, variance = moments(X, WEIGHT)
    np.testing.assert_allclose(mean, KEPT.mean(), rtol=1e-6)
    np.testing.assert_allclose(variance, KEPT.var(ddof=1), rtol=1e-5)


def test_a_large_mean_does_not_swamp_the_variance():
    # The mean's rounding error, about 1e-3, enters squared.
    x = (X + 10_000.0).astype(np.float32)
    expected = np.var(np.float64(x)[WEIGHT > 0], ddof=1)
    np.testing.assert_allclose(moments(x, WEIGHT)[1], expected, rtol=1e-5)


def test_standardized_samples_have_mean_zero_and_variance_one():
    result = np.float64(standardize(X, WEIGHT))
    expected = (np.float64(X) - KEPT.mean()) / KEPT.std(ddof=1)
    counts = WEIGHT > 0
    np.testing.assert_allclose(result[counts], expected[counts], rtol=1e-4, atol=1e-6)
    assert abs(result[WEIGHT > 0].mean()) < 1e-6


def test_without_samples_all_is_zero_and_finite():
    nothing = np.zeros_like(X)
    assert weighted_mean(X, nothing) == 0.0
    np.testing.assert_array_equal(mean_weights(nothing), nothing)
    assert [float(x) for x in moments(X, nothing)] == [0.0, 0.0]
    assert np.isfinite(standardize(X, nothing)).all()


def test_one_sample_has_no_variance():
    one = np.zeros_like(X)
    one[2, 3] = 1.0
    mean, variance = moments(X, one)
    assert (mean, variance) == (X[2, 3], 0.0)
    assert standardize(X, one)[2, 3] == 0.0


@pytest.mark.parametrize("size", [7, 100])
@pytest.mark.parametrize(
    "value",
    [
        0.0,
        0.1,
        -1000.1,
        123_456.7,
    ],
)
def test_equal_samples_become_zero(value, size):
    x = jnp.full(size, value)
    np.testing.assert_allclose(standardize(x, jnp.ones(size)), np.zeros(size), 0, 1e-3)


def test_each_agent_has_its_own_moments():
    agents = np.stack([X, 100.0 * X + 7.0])
    together = jax.vmap(standardize)(agents, np.stack([WEIGHT, 1.0 - WEIGHT]))
    for result, x, weight in zip(together, agents, (WEIGHT, 1.0 - WEIGHT), strict=True):
        np.testing.assert_allclose(result, standardize(x, weight), rtol=1e-5, atol=1e-6)


def test_equal_samples_of_any_value_and_number_become_zero():
    rng = np.random.default_rng(0)
    counts = np.array([*range(1, 40), 57, 1000])
    size = len(counts), 20
    values = np.float32(rng.normal(size=size) * 10.0 ** rng.integers(-3, 5, size))
    weight = np.float32(np.arange(1000) < counts[:, None, None])
    weight = np.broadcast_to(weight, (*size, 1000))
    samples = weight * values[..., None]
    result = jax.jit(jax.vmap(jax.vmap(standardize)))(samples, weight)
    assert np.abs(weight * result).max() < 1e-2
