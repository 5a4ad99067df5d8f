"""An agent whose environments are split over devices learns as one whose are not."""

import os
import subprocess
import sys
import textwrap
from functools import partial

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from quick_compilation import with_flags

import pgjax as pg
from pgjax._internal import collectives
from pgjax.reductions import moments

NETWORK = probes.linear_network(critic=True)
ADAM = optax.adam(0.1)
SHARES = 2


def split(fn, *args):
    """What each of two shares of the environments, the second axis, makes of it.

    `vmap` with a named axis stands for devices: sums over them are the same.
    """

    def cut(x):
        x = jnp.asarray(x)
        return x.reshape(len(x), SHARES, -1, *x.shape[2:])

    fn = partial(fn, axis_name=collectives.AXIS)
    mapped = jax.vmap(fn, in_axes=1, axis_name=collectives.AXIS)
    return jax.jit(mapped)(*jax.tree.map(cut, args))


def learn(make, batch, *, whole, **options):
    """The parameters and metrics after one update."""
    algorithm = make(NETWORK, ADAM, **options)
    learner = pg.Learner(batches.PARAMS, ADAM.init(batches.PARAMS))

    def update(batch, axis_name=None):
        return algorithm.update(jax.random.key(0), learner, batch, axis_name)

    learner, metrics = jax.jit(update)(batch) if whole else split(update, batch)
    return learner.params, metrics


