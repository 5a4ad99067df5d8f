"""Mistakes are told by the name of the argument, with what would be right."""

import jax
import jax.numpy as jnp
import optax
import pytest

import pgjax as pg
from pgjax.checks import check_is, check_key, check_positive, check_unit_interval

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
    r"optimizer must be .* such as optax.adam\(1e-3\), got function": (
        lambda: pg.a2c(NETWORK, optax.adam)
    ),
    r"env must be of type Env, such as pg.make_env.*got str": (
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


def test_what_is_right_passes_and_tracers_are_not_looked_at():
    check_is(tuple, "()", a=(1,), b=())
    check_key(KEY)
    check_unit_interval(gamma=0, lam=1.0)
    check_positive(clip=jnp.inf, value_clip=None)

    def use(x):
        check_key(jax.random.split(KEY)[0])
        check_unit_interval(gamma=x)
        check_positive(clip=x)
        return x

    assert jax.vmap(use)(jnp.array([-1.0, 2.0])).tolist() == [-1.0, 2.0]
