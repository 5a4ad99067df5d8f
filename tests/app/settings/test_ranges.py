"""What no argument may be, for every public function that takes numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax.trust_region import scale_by_inverse_fisher

NAN, INF = float("nan"), float("inf")
KEY = jax.random.key(0)
ADAM = optax.adam(0.1)
CART, PENDULUM = pg.make_env("CartPole-v1"), pg.make_env("Pendulum-v1")
NETWORK = pg.actor_critic(CART, (4,))
A2C = pg.a2c(NETWORK, ADAM)
ROLLOUT = pg.unroll(CART, 2, 4)

UNIT = [-0.1, 1.1, NAN, np.float32(2), np.array(NAN), jnp.float32(-1), True, "1", None]
POSITIVE = [0, -1, NAN, 1e-50, np.float32(0), jnp.int32(-1), np.array(NAN), True, "1"]
COEFFICIENT = [-1, -1e-9, NAN, INF, 1e39, np.float64(-1), jnp.float32(NAN), True, None]
FINITE = [NAN, INF, -1e39, np.float32(NAN), jnp.float32(INF), True, "1", None]
COUNT = [0, -1, 1.5, 2.0, np.float32(2), True, np.True_, "2", 2**31]
FROM_ZERO = [x for x in COUNT if type(x) is not int or x]
FLAG = [0, 1, None, "yes"]
WIDTHS = [(0,), (-1,), (4, 0), (1.5,), (True,), ("4",), 4, None, (2**31,)]

COEFFICIENTS = {"entropy_coefficient": COEFFICIENT, "value_coefficient": COEFFICIENT}
EPOCHS = {"num_epochs": COUNT, "num_minibatches": COUNT}
HEAD = {"hidden": WIDTHS, "log_std": FINITE, "state_dependent_std": FLAG}
TRUST = {"damping": POSITIVE, "max_backtracks": FROM_ZERO}


def learner(make):
    return lambda **options: make(NETWORK, ADAM, **options)


# A function of the options, and for each of these what it must refuse.
FUNCTIONS = {
    "reinforce": (
        learner(pg.reinforce),
        COEFFICIENTS
        | {"gamma": UNIT, "discount_states": FLAG, "normalize_advantage": FLAG},
    ),
    "a2c": (
        learner(pg.a2c),
        COEFFICIENTS
        | {"gamma": UNIT, "lam": UNIT, "n_step": COUNT, "normalize_advantage": FLAG},
    ),
    "ppo": (
        learner(pg.ppo),
        COEFFICIENTS
        | EPOCHS
        | {"gamma": UNIT, "lam": UNIT, "clip": [*POSITIVE, None]}
        | {"value_clip": POSITIVE, "target_kl": POSITIVE},
    ),
    "trpo": (
        learner(pg.trpo),
        EPOCHS
        | TRUST
        | {"gamma": UNIT, "lam": UNIT, "max_kl": [*POSITIVE, INF, None]}
        | {"cg_iterations": COUNT, "normalize_advantage": FLAG},
    ),
    "trust_region": (
        lambda max_kl=0.1, **options: pg.trust_region(max_kl, **options),
        TRUST | {"max_kl": [*POSITIVE, INF, None], "decay": [*POSITIVE, 1, 1.5, None]},
    ),
    "scale_by_inverse_fisher": (
        scale_by_inverse_fisher,
        {"iterations": COUNT, "damping": POSITIVE},
    ),
    "fisher_vector_product": (
        lambda **options: pg.fisher_vector_product(
            lambda x: x @ x, jnp.zeros(2), jnp.ones(2), **options
        ),
        {"damping": COEFFICIENT},
    ),
    "normalize_observations": (
        lambda **options: pg.normalize_observations(A2C, **options),
        {"clip": [*POSITIVE, None]},
    ),
    "scale_rewards": (
        lambda **options: pg.scale_rewards(A2C, **options),
        {"gamma": UNIT, "clip": [*POSITIVE, None]},
    ),
    "anneal": (
        lambda **options: pg.anneal(optax.sgd(0.1), **options),
        {"env_steps": [*POSITIVE, None, INF, 2**64]},
    ),
    "mlp_policy": (lambda **options: pg.mlp_policy(PENDULUM, **options), HEAD),
    "actor_critic": (
        lambda **options: pg.actor_critic(PENDULUM, **options),
        HEAD | {"shared_torso": FLAG},
    ),
    "episodes": (
        lambda **options: pg.episodes(CART, **options),
        {"num_envs": [*COUNT, None]},
    ),
    "unroll": (
        lambda num_envs=2, num_steps=2: pg.unroll(CART, num_envs, num_steps),
        {"num_envs": [*COUNT, None], "num_steps": [*COUNT, None]},
    ),
    "train": (
        lambda **options: pg.train(KEY, ROLLOUT, A2C, **options),
        {"num_updates": [*COUNT, None]},
    ),
    "train_steps": (
        lambda **options: pg.train_steps(None, ROLLOUT, A2C, **options),
        {"num_updates": [*COUNT, None]},
    ),
    "make_mesh": (pg.make_mesh, {"env": [*COUNT, None]}),
}
WRONG = [
    (function, option, wrong)
    for function, (_, options) in FUNCTIONS.items()
    for option, values in options.items()
    for wrong in values
]


@pytest.mark.parametrize(("function", "option", "wrong"), WRONG)
def test_it_is_refused_by_name(function, option, wrong):
    call, _ = FUNCTIONS[function]
    with pytest.raises((TypeError, ValueError), match=rf"\b{option}\b.* must be|decay"):
        call(**{option: wrong})


# Settings that an algorithm could not act on.
NO_USE = {
    r"lam is the decay .* n_step=2": lambda: pg.a2c(NETWORK, ADAM, n_step=2, lam=0.9),
    r"target_kl limits": lambda: pg.ppo(
        NETWORK, ADAM, num_epochs=1, num_minibatches=1, target_kl=0.1
    ),
    r"value_clip limits": lambda: pg.ppo(
        NETWORK, ADAM, num_epochs=1, num_minibatches=1, value_clip=0.1
    ),
    r"n_step=5 looks further ahead than the rollout's 4": lambda: traced(
        pg.a2c(NETWORK, ADAM, n_step=5)
    ),
    r"normalized over one sample.*fewer minibatches": lambda: traced(
        pg.ppo(NETWORK, ADAM, num_minibatches=8)
    ),
    r"normalized over one sample": lambda: traced(
        pg.a2c(NETWORK, ADAM, normalize_advantage=True), pg.unroll(CART, 1, 1)
    ),
    r"normalized over one sample, which": lambda: traced(
        pg.ppo(NETWORK, ADAM, num_minibatches=1, normalize_over="batch"),
        pg.unroll(CART, 1, 1),
    ),
    r"normalized over one sample, which leaves": lambda: traced(
        pg.trpo(NETWORK, ADAM, num_minibatches=1), pg.unroll(CART, 1, 1)
    ),
    r"value_coefficient=0.1 weighs .* critic": lambda: traced(
        pg.reinforce(pg.mlp_policy(CART, (4,)), ADAM, value_coefficient=0.1),
        pg.episodes(CART, 2),
    ),
}


def traced(algorithm, rollout=ROLLOUT):
    jax.eval_shape(lambda k: pg.train(k, rollout, algorithm, num_updates=1), KEY)


@pytest.mark.parametrize("says", NO_USE)
def test_what_would_do_nothing_is_refused(says):
    with pytest.raises(ValueError, match=says):
        NO_USE[says]()


def test_what_does_something_is_not_refused():
    traced(pg.a2c(NETWORK, ADAM, n_step=4))
    traced(pg.ppo(NETWORK, ADAM, num_minibatches=4))
    traced(pg.ppo(NETWORK, ADAM, num_minibatches=8, normalize_advantage=False))
    traced(pg.a2c(NETWORK, ADAM), pg.unroll(CART, 1, 1))
    pg.ppo(NETWORK, ADAM, num_epochs=2, num_minibatches=1, target_kl=0.1)