CASES = {
    "reinforce": (pg.reinforce, {}),
    "reinforce batch_mean": (pg.reinforce, {"baseline": pg.batch_mean}),
    "reinforce leave_one_out": (pg.reinforce, {"baseline": pg.leave_one_out}),
    "reinforce value": (pg.reinforce, {"baseline": pg.value_baseline}),
    "reinforce steps": (
        pg.reinforce,
        {"reduction": "steps", "normalize_advantage": True},
    ),
    "a2c": (pg.a2c, {"normalize_advantage": True}),
    # Whole batches: minibatches of a split batch are other samples.
    "ppo": (pg.ppo, {"num_minibatches": 1, "num_epochs": 2, "clip": 0.05}),
    "ppo of a batch": (
        pg.ppo,
        {"num_minibatches": 1, "normalize_over": "batch"},
    ),
    "trpo": (pg.trpo, {"num_minibatches": 1, "normalize_advantage": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_split_batch_teaches_the_same(case):
    make, options = CASES[case]
    batch = batches.episodes() if make is pg.reinforce else batches.rollout()
    expected, metrics = learn(make, batch, whole=True, **options)
    params, split_metrics = learn(make, batch, whole=False, **options)
    for name, x in expected.items():
        assert not np.array_equal(x, batches.PARAMS[name])  # something was learned
        for share in params[name]:  # all devices agree
            np.testing.assert_allclose(share, x, rtol=2e-5, atol=1e-6)
    for name, x in metrics.items():
        np.testing.assert_allclose(
            split_metrics[name], np.full(SHARES, x), rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("wrap", [pg.normalize_observations, pg.scale_rewards])
def test_statistics_are_those_of_all_environments(wrap):
    batch = batches.rollout()
    algorithm = wrap(pg.a2c(NETWORK, ADAM))
    obs = jnp.asarray(batch.obs[0])

    def update(batch, axis_name=None):
        learner = algorithm.init(jax.random.key(0), batch.obs[0])
        return algorithm.update(jax.random.key(1), learner, batch, axis_name)[0]

    expected = jax.jit(update)(batch)
    shares = split(update, batch)
    assert len(obs) == batches.N
    for share in range(SHARES):
        part = jax.tree.map(lambda x, share=share: x[share], shares)
        jax.tree.map(
            lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6),
            part.params,
            expected.params,
        )
        if wrap is pg.scale_rewards:
            np.testing.assert_allclose(
                part.moments.variance,
                expected.moments.variance,
                rtol=1e-5,
            )


def test_moments_of_shares_far_apart_are_exact():
    x = np.float32([[1000.0, 1001.0, -5.0, -6.0], [1002.0, 1000.0, -5.5, 0.0]])
    weight = np.float32([[1, 1, 1, 1], [1, 0, 1, 0]])
    mean, variance = split(moments, x, weight)
    counted = x[weight > 0].astype(np.float64)
    np.testing.assert_allclose(mean, np.full(2, counted.mean()), rtol=1e-6)
    np.testing.assert_allclose(variance, np.full(2, counted.var(ddof=1)), rtol=1e-6)


def test_environments_that_cannot_be_split_are_an_error():
    env = pg.make_env("CartPole-v1")
    algorithm = pg.a2c(pg.actor_critic(env), ADAM)
    mesh = pg.make_mesh([jax.devices()[0]] * 3, env=3)  # only its shape is looked at
    with pytest.raises(ValueError, match="4 environments cannot be split"):
        pg.train(
            jax.random.key(0), pg.unroll(env, 4, 8), algorithm, num_updates=1, mesh=mesh
        )


def test_one_agent_has_no_use_for_an_axis_of_agents():
    env = pg.make_env("CartPole-v1")
    algorithm = pg.a2c(pg.actor_critic(env), ADAM)
    mesh = pg.make_mesh([jax.devices()[0]] * 2)
    with pytest.raises(
        ValueError, match="one agent cannot be split over an agent axis"
    ):
        pg.init_train_state(
            jax.random.key(0), pg.unroll(env, 4, 8), algorithm, mesh=mesh
        )


def test_a_mesh_has_whole_rows():
    with pytest.raises(
        ValueError, match="env must divide the number of devices, 3, got"
    ):
        pg.make_mesh([jax.devices()[0]] * 3, env=2)


def batch_median(returns, weight, value=None):
    return jnp.median(returns)


def undeclared(env):
    """What does not say that it can be split, and what is said of it."""
    network = pg.actor_critic(env, (8,))
    a2c = pg.a2c(network, ADAM)
    steps = pg.unroll(env, 4, 8)
    careless = a2c._replace(sums_over_devices=False)
    baseline = pg.reinforce(network, ADAM, baseline=batch_median)
    alone = steps._replace(splits_over_devices=False)
    return [
        (careless, steps, "algorithm does not declare that its update sums over"),
        (pg.scale_rewards(careless), steps, "algorithm does not declare"),
        (pg.normalize_observations(careless), steps, "algorithm does not declare"),
        (a2c, alone, "rollout does not declare that it gives each device its share"),
        (baseline, pg.episodes(env, 4), "this baseline would be that of one device's"),
    ]


@pytest.mark.parametrize("case", range(5))
def test_what_does_not_sum_over_devices_is_refused(case):
    env = pg.make_env("CartPole-v1")
    algorithm, rollout, says = undeclared(env)[case]
    mesh = pg.make_mesh([jax.devices()[0]] * 2, env=2)  # only its shape is looked at
    arguments = jax.random.key(0), rollout, algorithm
    if "baseline" not in says:
        with pytest.raises(ValueError, match=says):
            pg.init_train_state(*arguments, mesh=mesh)

    def train(axis_name, _):  # in a mesh of one's own
        state = pg.init_train_state(*arguments, axis_name=axis_name)
        return pg.train_step(state, rollout, algorithm, axis_name=axis_name)

    def shapes(axis_name):
        mapped = jax.vmap(partial(train, axis_name), axis_name="devices")
        return jax.eval_shape(mapped, jnp.zeros(2))

    with pytest.raises(ValueError, match=says):
        shapes("devices")
    shapes(None)  # nothing is split


def test_reductions_are_over_all_devices_whatever_the_axis():
    x = jnp.arange(8.0).reshape(2, 4)
    ones = jnp.ones_like(x)

    def means(x, ones, axis_name=None):
        flat, one = x[0], ones[0]
        return (
            pg.weighted_mean(x, ones, axis_name=axis_name),
            pg.weighted_mean(x, ones, axis=1, axis_name=axis_name)[:, 0],
            pg.weighted_mean(flat, one, axis=0, axis_name=axis_name)[0],
            pg.total(x, axis=1, axis_name=axis_name),
            pg.total(flat, 0, axis_name=axis_name),
        )

    for share in range(SHARES):
        part = jax.tree.map(lambda x, share=share: x[share], split(means, x, ones))
        jax.tree.map(np.testing.assert_allclose, part, means(x, ones))
    over_time = split(lambda x, axis_name: pg.weighted_mean(x, x * 0 + 1, axis=0), x)
    np.testing.assert_allclose(over_time.reshape(-1), x.mean(0))


def test_a_share_without_a_sample_that_is_needed_adds_nothing():
    x = jnp.array([[1.0, 2.0, 0.0, 0.0]])

    def loss(x, axis_name=None):
        needed = x > 0
        return pg.sum_over_samples(
            lambda x, weight: jnp.sum(weight * jnp.log(x)),
            x,
            needed.astype(jnp.float32),
            needed,
            axis_name=axis_name,
        )

    np.testing.assert_allclose(split(loss, x), [np.log(2.0)] * 2, rtol=1e-6)
    assert loss(jnp.zeros((1, 4))) == 0.0


def test_a_mesh_and_a_name_of_an_axis_do_not_go_together():
    env = pg.make_env("CartPole-v1")
    algorithm, rollout = pg.a2c(pg.actor_critic(env), ADAM), pg.unroll(env, 4, 8)
    with pytest.raises(ValueError, match="give one of the two"):
        pg.init_train_state(
            jax.random.key(0), rollout, algorithm, mesh=pg.make_mesh(), axis_name="env"
        )


SCRIPT = """
from functools import partial
import jax, jax.numpy as jnp, numpy as np, optax
import pgjax as pg

assert jax.device_count() == 2
mesh = pg.make_mesh(env=2)


def programs(rollout, algorithm):
    init, steps = (
        jax.jit(partial(fn, rollout=rollout, algorithm=algorithm, mesh=mesh))
        for fn in (pg.init_train_state, partial(pg.train_steps, num_updates=2))
    )
    return init, steps


env = pg.make_env("CartPole-v1")
network, optimizer = pg.actor_critic(env, (8,)), optax.adam(1e-3)
for algorithm, rollout in (
    (pg.scale_rewards(pg.ppo(network, optimizer)), pg.unroll(env, 8, 16)),
    (
        pg.reinforce(
            network, pg.anneal(optimizer, env_steps=1e5), baseline=pg.value_baseline
        ),
        pg.episodes(env, 8),
    ),
):
    init, steps = programs(rollout, algorithm)
    state = jax.block_until_ready(init(jax.random.key(0)))
    state, before = jax.block_until_ready(steps(state))
    state, metrics = jax.block_until_ready(steps(state))
    taken = int(before["env_steps"].sum() + metrics["env_steps"].sum())
    if algorithm.complete_episodes:  # the annealed one: counted by both devices
        assert int(state.learner.opt_state.num_samples.low) == taken
    pg.check_replicas(state.learner.params)
    whole = jax.eval_shape(
        lambda: pg.init_train_state(jax.random.key(0), rollout, algorithm)
    )
    assert jax.tree.map(lambda x: x.shape, state) == jax.tree.map(
        lambda x: x.shape, whole
    )
    assert int(state.num_updates) == 4
    assert np.isfinite(np.asarray(metrics["gradient_norm"])).all()
    obs = getattr(state.rollout_state, "obs", None)
    if obs is not None:  # both halves have lives of their own
        assert metrics["env_steps"].tolist() == [128, 128]
        assert len(np.unique(np.asarray(obs)[:, 0])) == 8


# Programs over a mesh are kept, too.
from pgjax._internal import compilation
arguments = jax.random.key(0), pg.unroll(env, 8, 16), pg.a2c(network, optimizer)
for _ in range(2):
    pg.train(*arguments, num_updates=1, mesh=mesh)
    misses = compilation._jitted.cache_info().misses
pg.train(*arguments, num_updates=1, mesh=mesh)
assert compilation._jitted.cache_info().misses == misses


def twice(key, learner, batch, axis_name=None):  # the gradient of a sum over devices
    def loss(params):
        log_prob = network.apply(params, batch.obs)[0].log_prob(batch.action)
        return pg.weighted_mean(log_prob, batch.weight, axis_name=axis_name)
    grads = jax.grad(loss)(learner.params)
    params = jax.tree.map(lambda x, g: x - 0.1 * g, learner.params, grads)
    return learner._replace(params=params), {}


try:
    algorithm = arguments[2]._replace(update=twice)
    pg.train(*arguments[:2], algorithm, num_updates=1, mesh=mesh)
except RuntimeError as error:
    assert "takes the gradient of what is summed over devices" in str(error), error
else:
    raise AssertionError("nobody noticed")


def careless(key, learner, batch, axis_name):  # a plain mean, of one device's share
    params = jax.tree.map(lambda x: x + jnp.mean(batch.obs), learner.params)
    return learner._replace(params=params), {}


algorithm = pg.a2c(network, optimizer)._replace(update=careless)
init, steps = programs(pg.unroll(env, 8, 16), algorithm)
state, _ = jax.block_until_ready(steps(jax.block_until_ready(init(jax.random.key(0)))))
try:
    pg.check_replicas(state.learner.params)
except RuntimeError as error:
    assert "disagree" in str(error), error
else:
    raise AssertionError("nobody noticed")
print("fine")
"""


def test_training_on_two_devices():
    flags = with_flags("--xla_force_host_platform_device_count=2")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.endswith("fine\n"), result.stderr[-2000:]
