import math

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg
from pgjax._internal.counters import Counter, as_float

KEY = jax.random.key(0)
NETWORK = probes.linear_network(critic=True)
GRADS = {"x": jnp.ones(2)}


def steps_of(optimizer, counts, num_passes=1):
    """What each gradient step of 1 moves, and how many samples there were after it."""
    state = optimizer.init(GRADS)
    moved, counted = [], []
    for number in counts:
        updates, state = optimizer.update(
            GRADS, state, num_samples=number, num_passes=num_passes
        )
        moved.append(-float(updates["x"][1]))
        counted.append(float(as_float(state.num_samples)))
    return moved, counted


@pytest.mark.parametrize("num_passes", [1, 3])
def test_steps_shrink_with_the_samples_that_were_used(num_passes):
    optimizer = pg.anneal(optax.sgd(1.0), env_steps=20.0 / num_passes)
    counts = [jnp.uint32(5), np.int64(10), 1, jnp.int32(12), 3, 3]
    moved, counted = steps_of(optimizer, counts, num_passes)
    # Before each step there were 0, 5, 15, 16, 28, 31 samples, that many passes each.
    np.testing.assert_allclose(moved, [1.0, 0.75, 0.25, 0.2, 0.0, 0.0], atol=1e-6)
    assert counted == [5, 15, 16, 28, 31, 34]


@pytest.mark.parametrize(
    "wrap",
    [
        optax.flatten,
        lambda annealed: optax.chain(optax.clip_by_global_norm(9.0), annealed),
        lambda annealed: optax.apply_if_finite(annealed, 3),
        lambda annealed: optax.masked(annealed, {"x": True}),
        lambda annealed: pg.anneal(optax.chain(annealed), env_steps=1e18),
    ],
)
def test_it_may_be_a_part_of_another_optimizer(wrap):
    optimizer = wrap(pg.anneal(optax.sgd(1.0), env_steps=20.0))
    state, moved = optimizer.init(GRADS), []
    for _ in range(3):
        used = {"num_samples": jnp.uint32(8), "num_passes": 1}
        updates, state = optimizer.update(GRADS, state, GRADS, **used)
        moved.append(-float(updates["x"][0]))
    np.testing.assert_allclose(moved, [1.0, 0.6, 0.2], rtol=1e-6)


ROLLOUT, EPISODES = batches.rollout(), batches.episodes()
SIZE = ROLLOUT.reward.size
PASSES = {"num_epochs": 2, "num_minibatches": 2}
ALGORITHMS = {
    "a2c": (pg.a2c, {}),
    "ppo": (pg.ppo, PASSES),
    "trpo": (pg.trpo, PASSES),
    "reinforce": (pg.reinforce, {"baseline": pg.value_baseline}),
}


def updated(name, optimizer, batch, num_updates, **others):
    """The learner after so many updates from the same batch, and the last metrics."""
    make, options = ALGORITHMS[name]
    algorithm = make(NETWORK, optimizer, **options | others)
    batch = jax.tree.map(jnp.asarray, batch)
    update = jax.jit(lambda learner: algorithm.update(KEY, learner, batch))
    learner = pg.Learner(batches.PARAMS, optimizer.init(batches.PARAMS))
    for _ in range(num_updates):
        learner, metrics = update(learner)
    return learner, metrics


def used(learner):
    return as_float(learner.opt_state.num_samples)


@pytest.mark.parametrize("name", ["a2c", "ppo", "trpo"])
def test_it_is_a_schedule_where_gradient_steps_can_be_counted(name):
    gradient_steps, passes = (1, 1) if name == "a2c" else (4, 2)
    schedule = optax.linear_schedule(0.1, 0.0, 3 * gradient_steps)
    scheduled, _ = updated(name, optax.adam(schedule), ROLLOUT, 4)
    annealed = pg.anneal(optax.adam(0.1), env_steps=3 * SIZE)
    learner, _ = updated(name, annealed, ROLLOUT, 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        learner.params,
        scheduled.params,
    )
    assert used(learner) == 4 * SIZE * passes


@pytest.mark.parametrize("name", ALGORITHMS)
def test_padding_does_not_count(name):
    annealed = pg.anneal(optax.sgd(0.1), env_steps=1e3)
    learner, _ = updated(name, annealed, EPISODES, 1)
    passes = 2 if name in ("ppo", "trpo") else 1
    assert used(learner) == passes * batches.LENGTHS.sum()


def test_what_a_target_kl_skips_counts():
    options = {"num_epochs": 4, "num_minibatches": 1, "target_kl": 1e-3}
    annealed = pg.anneal(optax.adam(0.1), env_steps=2 * SIZE)
    learner, metrics = updated("ppo", annealed, ROLLOUT, 1, **options)
    assert metrics["gradient_steps"] == 1
    # Adam has seen one gradient, and the rate has fallen by the whole rollout.
    adam = learner.opt_state.inner
    assert optax.tree.get(adam, "count") == 1
    assert used(learner) == 4 * SIZE
    ones = jax.tree.map(jnp.ones_like, learner.params)
    whole, _ = optax.adam(0.1).update(ones, adam)
    half, _ = annealed.update(ones, learner.opt_state, num_samples=0, num_passes=4)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, 0.5 * y, rtol=1e-6), half, whole
    )


