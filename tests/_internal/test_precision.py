"""One rule of dtypes for all of the mathematics: see `pgjax._internal.precision`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mathematics import ARRAYS, FLAGS, FUNCTIONS
from turns import in_turns

import pgjax as pg
from pgjax._internal.precision import (
    at_least_float32,
    largest_exponent,
    number,
    working_dtype,
)

HALVES = ("float16", "bfloat16")
DTYPES = (*HALVES, "float32", "float64")
each_function = pytest.mark.parametrize("name", FUNCTIONS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
WITH_NUMBERS = [name for name, function in FUNCTIONS.items() if function.numbers]
close = np.testing.assert_allclose


def arrays_in(dtype, **others):
    """All arrays in one dtype but those named, whose dtypes are given, and flags."""
    dtypes = dict.fromkeys(ARRAYS, dtype) | dict.fromkeys(FLAGS, "bool") | others
    return {name: jnp.asarray(x, dtypes[name]) for name, x in ARRAYS.items()}


def assert_all(check, actual, expected):
    jax.tree.map(lambda a, e: check(np.float64(a), np.float64(e)), actual, expected)


def dtypes_of(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree)}


@each_function
@each_dtype
def test_results_are_float32_at_least_and_rounded_no_further(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        result = FUNCTIONS[name](arrays_in(dtype))
        wide = "float64" if dtype == "float64" else "float32"
        assert dtypes_of(result) == {wide}
        # The same numbers in float32 give the same bits.
        same = FUNCTIONS[name](arrays_in(wide))
    assert_all(np.testing.assert_array_equal, result, same)


@each_function
@pytest.mark.parametrize("x64", [False, True])
def test_strict_promotion_takes_arrays_of_any_dtypes(name, x64):
    want = FUNCTIONS[name](arrays_in("float32"))
    others = {
        "reward": "int32",
        "group_reward": "bool",
        "advantage": "bfloat16",
        "old_log_prob": "float16",
        "next_value": "float16",
        "other_logits": "bfloat16",
        "log_std": "float16",
        "target": "int32",
        "weight": "bool",
        "choice": "uint8",
    }
    rounded = ARRAYS["target"].astype(int)
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("strict"):
        arrays = arrays_in("float32", **others)
        result = FUNCTIONS[name](arrays)
        traced = jax.eval_shape(FUNCTIONS[name], arrays)
        numpy = FUNCTIONS[name](ARRAYS)  # float64, and what they are
    if "target" in FUNCTIONS[name].arrays:
        want = FUNCTIONS[name](arrays_in("float32") | {"target": jnp.float32(rounded)})
    assert_all(lambda a, e: close(a, e, 1e-5, 1e-6), result, want)
    assert dtypes_of(traced) == dtypes_of(result)
    assert dtypes_of(numpy) == {"float64" if x64 else "float32"}


KINDS = {
    "float": float,
    "np.float32": np.float32,
    "np.float64": np.float64,
    "np 0-d": np.asarray,
    "jnp 0-d": jnp.asarray,
    "jnp bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
    "int": int,
    "np.int64": lambda x: np.int64(int(x)),
    "jnp int32": lambda x: jnp.int32(int(x)),
}


@pytest.mark.parametrize(
    ("name", "kind", "x64"), in_turns(WITH_NUMBERS, KINDS, [False, True])
)
def test_strict_promotion_takes_numbers_of_any_kind(name, kind, x64):
    function = FUNCTIONS[name]
    numbers = function.numbers
    if "int" in kind:
        numbers = dict.fromkeys(numbers, 1.0)
    want = function(arrays_in("float32"), **numbers)
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("strict"):
        converted = {key: KINDS[kind](x) for key, x in numbers.items()}
        result = function(arrays_in("float32"), **converted)
        traced = jax.eval_shape(
            lambda numbers: function(arrays_in("float32"), **numbers), converted
        )
    assert dtypes_of(result) == dtypes_of(traced) == {"float32"}
    assert_all(lambda a, e: close(a, e, 1e-5, 1e-6), result, want)


OUT_OF_RANGE = [
    (name, key, bad)
    for name, function in FUNCTIONS.items()
    for key, numbers in function.out_of_range.items()
    for bad in numbers
]


@pytest.mark.parametrize(("name", "key", "bad"), OUT_OF_RANGE)
@pytest.mark.parametrize("kind", ["float", "np.float64", "np 0-d", "jnp 0-d"])
def test_a_number_out_of_range_is_told(name, key, bad, kind):
    with pytest.raises(ValueError, match=rf"{key} must be .*, got"):
        FUNCTIONS[name](arrays_in("float32"), **{key: KINDS[kind](bad)})


@pytest.mark.parametrize("advantages", [pg.rloo_advantages, pg.grpo_advantages])
@pytest.mark.parametrize("size", [2.0, "2", True, None])
def test_a_group_size_that_is_no_integer_is_told(advantages, size):
    with pytest.raises(TypeError, match="group_size must be an integer, got"):
        advantages(jnp.zeros(4), group_size=size)


@pytest.mark.parametrize("n", [1.5, "2", None])
def test_a_number_of_steps_that_is_no_integer_is_told(n):
    reward, no = jnp.zeros(3), jnp.zeros(3, bool)
    with pytest.raises(TypeError, match="n must be an integer, got"):
        pg.n_step_returns(reward, reward, no, no, gamma=0.9, n=n)


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_of_half_precision_count_beyond_its_digits(dtype):
    # 1,000 ones: in bfloat16, 256 + 1 is 256.
    ones, no = jnp.ones(3000, dtype), jnp.zeros(3000, bool)
    assert pg.discounted_returns(ones, no, no, gamma=1.0)[0] == 3000
    mean, variance = FUNCTIONS["moments"].call(ones, ones)
    assert (mean, variance) == (1.0, 0.0)
    x = jnp.arange(3000) % 2
    mean, variance = FUNCTIONS["moments"].call(x.astype(dtype), ones)
    close([mean, variance], [0.5, 750 / 2999], rtol=1e-6)
    baseline = pg.leave_one_out(
        ones[:, None] * jnp.ones((1, 2), dtype), jnp.ones((3000, 2), dtype)
    )
    np.testing.assert_array_equal(baseline, np.ones((3000, 2)))


def test_the_working_dtype_is_what_arrays_promote_to():
    shape = jax.ShapeDtypeStruct((2,), jnp.bfloat16)
    assert working_dtype(shape) == working_dtype(np.zeros(2)) == jnp.float32
    assert working_dtype(True, jnp.int32(1)) == jnp.float32
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        assert working_dtype(jnp.float16(1), jnp.bfloat16(1)) == jnp.float32
        assert working_dtype(jnp.float32(1), np.arange(2)) == jnp.float32
        assert working_dtype(np.arange(2)) == working_dtype(0.5) == jnp.float64
        assert working_dtype(jnp.bfloat16(1), np.zeros(2)) == jnp.float64
        one, two = at_least_float32(np.int8(1), jnp.float16(2))
        assert one.dtype == two.dtype == jnp.float32


def test_python_s_numbers_are_rounded_once_and_have_no_dtype():
    assert type(number(np.float64(0.2), jnp.float32)) is float
    assert number(np.float32(0.2), jnp.bfloat16).dtype == jnp.bfloat16
    assert (1.0 - number(0.3, jnp.float32)) == 1.0 - 0.3


def test_the_largest_exponent_is_that_of_the_dtype():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, np.float64):
        limit, most = largest_exponent(dtype), float(jnp.finfo(dtype).max)
        close(np.exp(limit - 1e-9), most, rtol=1e-6)
