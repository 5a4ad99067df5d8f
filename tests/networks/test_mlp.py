import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from pgjax.networks.mlp import MLP


def stub(obs_shape=(4,), action_space=None):
    """An environment of which only the spaces matter."""
    box = pg.Box(-1.0, 1.0, obs_shape)
    return pg.Env("stub", None, None, box, action_space or pg.Discrete(3), 1)


def observations(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def parameters(network, obs):
    return jax.jit(network.init)(jax.random.key(0), obs)


FACTORIES = [pg.linear_softmax_policy, pg.mlp_policy, pg.actor_critic]


@pytest.mark.parametrize("obs_shape", [(4,), (5, 4, 3)])
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


def test_a_module_starts_by_itself_as_any_of_flax():
    layers = MLP((8, 3)).init(jax.random.key(0), observations(2, 4))["params"]
    assert {name: x["kernel"].shape for name, x in layers.items()} == {
        "Dense_0": (4, 8),
        "Dense_1": (8, 3),
    }
    assert all(len(np.unique(x["kernel"])) == x["kernel"].size for x in layers.values())


@pytest.mark.parametrize("factory", FACTORIES[1:])
@pytest.mark.parametrize("number", [2, 3])
def test_of_two_preferences_the_second_is_its_bias(factory, number):
    network = factory(stub(action_space=pg.Discrete(number)), (4,))
    obs = observations(5, 4)
    logits = np.asarray(network.apply(parameters(network, obs), obs)[0].logits)
    assert (np.ptp(logits[:, 1]) == 0.0) == (number == 2)
    assert np.ptp(logits[:, 0]) > 0.0


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
    # Preferences matter, and are computed, up to a constant.
    np.testing.assert_allclose(
        got[0] - got[1], logits[0] - logits[1], rtol=1e-4, atol=1e-6
    )


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


def test_continuous_actions_are_an_error_for_a_softmax():
    env = stub(action_space=pg.Box(-1.0, 1.0, (2,)))
    message = r"stub has continuous actions of shape \(2,\).*use pg.mlp_policy"
    with pytest.raises(ValueError, match=message):
        pg.linear_softmax_policy(env)


@pytest.mark.parametrize("factory", [pg.mlp_policy, pg.actor_critic])
def test_unknown_names_are_errors_that_list_the_known_ones(factory):
    with pytest.raises(ValueError, match="unknown activation 'swoosh'; known are relu"):
        factory(stub(), activation="swoosh")
    with pytest.raises(ValueError, match="unknown initializer 'zen'; known are torch"):
        factory(stub(), initializer="zen")


def gaussian(factory, space, *, outputs, obs=None, **options):
    """The distribution where the actor's last layer gives these outputs."""
    network = factory(stub(action_space=space), (), **options)
    obs = np.zeros((1, 4), np.float32) if obs is None else obs
    params = parameters(network, obs)
    last = params["actor"]["params"]["Dense_0"]
    assert last["bias"].shape == np.shape(outputs)
    bias = jnp.asarray(outputs, jnp.float32)
    params["actor"] = {"params": {"Dense_0": last | {"bias": bias}}}
    return params, network.apply(params, obs)[0]


BOUNDED = pg.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), (2,))
HALF_WIDTH, MIDDLE = np.array([1.0, 2.0]), np.array([0.0, 2.0])
HUGE = float(np.finfo(np.float32).max)
each_gaussian_factory = pytest.mark.parametrize(
    "factory", [pg.mlp_policy, pg.actor_critic]
)


@each_gaussian_factory
@pytest.mark.parametrize("outputs", [(0.0, 0.0), (1.0, -1.0), (0.5, 3.0)])
def test_a_bounded_space_is_measured_in_half_widths_around_its_middle(factory, outputs):
    params, policy = gaussian(factory, BOUNDED, outputs=outputs, log_std=-0.5)
    np.testing.assert_array_equal(params["log_std"], np.float32([-0.5, -0.5]))
    want = (MIDDLE + HALF_WIDTH * np.array(outputs))[None]
    np.testing.assert_allclose(policy.mean, want, rtol=1e-6)
    np.testing.assert_allclose(policy.std, np.exp(-0.5) * HALF_WIDTH[None], rtol=1e-6)
    assert isinstance(policy, pg.DiagGaussian)
    assert policy.event_ndim == 1


