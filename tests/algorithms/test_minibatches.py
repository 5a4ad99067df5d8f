import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from pgjax.algorithms.minibatches import flatten_steps, scan_minibatches

TOTAL = 12


def step(count, samples):
    """Counts, and reports the samples that it was given."""
    return count + 1, samples


def scan(key, *, num_epochs=3, num_minibatches=4, total=TOTAL):
    samples = {
        "index": jnp.arange(total),
        "pair": jnp.arange(2.0 * total).reshape(-1, 2),
    }
    return scan_minibatches(
        step,
        jnp.int32(0),
        key,
        samples,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
    )


def orders(key, **sizes):
    """(num_epochs, total) the order in which each epoch visits the samples."""
    _, seen = scan(key, **sizes)
    return np.asarray(seen["index"]).reshape(sizes.get("num_epochs", 3), -1)


def test_every_epoch_visits_each_sample_once():
    count, seen = scan(jax.random.key(0))
    assert count == 12
    assert seen["index"].shape == (12, 3)
    epochs = np.asarray(seen["index"]).reshape(3, TOTAL)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(TOTAL), (3, 1)))
    # What belongs to a sample stays with it.
    np.testing.assert_array_equal(seen["pair"][..., 0], 2 * seen["index"])
    np.testing.assert_array_equal(seen["pair"][..., 1], 2 * seen["index"] + 1)


def test_orders_differ_between_epochs_and_keys():
    found = [*orders(jax.random.key(0)), *orders(jax.random.key(1))]
    assert len({tuple(order) for order in found}) == 6  # 12! orders: no chance match


def test_the_same_key_gives_the_same_orders():
    key = jax.random.key(0)
    np.testing.assert_array_equal(orders(key), orders(key))


def test_one_minibatch_keeps_the_order_whatever_the_key():
    for seed in (0, 1):
        count, seen = scan(jax.random.key(seed), num_minibatches=1)
        assert count == 3
        expected = np.tile(np.arange(TOTAL), (3, 1))
        np.testing.assert_array_equal(seen["index"], expected)


def test_a_minibatch_for_each_sample():
    found = orders(jax.random.key(0), num_epochs=1, num_minibatches=TOTAL)
    np.testing.assert_array_equal(np.sort(found[0]), np.arange(TOTAL))


@pytest.mark.parametrize("num_minibatches", [5, 7, 24])
def test_minibatches_that_do_not_divide_the_samples_are_an_error(num_minibatches):
    with pytest.raises(ValueError, match=rf"12 samples.* into {num_minibatches} equal"):
        scan(jax.random.key(0), num_minibatches=num_minibatches)


def chi_squared(observed):
    expected = observed.sum() / observed.size
    return np.sum((observed - expected) ** 2) / expected


def test_all_orders_are_equally_likely_and_epochs_are_independent():
    keys = jax.random.split(jax.random.key(0), 20_000)
    sizes = {"num_epochs": 2, "num_minibatches": 4, "total": 4}
    seen = jax.jit(jax.vmap(lambda key: scan(key, **sizes)[1]["index"]))(keys)
    found = np.asarray(seen).reshape(-1, 2, 4)
    number = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    pairs = [[number[tuple(order)] for order in epochs] for epochs in found.tolist()]
    table = np.zeros((24, 24))
    np.add.at(table, tuple(np.transpose(pairs)), 1)
    # Some 830 of each order, and 35 of each pair: enough for the approximation.
    for observed in (table.sum(0), table.sum(1), table):
        assert chi_squared(observed) < scipy.stats.chi2.isf(1e-6, observed.size - 1)


def test_flat_samples_are_time_major():
    x, y = np.arange(6).reshape(3, 2), np.arange(24.0).reshape(3, 2, 4)
    flat = flatten_steps({"x": x, "y": y})
    np.testing.assert_array_equal(flat["x"], np.arange(6))
    np.testing.assert_array_equal(flat["y"], y.reshape(6, 4))


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_numbers_below_one_are_told(numbers):
    epochs, minibatches = numbers
    with pytest.raises(ValueError, match="at least 1, got"):
        scan(jax.random.key(0), num_epochs=epochs, num_minibatches=minibatches)


def test_samples_that_cannot_be_split_evenly_are_told():
    with pytest.raises(ValueError, match=r"13 samples .* cannot be split into 4 equal"):
        scan(jax.random.key(0), total=13)
