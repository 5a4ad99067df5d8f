import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax.algorithms import gradient_steps


def two_layers(shared=()):
    """Actor and critic of two weights each; the `shared` ones come first."""

    def init(key, obs):
        names = "actor_in", "actor_out", "critic_in", "critic_out", *shared
        keys = jax.random.split(key, len(names))
        width = obs.shape[-1]
        shapes = {"actor_out": (width, 2), "critic_out": (width,)}
        return {
            name: jax.random.normal(k, shapes.get(name, (width, width)))
            for name, k in zip(names, keys, strict=True)
        }

    def apply(params, obs):
        for name in shared:
            obs = obs @ params[name]
        actor = jax.nn.relu(obs @ params["actor_in"]) @ params["actor_out"]
        value = jnp.tanh(obs @ params["critic_in"]) @ params["critic_out"]
        return pg.Categorical(actor), value

    return pg.Network(init, apply)


KEY = jax.random.key(0)
OBS = jnp.ones((2, 3, 4))


def test_init_is_the_networks_parameters_and_the_optimizers_state():
    network, optimizer = two_layers(), optax.adam(0.1)
    learner = gradient_steps.learner_init(network, optimizer)(KEY, OBS[0])
    want = network.init(KEY, OBS[0])
    jax.tree.map(np.testing.assert_array_equal, learner.params, want)
    state = optimizer.init(want)
    jax.tree.map(np.testing.assert_array_equal, learner.opt_state, state)


def test_policy_and_value_are_the_two_halves_of_a_network():
    network = two_layers()
    params = network.init(KEY, OBS)
    distribution, value = network.apply(params, OBS)
    got = gradient_steps.policy_of(network)(params, OBS)
    np.testing.assert_array_equal(got.logits, distribution.logits)
    np.testing.assert_array_equal(gradient_steps.value_of(network)(params, OBS), value)


def descend(optimizer, learner, grads):
    value, used = jnp.float32(0.0), {"num_samples": jnp.uint32(1), "num_passes": 1}
    return gradient_steps.descend(optimizer, learner, grads, value, **used)


def test_descend_takes_steps_against_the_gradient_with_momentum():
    optimizer = optax.sgd(0.1, momentum=0.5)
    params = {"w": jnp.array([1.0, 2.0])}
    learner = pg.Learner(params, optimizer.init(params))
    for _ in range(2):
        learner = descend(optimizer, learner, {"w": jnp.array([1.0, -2.0])})
    # 0.1 of the gradient, then 0.1 of 1.5 times the gradient.
    want = np.array([1.0, 2.0]) - 0.25 * np.array([1.0, -2.0])
    np.testing.assert_allclose(learner.params["w"], want, rtol=1e-6)


def test_descend_gives_the_optimizer_the_parameters():
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    params = jnp.array([1.0, -2.0])
    learner = pg.Learner(params, optimizer.init(params))
    learner = descend(optimizer, learner, jnp.zeros(2))
    np.testing.assert_allclose(learner.params, 0.95 * np.array([1.0, -2.0]), rtol=1e-6)


@pytest.mark.parametrize("critic", [True, False])
def test_total_loss_is_the_sum_of_its_three_parts(critic):
    rng = np.random.default_rng(0)
    policy, value, entropy, weight, per_step = rng.random((5, 4, 3), np.float32)
    total, metrics = gradient_steps.total_loss(
        policy,
        value if critic else None,
        entropy,
        weight=weight,
        step_weight=per_step,
        value_coefficient=0.7,
        entropy_coefficient=0.3,
    )
    want = {
        "policy_loss": (np.float64(weight) * policy).sum(),
        "entropy": (np.float64(per_step) * entropy).sum(),
    }
    bonus = (np.float64(weight) * entropy).sum()
    expected = want["policy_loss"] - 0.3 * bonus
    if critic:
        want["value_loss"] = (np.float64(per_step) * value).sum()
        expected += 0.7 * want["value_loss"]
    assert metrics.keys() == want.keys()
    for name, x in want.items():
        np.testing.assert_allclose(metrics[name], x, rtol=1e-6)
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def plain(network):
    return network


def jitted(network):
    return network._replace(apply=jax.jit(network.apply))


def twice_jitted(network):
    return jitted(jitted(network))


def under_vmap(network):
    """One sample at a time, over the two leading axes of OBS."""
    one = jax.vmap(jax.vmap(network.apply, (None, 0)), (None, 0))
    return network._replace(apply=one)


each_wrapping = pytest.mark.parametrize(
    "wrap", [plain, jitted, twice_jitted, under_vmap]
)


def check(network):
    gradient_steps.critic_mask(network, network.init(KEY, OBS), OBS)


def flax_network(activation, **options):
    env = pg.make_env("CartPole-v1")  # observations of 4 numbers, as OBS has
    return pg.actor_critic(env, (4,), activation=activation, **options)


@each_wrapping
def test_a_separate_critic_is_accepted(wrap):
    check(wrap(two_layers()))


@each_wrapping
def test_shared_parameters_are_named(wrap):
    network = wrap(two_layers(shared=("front", "torso")))
    with pytest.raises(ValueError, match="they share front, torso; use"):
        check(network)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
def test_the_networks_of_this_library(activation):
    check(flax_network(activation))
    check(jitted(flax_network(activation)))
    shared = flax_network(activation, shared_torso=True)
    names = "share torso/params/Dense_0/bias, torso/params/Dense_0/kernel; use"
    for network in (shared, jitted(shared)):
        with pytest.raises(ValueError, match=names):
            check(network)


def test_a_parameter_behind_a_stopped_gradient_is_not_a_secret():
    # Fitting V would still change what the policy does.
    network = two_layers()

    def apply(params, obs):
        distribution, value = network.apply(params, obs)
        features = jax.lax.stop_gradient(obs @ params["critic_in"])[..., :2]
        return pg.Categorical(distribution.logits + features), value

    with pytest.raises(ValueError, match="they share critic_in; use"):
        check(network._replace(apply=apply))


def test_parameters_that_nobody_uses_are_nobodys():
    network = two_layers()

    def init(key, obs):
        return network.init(key, obs) | {"unused": jnp.zeros(3)}

    check(network._replace(init=init))


def test_agents_of_a_vmap_are_checked_as_one():
    network = two_layers()
    params = jax.vmap(network.init, (0, None))(jax.random.split(KEY, 2), OBS)

    def run(params):
        gradient_steps.critic_mask(network, params, OBS)
        return params["actor_out"].sum()

    got = jax.jit(jax.vmap(run))(params)
    np.testing.assert_allclose(got, params["actor_out"].sum((1, 2)), rtol=1e-6)
