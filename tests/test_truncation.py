"""A time limit is not an end: V goes on where an episode was cut, and only there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg

NETWORK = probes.linear_network(critic=True)  # one value for each time of the clock
GAMMA = 0.5
ENV = pg.make_env("Clock-probe")
NUM_STEPS = 4  # of episodes of 3, so that horizons fall on every step of them
CRITIC = {"gamma": GAMMA, "value_coefficient": 1.0}
SGD = optax.sgd(1.2)  # every time has 1/4 to 1/2 of the steps
FEW = optax.sgd(0.3)

ALGORITHMS = {
    "reinforce": lambda: pg.reinforce(
        NETWORK, SGD, baseline=pg.value_baseline, **CRITIC
    ),
    "a2c lambda 1": lambda: pg.a2c(NETWORK, SGD, lam=1.0, **CRITIC),
    "a2c lambda 0.6": lambda: pg.a2c(NETWORK, SGD, lam=0.6, **CRITIC),
    "a2c 1 step": lambda: pg.a2c(NETWORK, SGD, n_step=1, **CRITIC),
    "a2c 2 steps": lambda: pg.a2c(NETWORK, SGD, n_step=2, **CRITIC),
    "ppo": lambda: pg.ppo(NETWORK, FEW, num_minibatches=2, **CRITIC),
    "trpo": lambda: pg.trpo(NETWORK, FEW, gamma=GAMMA, num_epochs=4, num_minibatches=2),
}


def ending(limit_terminates):
    """The clock, whose limit is a terminal state or not: both in one program."""

    def step(key, state, action):
        obs, state, reward, terminated, truncated = ENV.step(key, state, action)
        final = truncated & limit_terminates
        return obs, state, reward, terminated | final, truncated & ~final

    return ENV._replace(step=step)


@functools.cache
def compiled(name):
    @jax.jit
    def run(limit_terminates):
        env = ending(limit_terminates)
        algorithm = ALGORITHMS[name]()
        if algorithm.complete_episodes:
            rollout = pg.episodes(env, 2)
        else:
            rollout = pg.unroll(env, 2, NUM_STEPS)
        state, _ = pg.train(jax.random.key(0), rollout, algorithm, num_updates=150)
        return state.learner.params["value"]

    return run


@pytest.mark.parametrize(
    ("limit_terminates", "value"),
    [
        # Cut, the reward goes on for ever: r / (1 - gamma), whatever the time.
        (False, [2.0, 2.0, 2.0]),
        # Ended, it is what is left: 1 + 1/2 + 1/4, 1 + 1/2, 1.
        (True, [1.75, 1.5, 1.0]),
    ],
    ids=["truncates", "terminates"],
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_values_of_a_constant_reward(name, limit_terminates, value):
    got = compiled(name)(jnp.bool_(limit_terminates))
    # Nothing is random, and each update takes at least 0.1 of every error away.
    np.testing.assert_allclose(got, value, atol=1e-4)
