import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg


def stub(obs_shape=(4,), action_space=None):
    """An environment of which only the spaces matter."""
    box = pg.Box(-1.0, 1.0, obs_shape)
    return pg.Env("stub", None, None, box, action_space or pg.Discrete(3), 1)


def observations(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def parameters(network, obs):
    return jax.jit(network.init)(jax.random.key(0), obs)


FACTORIES = [pg.linear_softmax_policy, pg.mlp_policy, pg.actor_critic]


@pytest.mark.parametrize("obs_shape", [(4,), (5, 2, 3)])
@pytest.mark.parametrize("factory", FACTORIES)
def test_observations_may_have_any_leading_axes(factory, obs_shape):
    network = factory(stub(obs_shape))
    for batch in ((), (6,), (2, 6), (1, 2, 6)):
        obs = jax.ShapeDtypeStruct(batch + obs_shape, jnp.float32)
        params = jax.eval_shape(network.init, jax.random.key(0), obs)
        distribution, value = jax.eval_shape(network.apply, params, obs)
        assert distribution.logits.shape == (*batch, 3)
        if factory is pg.actor_critic:
            assert value.shape == batch
        else:
            assert value is None


def test_a_batch_is_its_observations_one_by_one():
    network = pg.actor_critic(stub((2, 2)), (8,), initializer="torch")
    obs = observations(3, 5, 2, 2)
    params = parameters(network, obs)
    apply = jax.jit(network.apply)
    policy, value = apply(params, obs)
    one_policy, one_value = apply(params, obs[2, 4])
    np.testing.assert_allclose(policy.logits[2, 4], one_policy.logits, rtol=1e-5)
    np.testing.assert_allclose(value[2, 4], one_value, rtol=1e-5)


def layers(params):
    """The network's dense layers, first to last."""
    dense = params["params"]
    return [jax.tree.map(np.asarray, dense[name]) for name in sorted(dense)]


def test_default_is_the_articles_network():
    network = pg.mlp_policy(stub(action_space=pg.Discrete(2)))
    params = parameters(network, np.zeros((1, 4), np.float32))
    shapes = [layer["kernel"].shape for layer in layers(params["actor"])]
    assert shapes == [(4, 128), (128, 2)]
    obs = np.array([0.3, -1.0, 2.0, 0.5], np.float32)
    first, last = layers(params["actor"])
    hidden = np.maximum(obs @ first["kernel"] + first["bias"], 0)
    logits = hidden @ last["kernel"] + last["bias"]
    got = jax.jit(network.apply)(params, obs)[0].logits
    np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-6)


def test_torch_initialisation_is_uniform_within_one_over_root_fan_in():
    network = pg.mlp_policy(stub(action_space=pg.Discrete(2)))
    keys = jax.random.split(jax.random.key(0), 64)
    params = jax.jit(jax.vmap(network.init, in_axes=(0, None)))(keys, jnp.zeros((1, 4)))
    for layer, fan_in in zip(layers(params["actor"]), (4, 128), strict=True):
        for name in ("kernel", "bias"):
            x = layer[name].reshape(-1) * np.sqrt(fan_in)  # uniform in +-1
            assert np.abs(x).max() <= 1
            # The largest of n is below 1 - 20 / n with probability e^-20.
            assert np.abs(x).max() > 1 - 20 / x.size
            # Mean 0 and variance 1/3; the variance of x is 1/3, that of x^2 4/45.
            assert abs(x.mean()) < 5 * np.sqrt(1 / 3 / x.size)
            assert abs(np.square(x).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / x.size)