def test_env_steps_may_be_swept():
    def moved(env_steps):
        optimizer = pg.anneal(optax.sgd(1.0), env_steps=env_steps)
        state, total = optimizer.init(GRADS), 0.0
        for _ in range(2):
            updates, state = optimizer.update(GRADS, state, num_samples=6, num_passes=1)
            total -= updates["x"][0]
        return total

    many = jax.jit(jax.vmap(moved))(jnp.array([5.0, 12.0, 60.0]))
    np.testing.assert_allclose(many, [1.0, 1.5, 1.9], rtol=1e-6)


def late(optimizer, num_samples):
    """The optimizer's state after so many samples."""
    words = divmod(num_samples, 2**32)
    counted = Counter(*map(jnp.uint32, words))
    return optimizer.init(GRADS)._replace(num_samples=counted)


@pytest.mark.parametrize("budget", [2**31, 2**32 + 10, 10**12, 10**18])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_budget_may_be_of_any_size(budget, share):
    optimizer = pg.anneal(optax.sgd(1.0), env_steps=budget)
    state = late(optimizer, 10 * int(budget * share))
    updates, _ = optimizer.update(GRADS, state, num_samples=3, num_passes=10)
    np.testing.assert_allclose(updates["x"], share - 1.0, rtol=1e-6)


def test_the_count_does_not_overflow():
    optimizer = pg.anneal(optax.sgd(1.0), env_steps=2**33)
    state = late(optimizer, 2**32 - 2)
    for _ in range(3):
        updates, state = optimizer.update(GRADS, state, num_samples=12, num_passes=1)
    assert tuple(map(int, state.num_samples)) == (1, 34)
    np.testing.assert_allclose(updates["x"], -0.5, rtol=1e-6)


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
    moved, _ = steps_of(pg.anneal(optax.sgd(1.0), env_steps=env_steps), [12, 12])
    expected = 1.0 if env_steps > 24 else 0.5
    np.testing.assert_allclose(moved, [1.0, expected], rtol=1e-6)


def test_beyond_the_end_not_even_a_broken_gradient_moves_anything():
    optimizer = pg.anneal(optax.sgd(1.0), env_steps=12)
    broken = {"x": jnp.full(2, jnp.nan)}
    updates, _ = optimizer.update(
        broken, late(optimizer, 12), num_samples=3, num_passes=1
    )
    np.testing.assert_array_equal(updates["x"], 0.0)


def test_types_of_updates_are_kept():
    grads = {"half": jnp.bfloat16(1.0), "none": None, "single": jnp.float32(1.0)}
    optimizer = pg.anneal(optax.sgd(1.0), env_steps=12)
    state = late(optimizer, 6)._replace(inner=optax.sgd(1.0).init(grads))
    updates, _ = optimizer.update(grads, state, num_samples=3, num_passes=1)
    assert updates["half"].dtype == jnp.bfloat16
    assert updates == {"half": -0.5, "none": None, "single": -0.5}


ANNEALED = pg.anneal(optax.sgd(1.0), env_steps=12)


@pytest.mark.parametrize("used", [{}, {"num_samples": 3}, {"num_passes": 1}])
def test_a_loop_of_ones_own_is_told_what_to_pass(used):
    for optimizer in (ANNEALED, optax.chain(optax.clip(1.0), ANNEALED)):
        with pytest.raises(TypeError, match=r"give its update num_samples=.* num_pas"):
            optimizer.update(GRADS, optimizer.init(GRADS), **used)


@pytest.mark.parametrize("num_passes", [0, 1.5, True])
def test_passes_are_counted(num_passes):
    with pytest.raises((TypeError, ValueError), match="num_passes must be"):
        ANNEALED.update(
            GRADS, ANNEALED.init(GRADS), num_samples=1, num_passes=num_passes
        )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_gathers_gradients_goes_inside(name):
    make, options = ALGORITHMS[name]
    outside = optax.MultiSteps(ANNEALED, 2).gradient_transformation()
    algorithm = make(NETWORK, optax.chain(optax.clip(1.0), outside), **options)
    with pytest.raises(TypeError, match="let anneal count one gradient step of"):
        algorithm.init(KEY, ROLLOUT.obs[0])
    inside = optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation()
    algorithm = make(NETWORK, pg.anneal(inside, env_steps=12), **options)
    algorithm.init(KEY, ROLLOUT.obs[0])


@pytest.mark.parametrize("env_steps", [0, -1.0, 2**64, math.nan, np.float32(0)])
def test_steps_out_of_range_are_an_error(env_steps):
    with pytest.raises(ValueError, match="env_steps must be"):
        pg.anneal(optax.sgd(1.0), env_steps=env_steps)


def test_something_else_is_an_error():
    with pytest.raises(TypeError, match="optimizer must be"):
        pg.anneal(pg.a2c(NETWORK, optax.sgd(0.1)), env_steps=10)