@pytest.mark.parametrize(
    ("low", "high"),
    [(-np.inf, np.inf), (-HUGE, HUGE), (0.0, np.inf), (-np.inf, -3.0), (0.0, HUGE)],
)
def test_a_space_without_two_bounds_is_taken_as_it_is(low, high):
    space = pg.Box(low, high, (2,))
    _, policy = gaussian(pg.mlp_policy, space, outputs=(0.5, -7.0), log_std=0.25)
    np.testing.assert_array_equal(policy.mean, np.float32([[0.5, -7.0]]))
    np.testing.assert_array_equal(policy.log_std, np.float32([[0.25, 0.25]]))


def test_elements_may_be_bounded_one_by_one():
    space = pg.Box(np.array([-np.inf, 0.0]), np.array([np.inf, 4.0]), (2,))
    _, policy = gaussian(pg.mlp_policy, space, outputs=(3.0, 0.0))
    np.testing.assert_allclose(policy.mean, [[3.0, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(policy.std, [[1.0, 2.0]], rtol=1e-6)


@each_gaussian_factory
@pytest.mark.parametrize("state_dependent_std", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_actions_may_have_any_shape(factory, state_dependent_std, shape):
    env = stub(action_space=pg.Box(-2.0, 2.0, shape))
    network = factory(env, (8,), state_dependent_std=state_dependent_std)
    for batch in ((), (6,), (5, 6)):
        obs = jax.ShapeDtypeStruct((*batch, 4), jnp.float32)
        params = jax.eval_shape(network.init, jax.random.key(0), obs)
        policy, _ = jax.eval_shape(network.apply, params, obs)
        assert policy.mean.shape == policy.log_std.shape == batch + shape
        assert policy.event_ndim == len(shape)
        action = jax.eval_shape(lambda p: p.sample(jax.random.key(0)), policy)
        assert action.shape == batch + shape
        for result in (
            jax.eval_shape(lambda p, a: p.log_prob(a), policy, action),
            jax.eval_shape(lambda p: p.entropy(), policy),
        ):
            assert result.shape == batch
        if state_dependent_std:
            assert "log_std" not in params
        else:
            assert params["log_std"].shape == shape


def test_outputs_fill_a_matrix_of_actions_row_by_row():
    low, high = -np.arange(1.0, 7.0).reshape(2, 3), np.arange(1.0, 7.0).reshape(2, 3)
    space, outputs = pg.Box(low, high, (2, 3)), 0.1 * np.arange(6.0)
    _, policy = gaussian(pg.mlp_policy, space, outputs=outputs)
    np.testing.assert_allclose(policy.mean[0], high * outputs.reshape(2, 3), 1e-6)
    np.testing.assert_allclose(policy.std[0], high, rtol=1e-6)


@each_gaussian_factory
def test_a_state_dependent_deviation_is_an_offset_in_half_widths(factory):
    outputs = np.array([0.5, -1.0, 0.3, -0.2])
    obs = observations(7, 4)
    params, policy = gaussian(
        factory,
        BOUNDED,
        outputs=outputs,
        obs=obs,
        log_std=-0.5,
        state_dependent_std=True,
    )
    assert "log_std" not in params
    kernel = np.float64(params["actor"]["params"]["Dense_0"]["kernel"])
    want = np.float64(obs) @ kernel + outputs  # (7, 4): two means, two log-stds
    mean = MIDDLE + HALF_WIDTH * want[:, :2]
    np.testing.assert_allclose(policy.mean, mean, rtol=1e-5, atol=1e-6)
    log_std = np.log(HALF_WIDTH) - 0.5 + want[:, 2:]
    np.testing.assert_allclose(policy.log_std, log_std, rtol=1e-5, atol=1e-6)
    assert np.ptp(want[:, 2]) > 1e-3


@pytest.mark.parametrize("log_std", [-1, -0.5, np.float64(0.5)])
def test_the_log_std_is_a_float_parameter_that_learns(log_std):
    network = pg.mlp_policy(stub(action_space=BOUNDED), (), log_std=log_std)
    obs = observations(5, 4)
    params = parameters(network, obs)
    assert params["log_std"].dtype == jnp.float32
    np.testing.assert_allclose(params["log_std"], [log_std, log_std])
    grads = jax.grad(lambda p: jnp.sum(network.apply(p, obs)[0].entropy()))(params)
    np.testing.assert_allclose(grads["log_std"], [5.0, 5.0])  # 1 per sample


def test_a_shared_torso_feeds_both_heads():
    network = pg.actor_critic(stub(), (8, 6), shared_torso=True, activation="relu")
    obs = observations(5, 4)
    params = parameters(network, obs)
    assert set(params) == {"actor", "critic", "torso"}
    shapes = {
        part: [x["kernel"].shape for x in layers(params[part])] for part in params
    }
    assert shapes == {"torso": [(4, 8), (8, 6)], "actor": [(6, 3)], "critic": [(6, 1)]}
    x = obs
    for layer in layers(params["torso"]):
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    policy, value = jax.jit(network.apply)(params, obs)
    for part, got in (("actor", policy.logits), ("critic", value[:, None])):
        (head,) = layers(params[part])
        want = x @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["actor", "critic"])
def test_both_heads_teach_a_shared_torso_and_not_each_other(output):
    network = pg.actor_critic(stub(), (8,), shared_torso=True)
    obs = observations(5, 4)
    params = parameters(network, obs)

    def loss(params):
        policy, value = network.apply(params, obs)
        return jnp.sum(value if output == "critic" else policy.logits[:, 0])

    grads = jax.jit(jax.grad(loss))(params)
    touched = {
        part: any(np.any(x) for x in jax.tree.leaves(grads[part])) for part in grads
    }
    other = {"actor": "critic", "critic": "actor"}[output]
    assert touched == {output: True, "torso": True, other: False}


@pytest.mark.parametrize("shared_torso", [False, True])
def test_gaussian_heads_and_torsos_combine(shared_torso):
    env = stub(action_space=BOUNDED)
    network = pg.actor_critic(env, (8,), shared_torso=shared_torso)
    obs = observations(5, 4)
    params = parameters(network, obs)
    names = {"actor", "critic", "log_std"} | ({"torso"} if shared_torso else set())
    assert set(params) == names
    policy, value = jax.jit(network.apply)(params, obs)
    assert policy.mean.shape == (5, 2)
    assert value.shape == (5,)
    # The last layer is small: nearly the middle at first, whatever is observed.
    np.testing.assert_allclose(policy.mean, np.tile(MIDDLE, (5, 1)), atol=0.1)


def test_a_shared_torso_without_a_hidden_layer_is_an_error():
    with pytest.raises(ValueError, match="a shared torso needs a hidden layer"):
        pg.actor_critic(stub(), (), shared_torso=True)


IMAGE = (6, 5, 2)


def convolved(first, obs):
    """The same kernel in XLA's own convolution, height x width x in x out."""
    images = jnp.asarray(obs.reshape(-1, *IMAGE))
    kernel = first["kernel"].reshape(3, 3, IMAGE[-1], 16)
    axes = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=axes
    )
    out = np.maximum(np.asarray(out) + first["bias"], 0)
    return out.reshape(*obs.shape[:-3], -1)


@pytest.mark.parametrize("batch", [(), (7,), (2, 3)])
def test_images_are_convolved_by_3_x_3_filters(batch):
    network = pg.mlp_policy(stub(IMAGE), (10,))
    obs = observations(*batch, *IMAGE)
    params = jax.tree.map(np.asarray, parameters(network, obs))
    dense = params["actor"]["params"]
    assert {name: x["kernel"].shape for name, x in dense.items()} == {
        "filters": (3 * 3 * 2, 16),
        "Dense_0": (4 * 3 * 16, 10),
        "Dense_1": (10, 3),
    }
    x = convolved(dense["filters"], obs)
    x = np.maximum(x @ dense["Dense_0"]["kernel"] + dense["Dense_0"]["bias"], 0)
    want = x @ dense["Dense_1"]["kernel"] + dense["Dense_1"]["bias"]
    got = jax.jit(network.apply)(params, obs)[0].logits
    assert got.shape == (*batch, 3)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shared_torso", [False, True])
def test_each_network_of_an_image_has_its_filters(shared_torso):
    network = pg.actor_critic(stub(IMAGE), (8,), shared_torso=shared_torso)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *IMAGE)))
    looking = {part for part in params if "filters" in params[part]["params"]}
    assert looking == ({"torso"} if shared_torso else {"actor", "critic"})


