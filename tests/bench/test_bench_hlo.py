"""Costs of programs, against what one counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from pgjax._internal.xla import on_cpu
from pgjax.bench.hlo import Cost, count, times

X, W = jnp.ones((64, 32)), jnp.ones((32, 32))
FLOPS = 2 * 64 * 32 * 32  # of X @ W


def cost(function, *args, **options):
    text = jax.jit(function).lower(*args).compile().as_text()
    return count(text, **options)


def repeat(body, length):
    return lambda x: jax.lax.scan(lambda x, _: (body(x), None), x, length=length)[0]


def test_matrix_product():
    traffic = 4 * (64 * 32 + 32 * 32 + 64 * 32)
    assert cost(jnp.matmul, X, W) == Cost(FLOPS, 0, 0, traffic, 0, 1)


def test_batched_matrix_product():
    x = jnp.ones((5, 64, 32))
    assert cost(jax.vmap(jnp.matmul, (0, None)), x, W).matmul_flops == 5 * FLOPS
    w = jnp.ones((5, 32, 32))
    assert cost(jax.vmap(jnp.matmul), x, w).matmul_flops == 5 * FLOPS


@pytest.mark.skipif(not on_cpu(), reason="elsewhere, a library convolves")
def test_convolution():
    x, filters = jnp.ones((2, 16, 16, 3)), jnp.ones((3, 3, 3, 5))  # NHWC, HWIO

    def convolve(x, filters):
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, filters, (1, 1), "VALID", dimension_numbers=dims
        )

    flops = 2 * (2 * 14 * 14 * 5) * (3 * 3 * 3)
    assert cost(convolve, x, filters).matmul_flops == flops


def test_elementwise():
    x = jnp.ones(1000)
    found = cost(lambda x, y: jnp.where(x > y, x * 2.0, y) + 1.0, x, x)
    # A comparison, a product, a selection, a sum; two arrays read and one written.
    assert found == Cost(0, 4 * 1000, 0, 3 * 4 * 1000, 0, 1)


def test_transcendentals():
    found = cost(lambda x: jnp.exp(jnp.sin(x)) * x, jnp.ones(1000))
    assert found.transcendentals == 2 * 1000
    assert found.elementwise == 1000


def test_reduction_costs_its_input():
    found = cost(lambda x: x.sum(0), jnp.ones((32, 100)))
    assert found[:4] == (0, 32 * 100, 0, pytest.approx(4 * 33 * 100, abs=8))
    # Any tree of partial sums adds less than 1 in 32.
    big = cost(lambda x: (x * x).sum(), jnp.ones((256, 256)))
    assert 2 * 256**2 <= big.elementwise <= (2 + 1 / 32) * 256**2


def test_only_what_is_needed_counts():
    x = jnp.ones(1000)
    found = cost(lambda x, y: (x + y)[:4], x, x)
    assert found == Cost(0, 4, 0, 3 * 4 * 4, 0, 1)


def test_gather_reads_what_it_gathers():
    found = cost(
        lambda x, i: x.at[i].get(mode="promise_in_bounds"),
        jnp.ones((1000, 8)),
        jnp.arange(5),
    )
    assert found.bytes == 4 * (5 + 5 * 8 + 5 * 8)


def test_small_arrays_stay_in_a_cache():
    x, y = jnp.ones(1000), jnp.ones((100, 1000))
    text = jax.jit(lambda x, y: (x[None] + y) * 2.0).lower(x, y).compile().as_text()
    small, large = 4 * 1000, 4 * 100 * 1000
    for cached, memory in (
        (0, small + 2 * large),
        (small - 1, small + 2 * large),
        (small, 2 * large),
        (large, 0),
    ):
        found = count(text, cached=cached)
        assert found.bytes == memory
        assert found.bytes + found.cache_bytes == small + 2 * large


def test_a_row_of_a_large_array_is_traffic_of_the_large_array():
    steps, row = 50, 4 * 1024

    def body(total, x):
        return total + x, None

    def total(xs):
        return jax.lax.scan(body, jnp.zeros(1024), xs)[0]

    text = jax.jit(total).lower(jnp.ones((steps, 1024))).compile().as_text()
    found = count(text, cached=row)
    assert found.bytes == pytest.approx(steps * row)
    assert found.cache_bytes >= steps * 2 * row


def test_update_in_place_moves_the_update():
    def update(x, row, i):
        return jax.lax.dynamic_update_index_in_dim(x, row, i, 0)

    program = jax.jit(update, donate_argnums=0)
    args = jnp.ones((1000, 8)), jnp.ones(8), jnp.int32(3)
    text = program.lower(*args).compile().as_text()
    # Some words more for the index, and to see that it is in bounds.
    assert count(text).bytes == pytest.approx(2 * 4 * 8, abs=64)


def test_scan():
    found = cost(repeat(lambda x: jnp.tanh(x @ W), 10), X)
    assert found.matmul_flops == 10 * FLOPS
    assert found.transcendentals == 10 * 64 * 32
    assert found.elementwise == 10  # the counter


def test_nested_scans():
    found = cost(repeat(repeat(lambda x: jnp.tanh(x @ W), 6), 7), X)
    assert found.matmul_flops == 6 * 7 * FLOPS
    assert found.transcendentals == 6 * 7 * 64 * 32


def test_scan_reads_and_writes_a_row_at_a_time():
    steps, width = 50, 1024

    def step(total, x):
        total = total + x
        return total, total * 2.0

    found = cost(lambda xs: jax.lax.scan(step, xs[0], xs), jnp.ones((steps, width)))
    row = 4 * width
    # x and total are read and total written; total is read again, or computed again,
    # and the output written. The carry may be copied once more.
    assert 5 * row <= found.bytes / steps <= 9 * row


def test_loop_of_unknown_length():
    def halve(x):
        return jax.lax.while_loop(lambda x: x[0, 0] > 0.01, lambda x: jnp.tanh(x), x)

    with pytest.raises(ValueError, match=r"how often the loop %.* runs; .*loops=100"):
        cost(halve, X)
    found = cost(halve, X, loops=7)
    assert found.transcendentals == 7 * 64 * 32
    assert found.elementwise == 7 + 1  # comparisons
    assert cost(halve, X, loops=0).transcendentals == 0


@pytest.mark.parametrize("taken", [0.0, 0.25, 1.0])
def test_conditional(taken):
    def choose(p, x):
        return jax.lax.cond(p, lambda x: x + 1.0, lambda x: jnp.sin(x @ W), x)

    found = cost(choose, True, X, taken=taken)
    assert found.matmul_flops == taken * FLOPS
    assert found.transcendentals == taken * 64 * 32
    # The index of the branch may take an operation on one element.
    assert found.elementwise == pytest.approx((1 - taken) * 64 * 32, abs=2)


def test_gradient_of_a_network():
    def loss(params, x):
        first, second = params
        return jnp.mean((jnp.tanh(x @ first) @ second) ** 2)

    params = jnp.ones((4, 128)), jnp.ones((128, 2))
    found = cost(jax.grad(loss), params, jnp.ones((1024, 4)))
    # Forward, gradients of both kernels, and that of the hidden layer.
    first, second = 2 * 4 * 128, 2 * 128 * 2
    assert found.matmul_flops == 1024 * ((first + second) + (first + second) + second)
    assert found.transcendentals == 1024 * 128


def test_random_bits():
    found = cost(lambda key: jax.random.bits(key, (4096,)), jax.random.key(0))
    # threefry2x32: 20 rounds of an addition, two shifts, or, and xor; XLA may compute
    # the rounds for each of the two words again. 6 injections of a key, 3 operations.
    rounds, injections = 20 * 5, 6 * 3
    assert rounds <= found.elementwise / 4096 <= 2 * (rounds + injections)


@pytest.mark.skipif(not on_cpu(), reason="elsewhere, comparators are longer")
def test_sort_compares():
    found = cost(lambda x: jax.lax.sort(x), jnp.ones((16, 8), jnp.int32))
    assert found == Cost(0, 16 * 8 * 3, 0, 2 * 4 * 16 * 8, 0, 1)  # log2(8) = 3


def test_product_by_cublas():
    text = """HloModule jit_f

