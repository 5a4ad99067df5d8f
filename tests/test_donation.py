"""A first state can be given away: no two of its leaves share a buffer."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from turns import slow

import pgjax as pg

KEY = jax.random.key(0)
ENV = pg.make_env("CartPole-v1")
NETWORK = pg.actor_critic(ENV, (4,))
ALGORITHMS = {"reinforce": pg.reinforce, "a2c": pg.a2c, "ppo": pg.ppo, "trpo": pg.trpo}
WRAPPERS = {
    "scale_rewards": pg.scale_rewards,
    "normalize_observations": pg.normalize_observations,
}
NESTINGS = [
    names for count in range(3) for names in itertools.permutations(WRAPPERS, count)
]
OPTIMIZERS = {
    "adam": optax.adam(1e-3),
    "anneal": pg.anneal(optax.adam(1e-3), env_steps=1e3),
    "schedule_free": optax.contrib.schedule_free_adamw(1e-3),
    "ema": optax.chain(optax.adam(1e-3), optax.ema(0.9)),
    "MultiSteps": optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
}


def wrapped(algorithm, names):
    for name in names:
        algorithm = WRAPPERS[name](algorithm)
    return algorithm


def rollout_for(algorithm):
    if algorithm.complete_episodes:
        return pg.episodes(pg.make_env("Countdown-probe"), 4)
    return pg.unroll(pg.make_env("Countdown-probe"), 4, 4)


def buffers(tree):
    """Where the memory of each leaf is, unless there is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if leaf.size:
            yield leaf.unsafe_buffer_pointer(), jax.tree_util.keystr(path)


def assert_distinct(tree):
    seen = {}
    for pointer, name in buffers(tree):
        assert pointer not in seen, f"{name} and {seen[pointer]} are one buffer"
        seen[pointer] = name


@pytest.mark.parametrize(
    ("make", "nesting"),
    [("ppo", nesting) for nesting in NESTINGS]
    + [(make, NESTINGS[i]) for make in ALGORITHMS for i in (0, -1) if make != "ppo"],
)
def test_no_two_leaves_share_a_buffer(make, nesting):
    algorithm = wrapped(ALGORITHMS[make](NETWORK, OPTIMIZERS["anneal"]), nesting)
    rollout = pg.episodes if algorithm.complete_episodes else pg.unroll
    size = (4,) if algorithm.complete_episodes else (4, 8)
    state = pg.init_train_state(KEY, rollout(ENV, *size), algorithm)
    assert_distinct(state)
    # Nor do those that the algorithm makes: they may be donated by themselves.
    assert_distinct(algorithm.init(KEY, jnp.zeros((4, 4))))


def donated_runs(algorithm):
    """The same, with and without donation; two calls each."""
    rollout = rollout_for(algorithm)

    def steps(state):
        return pg.train_steps(state, rollout, algorithm, num_updates=1)[0]

    ends = []
    for donate in ((), 0):
        run = jax.jit(steps, donate_argnums=donate)
        ends.append(run(run(pg.init_train_state(KEY, rollout, algorithm))))
    return ends


@pytest.mark.parametrize("make", ALGORITHMS)
def test_a_donated_state_trains_the_same(make):
    network = probes.linear_network(critic=True)
    options = {"num_epochs": 2, "num_minibatches": 2} if make in ("ppo", "trpo") else {}
    inner = ALGORITHMS[make](network, optax.adam(0.1), **options)
    chex.assert_trees_all_equal(*donated_runs(wrapped(inner, WRAPPERS)))


KEEPING = "anneal", "schedule_free", "MultiSteps"  # the others keep less


@pytest.mark.parametrize(
    "optimizer", [x if x in KEEPING else slow(x) for x in OPTIMIZERS]
)
def test_an_optimizer_may_keep_the_parameters(optimizer):
    network = probes.linear_network(critic=True)
    chex.assert_trees_all_equal(*donated_runs(pg.a2c(network, OPTIMIZERS[optimizer])))


def test_constants_stay_their_owners():
    constant = jnp.ones(3)
    algorithm = pg.Algorithm(
        init=lambda key, obs: pg.Learner({"w": constant}, {"w": constant}),
        update=lambda key, learner, batch: (learner, {}),
        policy=lambda params, obs: probes.linear_network(True).apply(
            probes.linear_network(True).init(KEY, obs), obs
        )[0],
    )
    chex.assert_trees_all_equal(*donated_runs(algorithm))
    np.testing.assert_array_equal(constant, 1.0)
