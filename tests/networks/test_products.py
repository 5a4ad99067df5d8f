from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax.networks import products


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)])
@pytest.mark.parametrize(("features", "width"), [(4, 128), (8, 3), (9, 4), (64, 1)])
def test_small_layers_multiplied_out_are_matrix_products(lead, features, width):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*lead, features)).astype(np.float32)
    kernel = rng.normal(size=(features, width)).astype(np.float32)
    result = products.layer_product(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(result, x @ kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("agents", [None, 3])
def test_derivatives_of_small_layers_are_those_of_matrix_products(agents):
    rng = np.random.default_rng(0)
    lead = () if agents is None else (agents,)
    x, first, last = (
        jnp.asarray(rng.normal(size=(*lead, *shape)).astype(np.float32))
        for shape in ((5, 4), (4, 16), (16, 2))
    )

    def derivatives(layer, contrast):
        def loss(kernels, x):
            outputs = contrast(jnp.tanh(layer(x, kernels[0])), kernels[1])
            return jnp.sum(jax.nn.log_softmax(outputs)[..., 0] ** 2)

        def of_one(x, *kernels):
            def grad(kernels):
                return jax.grad(loss)(kernels, x)

            return grad(kernels), jax.jvp(grad, (kernels,), (kernels,))[1]

        return (of_one if agents is None else jax.vmap(of_one))(x, first, last)

    found = derivatives(products.layer_product, products.contrast)
    matmul = partial(jnp.matmul, precision="highest")
    expected = derivatives(matmul, matmul)
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4),
        found,
        expected,
    )


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.bfloat16, jnp.float32])
def test_features_of_any_type_meet_float32_exactly(dtype):
    x, theta = jnp.ones((3, 2, 4), dtype), jnp.ones(4)
    text = str(jax.make_jaxpr(products.product)(x, theta))
    assert text.count("dot_general[") == text.count("Precision.HIGHEST, ") == 1
