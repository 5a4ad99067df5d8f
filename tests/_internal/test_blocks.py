from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax._internal import blocks
from pgjax._internal.control_flow import count_up_to

rng = np.random.default_rng(0)
T, N = 7, 3
BATCH = {
    "x": rng.normal(size=(T, N, 2)).astype(np.float32),
    "y": rng.normal(size=(T, N)).astype(np.float32),
}
ALL = np.ones((T, N), bool)
# Most of them do not divide 21.
each_block_size = pytest.mark.parametrize("samples", [2048, 12, 7, 6, 1])


WEIGHTS = rng.uniform(0.5, 2.0, size=(T, N)).astype(np.float32)


def sums(block, weights):
    return {
        "sum": jnp.einsum("...i,...->i", block["x"], weights * block["y"]),
        "squares": jnp.sum(weights * block["y"] ** 2),
    }


def rows(block):
    return block["x"] * block["y"][..., None]


assert_close = partial(chex.assert_trees_all_close, rtol=1e-5, atol=1e-6)


@each_block_size
def test_a_sum_over_blocks_is_the_sum_over_all(samples, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    result = jax.jit(lambda b: blocks.sum_over_samples(sums, b, WEIGHTS, ALL))(BATCH)
    assert_close(result, sums(BATCH, WEIGHTS))


@each_block_size
def test_a_map_over_blocks_is_the_map_over_all(samples, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    result = jax.jit(lambda b: blocks.map_over_samples(rows, b, ALL))(BATCH)
    assert result.shape == (T, N, 2)
    assert_close(result, rows(BATCH))


@each_block_size
def test_gradients_taken_within_blocks_add_up(samples, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)

    def loss(w, block, weights):
        return jnp.sum(jnp.tanh(block["x"] @ w) * weights * block["y"])

    w = jnp.array([0.3, -0.8])
    grad = partial(jax.grad(loss), w)
    result = blocks.sum_over_samples(grad, BATCH, WEIGHTS, ALL)
    assert_close(result, grad(BATCH, WEIGHTS))


def test_no_block_is_larger_than_it_may_be(monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 6)
    shapes = []

    def noted(block, weights):
        shapes.extend([block["y"].shape, weights.shape])
        return sums(block, weights)

    blocks.sum_over_samples(noted, BATCH, WEIGHTS, ALL)
    assert set(shapes) == {(6,)}


def test_only_samples_that_count_take_part(monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 4)
    needed = rng.random((T, N)) < 0.5
    batch = {name: np.where(needed.T, x.T, np.nan).T for name, x in BATCH.items()}
    expected = {
        "sum": np.einsum("ki,k->i", BATCH["x"][needed], (WEIGHTS * BATCH["y"])[needed]),
        "squares": np.sum((WEIGHTS * BATCH["y"] ** 2)[needed]),
    }
    assert_close(blocks.sum_over_samples(sums, batch, WEIGHTS, needed), expected)
    mapped = blocks.map_over_samples(rows, batch, needed)
    assert_close(mapped, np.where(needed[..., None], rows(BATCH), 0.0))


@each_block_size
@pytest.mark.parametrize("count", [1, 5, T * N])
def test_the_last_block_is_filled_up_with_a_sample_that_is_needed(
    samples, count, monkeypatch
):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    needed = np.zeros(T * N, bool)
    needed[np.random.default_rng(count).permutation(T * N)[:count]] = True
    needed = needed.reshape(T, N)
    # Of a sample that is not needed, and of one made of zeros, this is NaN.
    batch = np.where(needed, 2.0, 0.0).astype(np.float32)

    def fn(block, weights):
        return jnp.sum(weights * jnp.log(block)), jnp.sum(weights)

    def grad(block, weights):
        return jax.grad(lambda w: jnp.sum(weights * jnp.log(w * block)))(1.0)

    total = WEIGHTS[needed].sum()
    want = np.log(2.0) * total, total
    result = jax.jit(blocks.sum_over_samples, static_argnums=0)
    assert_close(result(fn, batch, WEIGHTS, needed), want)
    assert_close(result(grad, batch, WEIGHTS, needed), total)
    flat, weights = np.full(T * N, 2.0, np.float32), WEIGHTS.reshape(-1)
    want = np.log(2.0) * weights.sum(), weights.sum()
    assert_close(blocks.sum_over_slices(fn, flat, weights), want)
    filled = blocks.instead_of_padding({"a": batch, "b": batch[..., None]}, needed)
    np.testing.assert_array_equal(filled["a"], np.full((T, N), 2.0))
    np.testing.assert_array_equal(filled["b"], np.full((T, N, 1), 2.0))


def count_blocks(needed):
    """How many blocks are evaluated: every one that is adds 1."""
    return blocks.sum_over_samples(lambda *_: 1, BATCH, (), needed)


@pytest.mark.parametrize(
    ("samples", "count"), [(0, 0), (1, 1), (6, 1), (7, 2), (21, 4)]
)
def test_as_few_blocks_are_evaluated_as_can_hold_them(samples, count, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 6)
    needed = np.zeros(T * N, bool)
    needed[rng.permutation(T * N)[:samples]] = True  # anywhere
    needed = needed.reshape(T, N)
    assert count_blocks(needed) == count
    ones = blocks.map_over_samples(lambda b: jnp.ones(b["y"].shape), BATCH, needed)
    np.testing.assert_array_equal(ones, needed)


def test_agents_of_a_vmap_get_what_each_gets_alone(monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 6)
    lengths = np.array([[7, 3, 1], [2, 2, 1], [0, 0, 0]])  # agents, envs
    needed = np.arange(T)[:, None] < lengths[:, None, :]
    agents = {
        "x": rng.normal(size=(3, T, N, 2)).astype(np.float32),
        "y": rng.normal(size=(3, T, N)).astype(np.float32) * needed,
    }

    def summed(batch, needed):
        return blocks.sum_over_samples(sums, batch, WEIGHTS, needed)

    def mapped(batch, needed):
        return blocks.map_over_samples(rows, batch, needed)

    for fn in (summed, mapped):
        together = jax.jit(jax.vmap(fn))(agents, needed)
        for i in range(3):
            agent = jax.tree.map(lambda x, i=i: x[i], agents)
            alone = jax.jit(fn)(agent, needed[i])
            assert_close(jax.tree.map(lambda x, i=i: x[i], together), alone)


def test_under_vmap_a_skipped_block_is_really_skipped(monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: 6)
    needed = np.zeros((2, T, N), bool)
    needed[0, 0] = True  # one agent needs the first block, the other one none
    np.testing.assert_array_equal(jax.jit(jax.vmap(count_blocks))(needed), [1, 0])

    def in_parallel(fn):
        batches = jax.tree.map(lambda x: np.stack([x, x]), BATCH)
        return jax.jit(jax.vmap(fn)).lower(batches, needed).as_text()

    for program in (
        in_parallel(
            lambda b, needed: blocks.sum_over_samples(sums, b, WEIGHTS, needed)
        ),
        in_parallel(lambda b, needed: blocks.map_over_samples(rows, b, needed)),
    ):
        assert "stablehlo.case" in program  # and not a choice between two results


@each_block_size
def test_a_sum_over_slices_is_the_sum_over_all(samples, monkeypatch):
    monkeypatch.setattr(blocks, "most_samples", lambda _: samples)
    flat = {name: x.reshape(T * N, *x.shape[2:]) for name, x in BATCH.items()}
    weights = WEIGHTS.reshape(T * N)
    assert_close(blocks.sum_over_slices(sums, flat, weights), sums(BATCH, WEIGHTS))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_counting_is_a_cumulative_sum(size):
    flags = rng.random(size) < 0.5
    np.testing.assert_array_equal(count_up_to(jnp.asarray(flags)), np.cumsum(flags))


def test_blocks_suit_the_device(monkeypatch):
    monkeypatch.setattr(blocks, "on_cpu", lambda: True)
    assert blocks.most_samples(4) == blocks.most_samples(10**9) == 512
    monkeypatch.setattr(blocks, "on_cpu", lambda: False)
    assert blocks.most_samples(4) == 2**20
    assert blocks.most_samples(64) == 2**20
    assert blocks.most_samples(1000) == 2**26 // 1000  # images
    assert blocks.most_samples(2**27) == 1
    assert blocks.most_samples(0) == 2**20


def test_the_numbers_of_a_sample_are_those_behind_its_axes(monkeypatch):
    told = []
    monkeypatch.setattr(
        blocks, "most_samples", lambda numbers: told.append(numbers) or 6
    )
    blocks.sum_over_samples(sums, BATCH, WEIGHTS, ALL)  # 2 in "x", 1 in "y", 1 of these
    blocks.map_over_samples(rows, BATCH, ALL)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), BATCH)
    blocks.sum_over_slices(sums, flat, WEIGHTS.reshape(-1))
    assert told == [4, 3, 4]
