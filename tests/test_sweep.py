"""Seeds x hyperparameters in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from probes import quick_jit

import pgjax as pg

ENV = pg.make_env("CartPole-v1", time_limit=20)
NETWORK = pg.actor_critic(ENV, (4,))
UNROLL, EPISODES = pg.unroll(ENV, 2, 8), pg.episodes(ENV, 2)
# Each algorithm, with one of its own floats.
ALGORITHMS = {
    "reinforce": (EPISODES, lambda opt, x: pg.reinforce(NETWORK, opt, gamma=x)),
    "a2c": (UNROLL, lambda opt, x: pg.a2c(NETWORK, opt, lam=x)),
    "ppo": (UNROLL, lambda opt, x: pg.ppo(NETWORK, opt, clip=x, num_minibatches=2)),
    "trpo": (UNROLL, lambda opt, x: pg.trpo(NETWORK, opt, max_kl=x)),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_agent_of_a_sweep_is_that_agent_alone(name):
    rollout, factory = ALGORITHMS[name]

    def make(learning_rate, x):
        return factory(optax.sgd(learning_rate), x)

    rates, xs = [0.01, 0.1], [0.05, 0.2, 0.9]

    def sweep():
        values = {"learning_rate": jnp.array(rates), "x": jnp.array(xs)}
        return pg.sweep(make, values, rollout, num_seeds=2, num_updates=2, seed=5)

    state, metrics = quick_jit(sweep)()
    assert metrics["env_steps"].shape == (2, 3, 2, 2)
    alone, alone_metrics = quick_jit(
        lambda key: pg.train(key, rollout, make(0.1, 0.2), num_updates=2)
    )(jax.random.key(6))
    agent = jax.tree.map(lambda x: x[1, 1, 1], (state, metrics))
    assert (agent[1]["env_steps"] == alone_metrics["env_steps"]).all()
    many, one = (jax.tree.leaves(x) for x in (agent[0].learner, alone.learner))
    for ours, theirs in zip(many, one, strict=True):
        # Two updates' worth of float32 rounding.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # And it is not what the others are.
    for other in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        params = jax.tree.map(lambda x, i=other: x[i], state.learner.params)
        assert any(
            not np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            for ours, theirs in zip(jax.tree.leaves(params), one, strict=True)
        )


def test_a_sweep_in_batches_and_without_hyperparameters():
    def make():
        return pg.reinforce(NETWORK, optax.sgd(0.1))

    def returns(**options):
        _, metrics = pg.sweep(make, {}, EPISODES, num_seeds=3, num_updates=2, **options)
        return np.asarray(metrics["episode_return"])

    np.testing.assert_allclose(returns(), returns(agents_at_once=2), rtol=1e-5)
    assert returns().shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0"),
        ({"agents_at_once": 0}, "agents_at_once must be at least 1"),
        ({"values": []}, r"gamma needs a flat list of values, got shape \(0,\)"),
        ({"values": 0.9}, r"gamma needs a flat list of values, got shape \(\)"),
        ({"num_updates": 0}, "num_updates must be at least 1"),
    ],
)
def test_what_a_sweep_cannot_be(options, says):
    options = {"num_seeds": 1, "num_updates": 1, "values": [0.9]} | options

    def make(gamma):
        return pg.reinforce(NETWORK, optax.sgd(0.1), gamma=gamma)

    with pytest.raises(ValueError, match=says):
        pg.sweep(make, {"gamma": options.pop("values")}, EPISODES, **options)