@each_gaussian_factory
def test_images_below_3_x_3_are_seen_as_vectors(factory):
    obs = observations(2, 5, 2, 3)
    network = factory(stub((5, 2, 3)), (8,), initializer="orthogonal")
    params = parameters(network, obs)
    one, other = network.apply(params, obs)[0].logits
    assert np.any(one != other)


def dots(network, obs):
    """How many matrix products outputs and gradient have, and those of each precision.

    A product whose precision is left to JAX is among the former only.
    """

    def total(params):
        policy, value = network.apply(params, obs)
        outputs = policy.log_prob(policy.sample(jax.random.key(0)))
        return jnp.sum(outputs) + (0.0 if value is None else jnp.sum(value))

    params = jax.eval_shape(network.init, jax.random.key(0), obs)
    text = str(jax.make_jaxpr(jax.value_and_grad(total))(params))
    said = re.findall(r" precision=\(Precision\.(\w+), Precision\.(\w+)\)", text)
    return text.count("dot_general["), Counter(said)


@pytest.mark.parametrize("actions", [2, 3, 7])
@pytest.mark.parametrize("obs_shape", [(4,), (17,), (6, 5, 3)])
@pytest.mark.parametrize("factory", FACTORIES)
def test_matrix_products_keep_the_precision_of_their_type(factory, obs_shape, actions):
    env = stub(obs_shape, pg.Discrete(actions))
    network, obs = factory(env), observations(3, *obs_shape)
    count, exact = dots(network, obs)
    assert count > 1
    assert exact == {("HIGHEST", "HIGHEST"): count}
    with jax.default_matmul_precision("tensorfloat32"):  # the user has the last word
        _, rounded = dots(network, obs)
    features = factory is pg.linear_softmax_policy  # which copies numbers by a product
    assert rounded == Counter({("HIGH", "HIGH"): count - features}) + Counter(
        {("HIGHEST", "HIGHEST"): features}
    )
    if not features:
        assert dots(pg.at_precision(network, "bfloat16"), obs) == (count, {})


