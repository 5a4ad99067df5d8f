"""Work is counted from the traced program, with what loops repeat."""

import jax
import jax.numpy as jnp
import pytest

from pgjax._internal.work import RANDOM, work_of

X = jax.ShapeDtypeStruct((8,), "float32")


def loop(x):
    return jax.lax.scan(lambda x, _: (jnp.sin(x), None), x, length=5)[0]


def choice(x):
    few, many = jnp.sin, lambda x: jnp.sin(jnp.sin(jnp.sin(x)))
    return jax.lax.cond(True, few, many, x)


@pytest.mark.parametrize(
    ("fn", "work"),
    [
        (jnp.sin, 8),
        (jax.jit(lambda x: jnp.sin(x) * x), 16),
        (loop, 5 * 8),
        (lambda x: jnp.dot(x, x), 8),
        (jax.vmap(jnp.sin), 8),
    ],
)
def test_numbers_are_counted(fn, work):
    assert work_of(fn, X) == work


def test_a_choice_counts_as_its_longest_branch():
    assert 24 <= work_of(choice, X) <= 26


@pytest.mark.parametrize("count", [10, 1000])
def test_random_numbers_are_many_operations(count):
    work = work_of(lambda key: jax.random.uniform(key, (count,)), jax.random.key(0))
    assert RANDOM * count <= work <= (RANDOM + 20) * count + 200
