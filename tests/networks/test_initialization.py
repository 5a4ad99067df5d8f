"""First parameters: distributions, independence, and one draw for all."""

import jax
import numpy as np
import pytest

from pgjax.networks.initialization import draw, polar_factor, scales_of

SHAPES = {"a": (6, 10), "b": (10,), "c": (10, 6), "d": (10, 1), "e": (6, 10)}
LIKE = {name: jax.ShapeDtypeStruct(shape, float) for name, shape in SHAPES.items()}
SCALES = dict.fromkeys(SHAPES, 2.0)
NUM_DRAWS = 2000


def drawn(initializer, num_draws):
    keys = jax.random.split(jax.random.key(0), num_draws)
    return jax.jit(jax.vmap(lambda key: draw(key, LIKE, SCALES, initializer)))(keys)


def test_torchs_scales_are_one_over_the_root_of_the_inputs():
    assert scales_of("torch", 16, 3.0) == {"kernel": 0.25, "bias": 0.25}
    assert scales_of("orthogonal", 16, 3.0) == {"kernel": 3.0, "bias": 0.0}


def test_uniform_numbers_fill_the_interval():
    for name, x in drawn("torch", NUM_DRAWS).items():
        assert x.shape == (NUM_DRAWS, *SHAPES[name])
        x = np.asarray(x).reshape(-1)
        assert np.abs(x).max() <= 2.0
        # A uniform variable on +-2 has variance 4/3 and fourth moment 16/5.
        error = np.sqrt((16 / 5 - (4 / 3) ** 2) / len(x))
        assert abs((x**2).mean() - 4 / 3) < 5 * error
        assert abs(x.mean()) < 5 * np.sqrt(4 / 3 / len(x))


@pytest.mark.parametrize("name", ["a", "c", "d", "e"])
def test_orthogonal_kernels_keep_lengths(name):
    x = np.asarray(drawn("orthogonal", 50)[name])
    tall = x if x.shape[1] >= x.shape[2] else x.swapaxes(1, 2)
    product = tall.swapaxes(1, 2) @ tall
    eye = np.broadcast_to(4.0 * np.eye(tall.shape[2]), product.shape)
    np.testing.assert_allclose(product, eye, atol=2e-4)


def test_orthogonal_kernels_have_no_preferred_direction():
    # Haar's measure: entries have mean 0 and variance gain^2 / rows of the tall matrix,
    # and fourth moment 3 gain^4 / (rows (rows + 2)).
    x = np.asarray(drawn("orthogonal", NUM_DRAWS)["a"])
    variance, fourth = 4 / 10, 3 * 16 / (10 * 12)
    assert (np.abs(x.mean(0)) < 5 * np.sqrt(variance / NUM_DRAWS)).all()
    error = np.sqrt((fourth - variance**2) / NUM_DRAWS)
    assert (np.abs((x**2).mean(0) - variance) < 5 * error).all()


def test_kernels_of_one_shape_are_independent():
    both = drawn("orthogonal", NUM_DRAWS)
    product = np.asarray(both["a"] * both["e"])
    assert (np.abs(product.mean(0)) < 5 * (4 / 10) / np.sqrt(NUM_DRAWS)).all()


def test_polar_factor_is_that_of_the_singular_value_decomposition():
    x = jax.random.normal(jax.random.key(1), (3, 7, 4))
    left, _, right = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    np.testing.assert_allclose(jax.jit(polar_factor)(x), left @ right, atol=1e-4)


def test_the_program_draws_once():
    for initializer in ("torch", "orthogonal"):
        jaxpr = jax.make_jaxpr(lambda key, i=initializer: draw(key, LIKE, SCALES, i))(
            jax.random.key(0)
        )
        assert str(jaxpr).count("random_bits[") == 1