ENTRY %main.4 (x: f32[64,32], w: f32[48,32]) -> f32[64,48] {
  %x = f32[64,32]{1,0} parameter(0), metadata={op_name="x (or %y)"}
  %w = f32[48,32]{1,0} parameter(1)
  %gemm = (f32[64,48]{1,0}, s8[1024]{0}) custom-call(%x, %w), \
custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":\
{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],\
"rhs_contracting_dimensions":["1"]}}}
  ROOT %get = f32[64,48]{1,0} get-tuple-element(%gemm), index=0
}
"""
    traffic = 4 * (64 * 32 + 48 * 32 + 64 * 48) + 1024
    assert count(text) == Cost(2 * 64 * 48 * 32, 0, 0, traffic, 0, 1)


def test_a_fusion_that_is_started_costs_what_is_in_it():
    text = """HloModule jit_f

%fused (p: f32[1000,8]) -> f32[8] {
  %p = f32[1000,8]{1,0} parameter(0)
  %s = f32[1,8]{1,0} slice(%p), slice={[3:4], [0:8]}
  %b = f32[8]{0} bitcast(%s)
  ROOT %t = f32[8]{0} tanh(%b)
}

ENTRY %main (x: f32[1000,8]) -> f32[8] {
  %x = f32[1000,8]{1,0} parameter(0)
  %begun = ((f32[1000,8]{1,0}), f32[8]{0}) fusion-start(%x), kind=kLoop, calls=%fused
  ROOT %ended = f32[8]{0} fusion-done(%begun)
}
"""
    # Of the array a row is read, and a row is written.
    assert count(text, cached=100) == Cost(0, 0, 8, 4 * 8, 4 * 8, 1)


def test_shapes_and_small_calls():
    text = """HloModule jit_f

