"""What networks make of each part of an observation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg


class Pair(NamedTuple):
    second: object
    first: object


BYTES = pg.Box(0, 255, (2,))


@pytest.mark.parametrize(
    ("space", "x", "expected"),
    [
        (pg.Box(-1.0, 1.0, (2,)), np.float32([0.5, -3.0]), [0.5, -3.0]),
        (pg.Box(-1.0, 1.0, ()), np.float32(0.5), [0.5]),
        (pg.Box(0.0, 9.0, (2, 1)), np.int32([[3], [4]]), [3, 4]),
        (pg.Discrete(3), np.int32(2), [0, 0, 1]),
        (pg.Discrete(2), np.bool_(True), [0, 1]),
        (pg.Discrete(300), np.uint8(44), [*[0] * 44, 1, *[0] * 255]),
        (pg.Box(0, 1, (2,)), np.array([True, False]), [1, 0]),
        (BYTES, np.uint8([0, 51]), [0, 0.2]),
        # Numbers of kinds, not of brightness; and numbers that are scaled already.
        (pg.Box(0, 12, (2,)), np.uint8([3, 12]), [3, 12]),
        (pg.Box(0, 255, (2,)), np.int32([3, 255]), [3, 255]),
        (BYTES, np.float32([0.5, 255.0]), [0.5, 255.0]),
    ],
)
def test_each_leaf(space, x, expected):
    found = pg.encode(space, x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    many = np.broadcast_to(x, (4, 5, *x.shape))
    np.testing.assert_allclose(
        pg.encode({"x": space}, {"x": many}),
        np.broadcast_to(np.float32(expected), (4, 5, len(expected))),
        rtol=1e-6,
    )


def test_leaves_come_in_the_order_of_jax():
    number, choice = pg.Box(0.0, 9.0, ()), pg.Discrete(2)
    x, i = np.float32([7.0]), np.int32([0])
    for space, obs, expected in (
        ({"b": number, "a": choice}, {"b": x, "a": i}, [1, 0, 7]),
        (Pair(number, choice), Pair(x, i), [7, 1, 0]),
        ((number, [choice, {"z": number}]), (x, [i, {"z": x + 1}]), [7, 1, 0, 8]),
    ):
        np.testing.assert_array_equal(pg.encode(space, obs), [expected])


def test_the_type_is_that_of_the_floats():
    space = {"x": pg.Box(0.0, 1.0, (1,)), "image": BYTES}
    obs = {"x": jnp.ones((3, 1), jnp.bfloat16), "image": jnp.zeros((3, 2), jnp.uint8)}
    assert pg.encode(space, obs).dtype == jnp.bfloat16
    assert pg.encode(BYTES, obs["image"], dtype=jnp.bfloat16).dtype == jnp.bfloat16
    mixed = {"x": obs["x"], "image": jnp.zeros((3, 2), jnp.float32)}
    assert pg.encode(space, mixed).dtype == jnp.float32


def test_what_cannot_be_one_hot_is_told():
    with pytest.raises(ValueError, match="a choice among 3 comes as float32"):
        pg.encode({"kind": pg.Discrete(3)}, {"kind": jnp.zeros(2)})


def _of_numbers(high):
    return pg.Box(0, high, (2,))


def _of_numpy(high):
    return pg.Box(np.zeros(2, np.uint8), np.full(2, high, np.uint8), (2,))


def _of_jax(high):
    return pg.Box(jnp.zeros(2, jnp.uint8), jnp.full(2, high, jnp.uint8), (2,))


@pytest.mark.parametrize("high", [12, 255])
@pytest.mark.parametrize("make", [_of_numbers, _of_numpy, _of_jax])
def test_bytes_are_the_same_alone_and_in_a_compiled_program(make, high):
    """Or they are refused: where the bounds are traced nobody can know."""
    x = jnp.array([[3, 12], [0, 9]], jnp.uint8)
    alone = pg.encode(make(high), x)
    assert (alone.max() < 1) == (high == 255)
    for compiled in (jax.jit(lambda x: pg.encode(make(high), x)), None):
        compiled = compiled or jax.jit(jax.vmap(lambda x: pg.encode(make(high), x)))
        if make is _of_jax:
            with pytest.raises(ValueError, match=r"such as pg.Box\(0, 255, \(2,\)\)"):
                compiled(x)
        else:
            np.testing.assert_array_equal(compiled(x), alone)


def test_traced_bounds_of_what_is_no_byte_are_nobodys_business():
    found = jax.jit(lambda x: pg.encode(_of_jax(255), x))(jnp.array([3, 255]))
    np.testing.assert_array_equal(found, [3, 255])


@pytest.mark.parametrize("factory", [pg.mlp_policy, pg.actor_critic])
def test_images_of_a_tree_have_filters_each(factory):
    shapes = {"far": (5, 6, 2), "near": (4, 4, 1), "speed": (3,)}
    space = {name: pg.Box(0.0, 1.0, shape) for name, shape in shapes.items()}
    obs = {
        name: jax.random.uniform(jax.random.key(i), (7, *shape))
        for i, (name, shape) in enumerate(shapes.items())
    }
    env = pg.Env("eyes", None, None, space, pg.Discrete(3), 4)
    network = factory(env, (8,))
    params = network.init(jax.random.key(0), obs)
    layers = params["actor"]["params"]
    assert layers["filters_0"]["kernel"].shape == (9 * 2, 16)
    assert layers["filters_1"]["kernel"].shape == (9 * 1, 16)
    assert layers["Dense_0"]["kernel"].shape == (16 * (3 * 4 + 2 * 2) + 3, 8)
    logits = network.apply(params, obs)[0].logits
    assert logits.shape == (7, 3)
    for name in shapes:  # all are looked at
        other = network.apply(params, {**obs, name: obs[name] + 1.0})[0].logits
        assert np.abs(other - logits).max() > 1e-4
    # Any leading axes.
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), obs)
    np.testing.assert_allclose(
        network.apply(params, twice)[0].logits[1], logits, atol=1e-6
    )


def test_an_image_in_a_dict_is_that_image():
    env = pg.Env("eye", None, None, pg.Box(0, 255, (4, 4, 1)), pg.Discrete(2), 4)
    in_dict = env._replace(observation_space={"image": env.observation_space})
    image = jnp.arange(32, dtype=jnp.uint8).reshape(2, 4, 4, 1)
    alone, tree = (pg.actor_critic(x, (8,)) for x in (env, in_dict))
    params = alone.init(jax.random.key(0), image)
    policy, value = alone.apply(params, image)
    same_policy, same_value = tree.apply(params, {"image": image})
    np.testing.assert_array_equal(policy.logits, same_policy.logits)
    np.testing.assert_array_equal(value, same_value)
    scaled = pg.actor_critic(
        env._replace(observation_space=pg.Box(0.0, 1.0, (4, 4, 1))), (8,)
    )
    expected = scaled.apply(params, image.astype(jnp.float32) / 255.0)[1]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_at_half_precision_bytes_and_choices_are_whole():
    space = {"kind": pg.Discrete(600), "image": BYTES}
    env = pg.Env("both", None, None, space, pg.Discrete(2), 4)
    obs = {
        "kind": jnp.array([511, 512, 513]),
        "image": jnp.zeros((3, 2), jnp.uint8),
    }
    network = pg.actor_critic(env, (4,))
    params = network.init(jax.random.key(0), obs)
    exact = network.apply(params, obs)[1]
    half = pg.at_precision(network, "bfloat16")
    np.testing.assert_allclose(half.apply(params, obs)[1], exact, atol=0.02)
    text = jax.jit(half.apply).lower(params, obs).as_text()
    assert "tensor<3x602xbf16>" in text
    assert len({float(x) for x in exact}) == 3
