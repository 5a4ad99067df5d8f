"""Mistakes are told by the name of the argument, with what would be right."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.checks import (
    as_count,
    as_scalars,
    check_finite,
    check_flags,
    check_is,
    check_key,
    check_not_negative,
    check_positive,
    check_positive_or_none,
    check_unit_interval,
)

ENV = pg.make_env("CartPole-v1")
NETWORK = pg.actor_critic(ENV, (4,))
ADAM = optax.adam(0.1)
ROLLOUT = pg.unroll(ENV, 2, 4)
LEARNER = pg.ppo(NETWORK, ADAM)
KEY = jax.random.key(0)
NAN = float("nan")

TYPES = {
    r"rollout must be of type Rollout, such as pg.episodes.*, got Algorithm": (
        lambda: pg.train(KEY, LEARNER, ROLLOUT, num_updates=1)
    ),
    r"key must be a typed key, such as jax.random.key\(0\), got 0": (
        lambda: pg.train(0, ROLLOUT, LEARNER, num_updates=1)
    ),
    r"network must be of type Network": lambda: pg.ppo(ADAM, NETWORK),
    r"optimizer must be .* such as optax.adam\(1e-3\).*, got function": (
        lambda: pg.a2c(NETWORK, optax.adam)
    ),
    r"env must be of type Env or HostEnv, such as pg.make_env.*got str": (
        lambda: pg.mlp_policy("CartPole-v1")
    ),
    r"env must be of type Env, such as": lambda: pg.episodes("CartPole-v1", 4),
    r"env must be of type Env": lambda: pg.unroll("CartPole-v1", 4, 4),
    r"policy must be .* such as algorithm.policy, got Algorithm": (
        lambda: pg.evaluate(KEY, ENV, LEARNER, None)
    ),
}
VALUES = {
    r"hidden must be positive widths.*got \(0,\)": lambda: pg.mlp_policy(ENV, (0,)),
    r"hidden must be positive widths.*got 16": lambda: pg.actor_critic(ENV, 16),
    r"gamma must be in \[0, 1\], got 2": lambda: pg.reinforce(NETWORK, ADAM, gamma=2),
    r"lam must be in \[0, 1\], got -1": lambda: pg.a2c(NETWORK, ADAM, lam=-1.0),
    r"clip must be positive, got -1": lambda: pg.ppo(NETWORK, ADAM, clip=-1.0),
    r"target_kl must be pos": lambda: pg.ppo(NETWORK, ADAM, target_kl=0.0),
    r"max_kl must be positive": lambda: pg.trpo(NETWORK, ADAM, max_kl=0.0),
    r"gamma must be in \[0, 1\], got nan": lambda: pg.trpo(NETWORK, ADAM, gamma=NAN),
}


@pytest.mark.parametrize("says", TYPES)
def test_something_else_is_told_with_an_example(says):
    with pytest.raises(TypeError, match=says):
        TYPES[says]()


@pytest.mark.parametrize("says", VALUES)
def test_a_number_out_of_range_is_told(says):
    with pytest.raises(ValueError, match=says):
        VALUES[says]()


RANGES = {
    check_unit_interval: ([0, 1, 0.5], [-1, 1.001, NAN, math.inf]),
    check_positive: ([1, 1e-30, math.inf], [0, -1, NAN, -math.inf, 1e-50]),
    check_not_negative: ([0, 3, 1e30], [-1, NAN, math.inf, 1e39]),
    check_finite: ([0, -3, 1e30], [NAN, math.inf, -math.inf, -1e39]),
}
OUTSIDE = [(check, x) for check, (_, wrong) in RANGES.items() for x in wrong]
INSIDE = [(check, x) for check, (right, _) in RANGES.items() for x in right]
KINDS = {
    "python": lambda x: x,
    "np.float32": np.float32,
    "np.float64": np.float64,
    "0-d": np.asarray,
    "jnp": jnp.float32,
    "several": lambda x: np.array([0.5, x]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("check", "number"), OUTSIDE)
def test_a_number_out_of_range_is_refused_whatever_it_comes_as(check, number, kind):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"^x must be"):
        check(x=KINDS[kind](number))


def test_an_integer_beyond_all_floats_is_out_of_range():
    for check in (check_unit_interval, check_not_negative, check_finite):
        with pytest.raises(ValueError, match=r"^x must be"):
            check(x=10**400)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("check", "number"), INSIDE)
def test_a_number_in_range_passes(check, number, kind):
    check(x=KINDS[kind](number))
    jax.jit(lambda: check(x=KINDS[kind](number)))()  # a constant within a trace


@pytest.mark.parametrize("check", RANGES)
@pytest.mark.parametrize("wrong", [True, np.True_, None, "1", [0.5], 1j, KEY])
def test_what_is_no_number_is_refused(check, wrong):
    with pytest.raises(TypeError, match=r"^x must be a real number"):
        check(x=wrong)


@pytest.mark.parametrize("check", RANGES)
def test_a_traced_bool_is_no_number(check):
    with pytest.raises(TypeError, match=r"^x must be a real number"):
        jax.eval_shape(lambda x: check(x=x), jnp.bool_(True))


def test_what_is_right_passes_and_tracers_are_not_looked_at():
    check_is(tuple, "()", a=(1,), b=())
    check_key(KEY)
    check_positive_or_none(clip=jnp.inf, value_clip=None)
    check_flags(one=True, other=np.False_)

    def use(x):
        check_key(jax.random.split(KEY)[0])
        for check in RANGES:
            check(x=x)
        return x

    assert jax.vmap(use)(jnp.array([-1.0, 2.0])).tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("wrong", [0, 1, None, "yes", jnp.bool_(True)])
def test_a_flag_is_true_or_false(wrong):
    with pytest.raises(TypeError, match=r"^x must be True or False"):
        check_flags(x=wrong)


@pytest.mark.parametrize("number", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_a_count_becomes_a_python_int(number):
    assert type(as_count("x", number)) is int
    assert as_count("x", jnp.int32(3)) == as_count("x", number) == 3


@pytest.mark.parametrize(
    "wrong", [2.0, 1.5, np.float32(2), True, np.True_, "2", None, jnp.ones(1, int)]
)
def test_a_count_is_an_integer(wrong):
    with pytest.raises(TypeError, match=r"^x must be an integer"):
        as_count("x", wrong)


@pytest.mark.parametrize(("wrong", "least"), [(0, 1), (-1, 0), (2**31, 1)])
def test_a_count_has_a_range(wrong, least):
    with pytest.raises(ValueError, match=r"^x must be (at least|below)"):
        as_count("x", wrong, least=least)


def test_a_count_is_static():
    with pytest.raises(TypeError, match="pass a Python int"):
        jax.eval_shape(lambda x: as_count("x", x), jnp.int32(2))


@pytest.mark.parametrize("one", [1, 1.0, np.float64(1), np.int64(1), jnp.int32(1)])
def test_scalars_become_python_floats(one):
    (x,) = as_scalars(x=one)
    assert (type(x), x) == (float, 1.0)


def test_scalars_that_are_traced_become_floats():
    got = jax.eval_shape(lambda x: as_scalars(x=x)[0], jnp.int32(1))
    assert (got.shape, got.dtype) == ((), jnp.float32)


def test_scalars_are_scalars():
    with pytest.raises(ValueError, match=r"^x must be one number.*pg.sweep"):
        as_scalars(x=jnp.ones(2))


STEPS, NO = jnp.ones(3), jnp.zeros(3, bool)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: pg.gae(x, STEPS, STEPS, NO, NO, gamma=0.9, lam=0.9), "reward"),
        (lambda x: pg.gae(STEPS, STEPS, x, NO, NO, gamma=0.9, lam=0.9), "next_value"),
        (
            lambda x: pg.gae(STEPS, STEPS, STEPS, x, NO, gamma=0.9, lam=1.0),
            "terminated",
        ),
        (lambda x: pg.discounted_returns(x, NO, NO, gamma=0.9), "reward"),
        (lambda x: pg.policy_gradient_loss(STEPS, x), "advantage"),
        (lambda x: pg.grpo_advantages(x, group_size=3), "an array"),
    ],
)
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_is_no_array(call, name, kind):
    with pytest.raises(TypeError, match=rf"{name}.* got a {kind.__name__}"):
        call(kind([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("baseline", "takes"),
    [
        (lambda returns: returns, r"\(returns\)"),
        (lambda returns, weight: returns, r"\(returns, weight\)"),
        (lambda: 0.0, r"\(\)"),
        (lambda returns, weight, value, more: 0.0, r"\(returns, weight, value, more\)"),
    ],
)
def test_a_baseline_that_takes_other_arguments_is_told(baseline, takes):
    says = rf"baseline is called with \(returns, weight, value\).* takes {takes}: "
    with pytest.raises(TypeError, match=says):
        pg.reinforce(pg.mlp_policy(ENV, (4,)), optax.adam(0.1), baseline=baseline)


def test_a_baseline_may_take_more_that_has_a_default():
    for baseline in (
        lambda returns, weight, value=None, axis_name=None: returns,
        lambda *everything: everything[0],
        lambda returns, *others, **named: returns,
    ):
        pg.reinforce(pg.mlp_policy(ENV, (4,)), optax.adam(0.1), baseline=baseline)