%body (p: (s32[], u32[4])) -> (s32[], u32[4]) {
  %p = (s32[], /*index=1*/u32[4]{0:T(128)}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %a = u32[4]{0:T(128)} get-tuple-element(%p), index=1
  %b = u32[4]{0:T(128)} not(%a)
  ROOT %t = (s32[], u32[4]{0:T(128)}) tuple(%i, %b)
}

%condition (q: (s32[], u32[4])) -> pred[] {
  %q = (s32[], u32[4]{0}) parameter(0)
  ROOT %true = pred[] constant(true)
}

%called (r: (s32[], u32[4])) -> (s32[], u32[4]) {
  %r = (s32[], u32[4]{0}) parameter(0)
  ROOT %w = (s32[], u32[4]{0}) while(%r), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (s: (s32[], u32[4]), m: pred[8], n: s4[8], h: bf16[8]) -> bf16[8] {
  %s = (s32[], u32[4]{0}) parameter(0)
  %m = pred[8]{0} parameter(1)
  %n = s4[8]{0:T(8,128)(4,1)E(4)} parameter(2)
  %h = bf16[8]{0} parameter(3)
  %c = (s32[], u32[4]{0}) call(%s), to_apply=%called, \
frontend_attributes={xla_cpu_small_call="true"}
  %k = bf16[8]{0} convert(%n)
  ROOT %z = bf16[8]{0} select(%m, %k, %h)
}
"""
    not_bytes, convert_bytes, select_bytes = 2 * 16, 4 + 16, 8 + 16 + 16 + 16
    traffic = 3 * not_bytes + convert_bytes + select_bytes
    assert count(text) == Cost(0, 3 * 4 + 8 + 8, 0, traffic, 0, 3)


def test_times():
    assert times(Cost(1, 2, 3, 4, 5, 6), 2) == Cost(2, 4, 6, 8, 10, 12)


def test_other_text_is_an_error():
    with pytest.raises(ValueError, match="no HLO text"):
        count("hello")
