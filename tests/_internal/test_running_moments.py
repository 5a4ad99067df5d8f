"""Running moments against those of all samples at once, in float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax._internal.counters import Counter, as_float
from pgjax._internal.running_moments import no_moments, update_moments

T, N = 5, 3


def start(*shape):
    return no_moments(shape, jnp.float32)


def samples(seed, num_steps=T, shape=(2,), mean=3.0, std=2.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, std, size=(num_steps, N, *shape)).astype(np.float32)
    return x, (rng.random((num_steps, N)) < 0.6).astype(np.float32)


def kept(pieces):
    """(samples that count, ...) in float64."""
    return np.concatenate([np.float64(x)[weight > 0] for x, weight in pieces])


def mean_of(moments):
    return np.float64(moments.mean) + np.float64(moments.mean_rest)


def assert_moments(moments, data, rtol=1e-5):
    """The mean is known to a small part of the deviation."""
    assert as_float(moments.num_samples) == len(data)
    error = np.abs(mean_of(moments) - data.mean(axis=0))
    assert np.all(error <= rtol * data.std(axis=0))
    np.testing.assert_allclose(moments.variance, data.var(axis=0), rtol=rtol)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_moments_merged_in_pieces_are_those_of_all_samples(shape):
    pieces = [samples(i, size, shape) for i, size in enumerate((5, 1, 5, 5))]
    pieces[2][1][:] = 0.0  # a piece without a sample that counts
    moments = start(*shape)
    for i, piece in enumerate(pieces):
        moments = update_moments(moments, *piece)
        assert_moments(moments, kept(pieces[: i + 1]))


def test_the_first_samples_may_all_be_padding():
    x, weight = samples(0)
    moments = update_moments(start(2), x * np.nan, np.zeros_like(weight))
    chex.assert_trees_all_equal(moments, start(2))
    assert_moments(update_moments(moments, x, weight), kept([(x, weight)]))


@jax.jit
def update_by_all(moments, x, weight):
    def step(moments, piece):
        return update_moments(moments, *piece), None

    return jax.lax.scan(step, moments, (x, weight))[0]


@pytest.mark.parametrize(
    ("mean", "std"), [(1e4, 1e-3), (-3e3, 1e-3), (1e6, 1.0), (0.0, 1.0), (1e-3, 1e-6)]
)
def test_ten_thousand_small_updates_round_nothing_away(mean, std):
    x, weight = samples(0, 10_000, (1,), mean, std)
    moments = update_by_all(start(1), x[:, None], weight[:, None])
    assert_moments(moments, kept([(x, weight)]))


def test_a_large_batch_is_summed_without_loss():
    rng = np.random.default_rng(0)
    x = (1000.1 + 0.002 * rng.normal(size=(64, 4096, 1))).astype(np.float32)
    moments = update_moments(start(1), x, np.ones(x.shape[:2], np.float32))
    assert_moments(moments, np.float64(x).reshape(-1, 1), rtol=1e-4)


@pytest.mark.parametrize("value", [9.81, 12345.678, -1e-3, 0.0])
def test_a_constant_has_exactly_no_variance(value):
    x = np.full((1000, N, 1), value, np.float32)
    weight = samples(0, 1000)[1]
    moments = update_by_all(start(1), x[:, None], weight[:, None])
    assert moments.mean == np.float32(value)
    for rest in (moments.variance, moments.mean_rest, moments.variance_rest):
        assert rest == 0.0


def test_the_billionth_sample_still_counts():
    # A float32 of 10^9 does not see 3 more, nor does one of 1 see 3 billionths.
    many = 10**9
    moments = start(1)._replace(num_samples=Counter(jnp.uint32(0), jnp.uint32(many)))
    x = np.full((10_000, N, 1), 1.0, np.float32)
    weight = np.ones((10_000, N), np.float32)
    moments = update_by_all(moments, x[:, None], weight[:, None])
    share = 3e4 / (many + 3e4)
    assert int(moments.num_samples.low) == many + 30_000
    np.testing.assert_allclose(mean_of(moments), share, rtol=1e-3)
    lost = 1.0 - (np.float64(moments.variance) + np.float64(moments.variance_rest))
    # Variance 1 around 0 and none around 1: 1 - share + share (1 - share).
    np.testing.assert_allclose(lost, share**2, atol=1e-9)


def test_the_count_goes_on_beyond_32_bits():
    full = Counter(jnp.uint32(0), jnp.uint32(2**32 - 1))
    moments = start(2)._replace(num_samples=full)
    moments = update_moments(moments, samples(0)[0], np.ones((T, N), np.float32))
    assert tuple(map(int, moments.num_samples)) == (1, T * N - 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, bool])
def test_samples_may_be_of_any_type(dtype):
    x, weight = samples(0, 20, mean=5.0)
    x = np.abs(x).astype(dtype)
    x[0, 0], x[1, 0] = 0, 1
    weight[:2] = 1.0
    assert_moments(update_moments(start(2), x, weight), kept([(x, weight)]))
