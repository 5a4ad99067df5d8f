import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg
from pgjax._internal.counters import Counter, as_float

KEY = jax.random.key(0)
T, N = 4, 3


def counter():
    """Adds 1 to its parameter and 10 to its optimizer's state, whatever it sees."""

    def init(key, obs):
        return pg.Learner({"x": jnp.zeros(2)}, jnp.zeros(()))

    def update(key, learner, batch):
        params = jax.tree.map(lambda x: x + 1.0, learner.params)
        return pg.Learner(params, learner.opt_state + 10.0), {"loss": jnp.float32(7.0)}

    return pg.Algorithm(init, update, probes.linear_network().apply, True)


def batch(counts):
    """A batch of which so many steps count."""
    weight = (np.arange(T * N) < counts).reshape(T, N).astype(np.float32)
    zeros = jnp.zeros((T, N))
    flags = zeros.astype(bool)
    obs = jnp.zeros((T, N, 2))
    return pg.Transition(obs, zeros, zeros, zeros, flags, flags, obs, weight)


def updated(algorithm, counts):
    """The learner before and after an update for each number of steps."""
    learner = algorithm.init(KEY, jnp.zeros((N, 2)))
    learners = [learner]
    for count in counts:
        learner, metrics = algorithm.update(KEY, learner, batch(count))
        assert metrics == {"loss": 7.0}
        learners.append(learner)
    return learners


def test_updates_shrink_with_the_steps_that_count():
    learners = updated(pg.anneal(counter(), env_steps=20.0), [5, 10, 1, 12, 3, 3])
    # Before each update there were 0, 5, 15, 16, 28, 31 of 20 steps.
    moved = np.diff([learner.params["x"][1] for learner in learners])
    np.testing.assert_allclose(moved, [1.0, 0.75, 0.25, 0.2, 0.0, 0.0], rtol=1e-6)
    counted = [as_float(learner.opt_state.env_steps) for learner in learners]
    assert counted == [0, 5, 15, 16, 28, 31, 34]
    assert learners[-1].opt_state.opt_state == 60.0  # of the algorithm inside


def test_what_it_wraps_stays_what_it_is():
    inner = counter()
    algorithm = pg.anneal(inner, env_steps=20)
    assert algorithm.complete_episodes
    assert algorithm.policy is inner.policy


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adam])
def test_it_is_a_schedule_where_each_rollout_has_a_gradient_step(optimizer):
    updates = 6
    rollout = pg.unroll(pg.make_env("CartPole-v1"), N, T)
    network = pg.actor_critic(pg.make_env("CartPole-v1"), (8,))
    schedule = optax.linear_schedule(0.1, 0.0, updates)
    scheduled = pg.a2c(network, optimizer(schedule))
    annealed = pg.anneal(
        pg.a2c(network, optimizer(0.1)), env_steps=float(T * N * updates)
    )
    ends = [
        jax.jit(
            lambda key, a=algorithm: pg.train(key, rollout, a, num_updates=updates + 2)
        )(KEY)[0]
        for algorithm in (scheduled, annealed)
    ]
    one, other = (end.learner.params for end in ends)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other
    )
    assert as_float(ends[1].learner.opt_state.env_steps) == T * N * (updates + 2)


def test_env_steps_may_be_swept():
    def moved(env_steps):
        algorithm = pg.anneal(counter(), env_steps=env_steps)
        learner = algorithm.init(KEY, jnp.zeros((N, 2)))
        for _ in range(2):
            learner, _ = algorithm.update(KEY, learner, batch(6))
        return learner.params["x"][0]

    many = jax.jit(jax.vmap(moved))(jnp.array([5.0, 12.0, 60.0]))
    np.testing.assert_allclose(many, [1.0, 1.5, 1.9], rtol=1e-6)


def after(algorithm, env_steps):
    """A learner that has seen so many steps."""
    learner = algorithm.init(KEY, jnp.zeros((N, 2)))
    words = divmod(env_steps, 2**32)
    late = learner.opt_state._replace(env_steps=Counter(*map(jnp.uint32, words)))
    return learner._replace(opt_state=late)


@pytest.mark.parametrize("budget", [2**31, 2**32 + 10, 10**12, 10**18])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_budget_may_be_of_any_size(budget, share):
    algorithm = pg.anneal(counter(), env_steps=budget)
    learner, _ = algorithm.update(KEY, after(algorithm, int(budget * share)), batch(3))
    np.testing.assert_allclose(learner.params["x"], 1.0 - share, rtol=1e-6)


def test_the_count_does_not_overflow():
    algorithm = pg.anneal(counter(), env_steps=2**33)
    learner = after(algorithm, 2**32 - 2)
    for _ in range(3):
        learner, _ = algorithm.update(KEY, learner, batch(12))
    assert tuple(map(int, learner.opt_state.env_steps)) == (1, 34)
    np.testing.assert_allclose(learner.params["x"], 1.5, rtol=1e-6)


@pytest.mark.parametrize(
    "env_steps",
    [
        jnp.int32(2**31 - 1),
        jnp.uint32(24),
        np.float64(24.0),
        np.float32(24.0),
        np.int64(24),
        24,
    ],
)
def test_any_number_will_do(env_steps):
    (*_, last) = updated(pg.anneal(counter(), env_steps=env_steps), [12, 12])
    expected = 2.0 if env_steps > 24 else 1.5
    np.testing.assert_allclose(last.params["x"], expected, rtol=1e-6)


def test_beyond_the_end_not_even_a_broken_update_moves_anything():
    broken = counter()._replace(
        update=lambda key, learner, batch: (
            learner._replace(params={"x": jnp.full(2, jnp.nan)}),
            {"loss": jnp.float32(7.0)},
        )
    )
    algorithm = pg.anneal(broken, env_steps=12)
    learner, _ = algorithm.update(KEY, after(algorithm, 12), batch(3))
    np.testing.assert_array_equal(learner.params["x"], 0.0)


def test_parameters_that_are_no_floats_are_not_scaled():
    def init(key, obs):
        return pg.Learner({"count": jnp.int32(0), "half": jnp.bfloat16(0.0)}, ())

    def update(key, learner, batch):
        return learner._replace(
            params=jax.tree.map(lambda x: x + 1, learner.params)
        ), {}

    algorithm = pg.anneal(counter()._replace(init=init, update=update), env_steps=12)
    learner = algorithm.init(KEY, jnp.zeros((N, 2)))
    for _ in range(3):
        learner, _ = algorithm.update(KEY, learner, batch(6))
    assert learner.params["count"] == 3
    assert learner.params["half"].dtype == jnp.bfloat16
    assert learner.params["half"] == 1.5


def test_statistics_of_observations_are_not_to_be_shrunk():
    env = pg.make_env("CartPole-v1")
    inner = pg.reinforce(pg.mlp_policy(env, (4,)), optax.sgd(0.1))
    outside = pg.normalize_observations(pg.anneal(inner, env_steps=100))
    outside.init(KEY, jnp.zeros((N, 4)))
    inside = pg.anneal(pg.normalize_observations(inner), env_steps=100)
    with pytest.raises(TypeError, match="use normalize_observations"):
        inside.init(KEY, jnp.zeros((N, 4)))


@pytest.mark.parametrize("env_steps", [0, -1.0, 2**64, math.nan, np.float32(0)])
def test_steps_out_of_range_are_an_error(env_steps):
    with pytest.raises(ValueError, match="env_steps must be"):
        pg.anneal(counter(), env_steps=env_steps)


def test_something_else_is_an_error():
    with pytest.raises(TypeError, match="algorithm must be"):
        pg.anneal(optax.adam(0.1), env_steps=10)
