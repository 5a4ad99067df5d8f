import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax import blocks

rng = np.random.default_rng(0)
T, N = 7, 3
BATCH = {
    "x": rng.normal(size=(T, N, 2)).astype(np.float32),
    "y": rng.normal(size=(T, N)).astype(np.float32),
}
ALL = np.ones((T, N), bool)
# Blocks of 7, 4, 3, 2 and 1 steps: most of them do not divide 7.
each_block_size = pytest.mark.parametrize("samples", [2048, 12, 9, 6, 1])


def sums(block):
    return {
        "sum": jnp.einsum("tni,tn->i", block["x"], block["y"]),
        "squares": jnp.sum(block["y"] ** 2),
    }


def rows(block):
    return block["x"] * block["y"][..., None]


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6),
        actual,
        expected,
    )


@each_block_size
def test_a_sum_over_blocks_is_the_sum_over_all(samples, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", samples)
    result = jax.jit(lambda b: blocks.sum_over_time(sums, b, ALL))(BATCH)
    assert_close(result, sums(BATCH))


@each_block_size
def test_a_map_over_blocks_is_the_map_over_all(samples, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", samples)
    result = jax.jit(lambda b: blocks.map_over_time(rows, b, ALL))(BATCH)
    assert result.shape == (T, N, 2)
    assert_close(result, rows(BATCH))


@each_block_size
def test_gradients_taken_within_blocks_add_up(samples, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", samples)

    def loss(w, block):
        return jnp.sum(jnp.tanh(jnp.einsum("tni,i->tn", block["x"], w)) * block["y"])

    w = jnp.array([0.3, -0.8])
    result = blocks.sum_over_time(lambda block: jax.grad(loss)(w, block), BATCH, ALL)
    assert_close(result, jax.grad(loss)(w, BATCH))


def test_no_block_is_larger_than_it_may_be(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 6)
    shapes = []
    blocks.sum_over_time(lambda b: shapes.append(b["y"].shape) or sums(b), BATCH, ALL)
    assert set(shapes) == {(2, N)}


def count_blocks(needed):
    """How many blocks are evaluated: every one that is adds 1."""
    return blocks.sum_over_time(lambda block: 1, BATCH, needed)


@pytest.mark.parametrize(
    ("needed_steps", "count"), [([], 0), ([0], 1), ([6], 1), ([1, 2], 2), (range(7), 4)]
)
def test_blocks_that_nobody_needs_are_skipped(needed_steps, count, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 6)  # two steps a block
    needed = np.zeros((T, N), bool)
    needed[list(needed_steps), 1] = True
    assert count_blocks(needed) == count
    ones = blocks.map_over_time(lambda b: jnp.ones(b["y"].shape), BATCH, needed)
    np.testing.assert_array_equal(ones[needed], 1.0)
    whole_blocks = {t // 2 for t in needed_steps}
    expected = [[float(t // 2 in whole_blocks)] * N for t in range(T)]
    np.testing.assert_array_equal(ones, expected)


def test_agents_of_a_vmap_get_what_each_gets_alone(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 6)
    lengths = np.array([[7, 3, 1], [2, 2, 1], [0, 0, 0]])  # agents, envs
    needed = np.arange(T)[:, None] < lengths[:, None, :]
    agents = {
        "x": rng.normal(size=(3, T, N, 2)).astype(np.float32),
        "y": rng.normal(size=(3, T, N)).astype(np.float32) * needed,
    }

    def summed(batch, needed):
        return blocks.sum_over_time(sums, batch, needed)

    def mapped(batch, needed):
        return blocks.map_over_time(rows, batch, needed) * needed[..., None]

    for fn in (summed, mapped):
        together = jax.jit(jax.vmap(fn))(agents, needed)
        for i in range(3):
            agent = jax.tree.map(lambda x, i=i: x[i], agents)
            alone = jax.jit(fn)(agent, needed[i])
            assert_close(jax.tree.map(lambda x, i=i: x[i], together), alone)


def test_under_vmap_a_skipped_block_is_really_skipped(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 6)
    needed = np.zeros((2, T, N), bool)
    needed[0, 0] = True  # one agent needs the first block, the other one none
    np.testing.assert_array_equal(jax.jit(jax.vmap(count_blocks))(needed), [1, 1])

    def in_parallel(fn):
        batches = jax.tree.map(lambda x: np.stack([x, x]), BATCH)
        return jax.jit(jax.vmap(fn)).lower(batches, needed).as_text()

    for program in (
        in_parallel(lambda b, needed: blocks.sum_over_time(sums, b, needed)),
        in_parallel(lambda b, needed: blocks.map_over_time(rows, b, needed)),
    ):
        assert "stablehlo.case" in program
        assert "stablehlo.select" not in program
