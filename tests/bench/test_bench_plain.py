import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import RECORDER, assert_close

import pgjax as pg
from pgjax.bench import plain

NAME = "CartPole-v1"
NUM_ENVS, NUM_STEPS = 6, 40

# An optimizer that changes nothing and keeps the gradients' sum as its state.
SUM_OF_GRADIENTS = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda grads, state, params=None: (
        jax.tree.map(jnp.zeros_like, grads),
        jax.tree.map(jnp.add, state, grads),
    ),
)


def convert(params):
    """The layers of the one flax module, as parameters of a network of pgjax."""
    dense = list(params["params"].values())  # in order: 2 of a policy, or twice 3

    def layers(some):
        return {"params": {f"Dense_{i}": layer for i, layer in enumerate(some)}}

    if len(dense) == 2:
        return {"actor": layers(dense)}
    return {"actor": layers(dense[:3]), "critic": layers(dense[3:])}


def transitions(batch):
    return pg.Transition(
        obs=batch.obs,
        action=batch.action,
        log_prob=batch.log_prob,
        reward=batch.reward,
        terminated=batch.terminated,
        truncated=batch.done & ~batch.terminated,
        next_obs=batch.next_obs,
        weight=batch.mask,
    )


def both_updates(twin, algorithm, optimizer, time=0):
    """One batch of episodes that are `time` steps old, and what either makes of it.

    Returns:
      The batch, and two learners, each with what the optimizer was given in its state,
      and its parameters as a change.
    """

    def run(key):
        state = twin.init(key)
        # Biases, too, are not zero; nor is the policy nearly uniform.
        params = jax.tree.map(perturbed, state.learner.params)
        learner = state.learner.replace(params=params)
        env_state = state.env_state.replace(time=jnp.full(NUM_ENVS, time))
        _, batch = twin.collect(state._replace(learner=learner, env_state=env_state))
        got = twin.update(key, learner, batch)
        got = pg.Learner(convert(got.params), got.opt_state)
        before = pg.Learner(convert(params), optimizer.init(convert(params)))
        want, _ = algorithm.update(key, before, transitions(batch))
        changes = [
            x._replace(params=jax.tree.map(jnp.subtract, x.params, before.params))
            for x in (got, want)
        ]
        return batch, *changes

    return jax.jit(run)(jax.random.key(0))


def perturbed(x):
    return x + 0.2 * jnp.sin(1.0 + jnp.arange(x.size)).reshape(x.shape)


def assert_trees_close(got, want, tolerance=1e-5):
    jax.tree.map(functools.partial(assert_close, tolerance=tolerance), got, want)


@pytest.fixture(scope="module")
def env():
    return pg.make_env(NAME)


@pytest.mark.parametrize("complete", [True, False])
def test_reinforce_has_the_gradient(env, complete):
    num_steps = 500 if complete else NUM_STEPS
    twin = plain.reinforce(NAME, RECORDER, NUM_ENVS, num_steps, complete)
    ours = pg.reinforce(pg.mlp_policy(env), RECORDER, baseline=pg.leave_one_out)
    batch, got, want = both_updates(twin, ours, RECORDER)
    assert_trees_close(convert(got.opt_state), want.opt_state)
    if complete:
        ends = (batch.mask > 0) & batch.done
        np.testing.assert_array_equal(ends.sum(0), 1)
        np.testing.assert_array_equal(ends.argmax(0) + 1, batch.mask.sum(0))
    else:
        assert batch.mask.min() == 1


def test_a2c_has_the_gradient(env):
    twin = plain.a2c(NAME, RECORDER, NUM_ENVS, NUM_STEPS)
    ours = pg.a2c(pg.actor_critic(env), RECORDER)
    batch, got, want = both_updates(twin, ours, RECORDER, time=495)
    assert_trees_close(convert(got.opt_state), want.opt_state)
    assert (batch.done & ~batch.terminated).any()
    assert batch.terminated.any()


def ppo_updates(env, optimizer, num_minibatches):
    twin = plain.ppo(NAME, optimizer, NUM_ENVS, NUM_STEPS)
    ours = pg.ppo(
        pg.actor_critic(env),
        optimizer,
        num_minibatches=num_minibatches,
        value_clip=0.2,
        entropy_coefficient=0.01,
    )
    return both_updates(twin, ours, optimizer, time=495)[1:]


def test_ppo_takes_the_steps(env, monkeypatch):
    monkeypatch.setattr(plain, "NUM_MINIBATCHES", 1)  # whose order does not matter
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.5))
    got, want = ppo_updates(env, optimizer, 1)
    assert_trees_close(got.params, want.params, 1e-4)


def test_ppo_sees_every_sample_in_each_epoch(env):
    # Minibatches are others, but while no parameter moves, the critic's gradients,
    # which know no normalisation, have the same sum.
    got, want = ppo_updates(env, SUM_OF_GRADIENTS, 4)
    assert_trees_close(convert(got.opt_state)["critic"], want.opt_state["critic"])


@pytest.mark.parametrize("make", [plain.Policy, plain.ActorCritic])
def test_networks_start_alike(env, make):
    ours = pg.mlp_policy(env) if make is plain.Policy else pg.actor_critic(env)
    key, obs = jax.random.key(0), jnp.zeros((1, 4))
    got = convert(jax.jit(make(2).init)(key, obs))
    want = jax.jit(ours.init)(key, obs)
    assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, want)

    def spread(x):
        return jnp.sqrt(jnp.mean(jnp.square(x)))

    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(spread(x), spread(y), rtol=4 / np.sqrt(x.size))


@pytest.mark.slow
def test_learns_as_fast(env):
    num_envs, num_updates, num_seeds = 8, 20, 6
    optimizer = optax.adam(0.01)
    twin = plain.reinforce(NAME, optimizer, num_envs, 500, complete_episodes=True)
    network = pg.mlp_policy(env)
    ours = pg.reinforce(network, optimizer, baseline=pg.leave_one_out)

    def train_twin(key):
        state = twin.init(key)
        _, metrics = jax.lax.scan(
            lambda state, _: twin.step(state), state, length=num_updates
        )
        return metrics

    def train_ours(key):
        rollout = pg.episodes(env, num_envs)
        return pg.train(key, rollout, ours, num_updates=num_updates)[1]

    keys = jax.random.split(jax.random.key(0), num_seeds)
    got, want = (jax.jit(jax.vmap(f))(keys) for f in (train_twin, train_ours))
    for metrics in got, want:
        np.testing.assert_array_equal(metrics["episodes"], num_envs)
        steps = metrics["env_steps"] / num_envs
        np.testing.assert_allclose(metrics["episode_return"], steps, rtol=1e-5)
    got, want = (np.asarray(x["episode_return"]) for x in (got, want))
    assert want[:, -5:].mean() > 2 * want[:, 0].mean()
    got, want = got.mean(1), want.mean(1)
    error = np.sqrt((got.var(ddof=1) + want.var(ddof=1)) / num_seeds)
    assert abs(got.mean() - want.mean()) < 5 * error