def test_half_precision_is_near_and_comes_out_whole():
    env = pg.make_env("CartPole-v1")
    network = pg.actor_critic(env)
    half = pg.at_precision(network, "bfloat16")
    params = half.init(jax.random.key(0), jnp.zeros((1, 4)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    obs = jax.random.normal(jax.random.key(1), (32, 4))
    policy, value = half.apply(params, obs)
    expected_policy, expected = network.apply(params, obs)
    assert policy.logits.dtype == value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, atol=0.05)
    assert not np.array_equal(value, expected)  # it was rounded
    np.testing.assert_allclose(policy.probs, expected_policy.probs, atol=0.01)
    assert pg.at_precision(network, "float32") is network


@pytest.mark.parametrize("dtype", ["int32", "nonsense", "bool"])
def test_only_floating_types_are_precisions(dtype):
    with pytest.raises(ValueError, match=f"must be a floating type, got '{dtype}'"):
        pg.at_precision(pg.mlp_policy(stub()), dtype)
    with pytest.raises(ValueError, match="float64 only with jax_enable_x64"):
        pg.at_precision(pg.mlp_policy(stub()), "float64")


def test_features_of_the_wrong_shape_are_told():
    network = pg.linear_softmax_policy(stub(), lambda obs: obs[..., :2])
    with pytest.raises(
        ValueError, match=r"must be \(..., 3 actions, d\), got \(5, 2\)"
    ):
        network.init(jax.random.key(0), jnp.zeros((5, 4)))


def test_one_of_several_actions_is_a_scalar():
    assert pg.Discrete(3).shape == ()