def test_orthogonal_initialisation():
    network = pg.actor_critic(stub(), (8, 8))
    params = parameters(network, np.zeros((1, 4), np.float32))
    for part, last_gain in (("actor", 0.01), ("critic", 1.0)):
        gains = (np.sqrt(2), np.sqrt(2), last_gain)
        for layer, gain in zip(layers(params[part]), gains, strict=True):
            w = layer["kernel"]
            w = w if w.shape[0] >= w.shape[1] else w.T  # orthonormal along the shorter
            want = gain**2 * np.eye(w.shape[1])
            np.testing.assert_allclose(w.T @ w, want, atol=1e-5 * gain**2)
            np.testing.assert_array_equal(layer["bias"], np.zeros_like(layer["bias"]))


def test_actor_and_critic_share_nothing():
    network = pg.actor_critic(stub(), (8,), initializer="torch")
    obs = observations(5, 4)
    params = parameters(network, obs)
    grads = jax.jit(jax.grad(lambda p: jnp.sum(network.apply(p, obs)[1])))(params)
    assert not any(np.any(x) for x in jax.tree.leaves(grads["actor"]))
    first_kernels = [layers(params[part])[0]["kernel"] for part in ("actor", "critic")]
    assert not np.array_equal(*first_kernels)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    # By its tanh approximation, as flax does by default.
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_do_what_they_are_called(activation):
    network = pg.mlp_policy(stub((1,)), (1,), activation=activation)
    obs = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
    params = parameters(network, obs)
    first, last = layers(params["actor"])
    hidden = ACTIVATIONS[activation](obs @ first["kernel"] + first["bias"])
    want = hidden @ last["kernel"] + last["bias"]
    got = jax.jit(network.apply)(params, obs)[0].logits
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_linear_policy_starts_uniform():
    network = pg.linear_softmax_policy(stub())
    obs = observations(7, 4)
    params = parameters(network, obs)
    np.testing.assert_allclose(network.apply(params, obs)[0].probs, 1 / 3, rtol=1e-6)


def test_linear_preferences_are_affine_with_own_weights_per_action():
    network = pg.linear_softmax_policy(stub())
    obs, theta = observations(7, 4), observations(15)
    assert parameters(network, obs)["theta"].shape == theta.shape
    got = jax.jit(network.apply)({"theta": theta}, obs)[0].logits
    own = theta.reshape(3, 5)  # four weights and a bias
    want = obs @ own[:, :4].T + own[:, 4]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_linear_policy_on_custom_features():
    table = observations(4, 3, 2)  # phi(s, a)

    def features(obs):
        return jnp.einsum("...s,sad->...ad", obs, table)

    network = pg.linear_softmax_policy(stub(), features)
    obs, theta = np.eye(4, dtype=np.float32), np.array([0.5, -1.0], np.float32)
    assert parameters(network, obs)["theta"].shape == theta.shape
    logits = jax.jit(network.apply)({"theta": theta}, obs)[0].logits
    np.testing.assert_allclose(logits, table @ theta, rtol=1e-5)

    # Sutton and Barto, eq. 13.9: grad log pi = phi(s, a) - sum_b pi(b | s) phi(s, b).
    def log_prob(theta):
        return network.apply({"theta": theta}, obs[0])[0].log_prob(jnp.int32(1))

    probs = np.exp(logits[0]) / np.exp(logits[0]).sum()
    want = table[0, 1] - probs @ table[0]
    np.testing.assert_allclose(jax.jit(jax.grad(log_prob))(theta), want, rtol=1e-4)


@pytest.mark.parametrize("factory", FACTORIES)
def test_continuous_actions_are_an_error(factory):
    env = stub(action_space=pg.Box(-1.0, 1.0, (2,)))
    with pytest.raises(
        ValueError, match=r"stub has continuous actions of shape \(2,\)"
    ):
        factory(env)


@pytest.mark.parametrize("factory", [pg.mlp_policy, pg.actor_critic])
def test_unknown_names_are_errors_that_list_the_known_ones(factory):
    with pytest.raises(ValueError, match="unknown activation 'swoosh'; known are relu"):
        factory(stub(), activation="swoosh")
    with pytest.raises(ValueError, match="unknown initializer 'zen'; known are torch"):
        factory(stub(), initializer="zen")
