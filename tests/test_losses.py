from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg

rng = np.random.default_rng(0)
LOG_PROB = np.log(rng.uniform(0.05, 0.95, size=(8, 5))).astype(np.float32)
OLD_LOG_PROB = np.log(rng.uniform(0.05, 0.95, size=(8, 5))).astype(np.float32)
ADVANTAGE = rng.normal(size=(8, 5)).astype(np.float32)
TARGET = rng.normal(size=(8, 5)).astype(np.float32)
CLIP = 0.2
CLIP_HIGH = 0.6
VALUE_CLIP = 0.7

LOSSES = {
    "policy_gradient": pg.policy_gradient_loss,
    "surrogate": pg.surrogate_loss,
    "clipped_surrogate": lambda new, old, advantage: pg.clipped_surrogate_loss(
        new, old, advantage, clip=CLIP
    ),
    "clipped_higher": lambda new, old, advantage: pg.clipped_surrogate_loss(
        new, old, advantage, clip=CLIP, clip_high=CLIP_HIGH
    ),
    "value": pg.value_loss,
    "clipped_value": lambda value, old, target: pg.clipped_value_loss(
        value, old, target, clip=VALUE_CLIP
    ),
    "kl": pg.kl_penalty,
}
# The arrays that each loss takes, the differentiable one first.
INPUTS = {
    "policy_gradient": (LOG_PROB, ADVANTAGE),
    "surrogate": (LOG_PROB, OLD_LOG_PROB, ADVANTAGE),
    "clipped_surrogate": (LOG_PROB, OLD_LOG_PROB, ADVANTAGE),
    "clipped_higher": (LOG_PROB, OLD_LOG_PROB, ADVANTAGE),
    "value": (ADVANTAGE, LOG_PROB),
    "clipped_value": (ADVANTAGE, LOG_PROB, TARGET),
    "kl": (LOG_PROB, OLD_LOG_PROB),
}
SURROGATES = ("surrogate", "clipped_surrogate", "clipped_higher")
# How far below 1 each of them trusts the ratio, and how far above.
TRUST = {
    "surrogate": (np.inf, np.inf),
    "clipped_surrogate": (CLIP, CLIP),
    "clipped_higher": (CLIP, CLIP_HIGH),
}
each_loss = pytest.mark.parametrize("name", LOSSES)
each_surrogate = pytest.mark.parametrize("name", SURROGATES)


@partial(jax.jit, static_argnames=("loss", "argnum"))
def gradient(loss, *inputs, argnum=0):
    """The gradient of each element: all of these losses are elementwise."""
    return jax.grad(lambda *x: jnp.sum(loss(*x)), argnum)(*inputs)


def expected_loss_and_gradient(name):
    first, second, *rest = (x.astype(np.float64) for x in INPUTS[name])
    if name == "policy_gradient":
        return -first * second, -second
    if name == "value":
        return (first - second) ** 2 / 2, first - second
    if name == "clipped_value":
        return expected_clipped_value(first, second, *rest)
    ratio = np.exp(first - second)
    if name == "kl":
        return 1 / ratio - 1 + np.log(ratio), 1 - 1 / ratio
    (advantage,) = rest
    low, high = TRUST[name]
    value = np.empty_like(ratio)
    grad = np.empty_like(ratio)
    for i in np.ndindex(*ratio.shape):
        bound = 1 + high if advantage[i] > 0 else 1 - low
        too_far = ratio[i] > bound if advantage[i] > 0 else ratio[i] < bound
        value[i] = -(bound if too_far else ratio[i]) * advantage[i]
        grad[i] = 0 if too_far else -ratio[i] * advantage[i]
    return value, grad


def expected_clipped_value(value, old, target):
    """The larger loss, and its gradient: 0 where that is the loss of a clipped V."""
    loss, grad = np.empty_like(value), np.empty_like(value)
    for i in np.ndindex(*value.shape):
        near = min(max(value[i], old[i] - VALUE_CLIP), old[i] + VALUE_CLIP)
        plain, clipped = (value[i] - target[i]) ** 2 / 2, (near - target[i]) ** 2 / 2
        loss[i] = max(plain, clipped)
        grad[i] = value[i] - target[i] if plain >= clipped else 0
    return loss, grad


def test_the_inputs_reach_every_case_of_the_clipped_losses():
    ratio = np.exp(LOG_PROB - OLD_LOG_PROB)
    between = (ratio > 1 + CLIP) & (ratio < 1 + CLIP_HIGH) & (ADVANTAGE > 0)
    beyond = (ratio > 1 + CLIP_HIGH) & (ADVANTAGE > 0)
    below = (ratio < 1 - CLIP) & (ADVANTAGE < 0)
    assert between.any()
    assert beyond.any()
    assert below.any()
    _, grad = expected_loss_and_gradient("clipped_value")
    far = np.abs(ADVANTAGE - LOG_PROB) > VALUE_CLIP
    assert (grad == 0).any()
    assert (far & (grad != 0)).any()
    assert (~far).any()


@each_loss
def test_values_and_gradients_equal_the_closed_form(name):
    value, grad = expected_loss_and_gradient(name)
    loss = LOSSES[name](*INPUTS[name])
    assert loss.shape == value.shape
    np.testing.assert_allclose(loss, value, rtol=1e-5, atol=1e-6)
    result = gradient(LOSSES[name], *INPUTS[name])
    np.testing.assert_allclose(result, grad, rtol=1e-5, atol=1e-6)


def test_entropy_loss_rewards_entropy():
    entropy = jnp.array([0.5, 0.0])
    np.testing.assert_array_equal(pg.entropy_loss(entropy), -entropy)
    np.testing.assert_array_equal(gradient(pg.entropy_loss, entropy), [-1.0, -1.0])


@each_loss
def test_all_inputs_but_the_first_are_constants(name):
    for argnum in range(1, len(INPUTS[name])):
        grad = gradient(LOSSES[name], *INPUTS[name], argnum=argnum)
        np.testing.assert_array_equal(grad, np.zeros_like(grad))


@each_loss
def test_environments_against_a_column_vector_is_an_error(name):
    inputs = [jnp.zeros((4, 1)), *(jnp.zeros(4) for _ in INPUTS[name][1:])]
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        LOSSES[name](*inputs)


@each_surrogate
@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_every_input_of_the_surrogate_is_checked(wrong, name):
    inputs = [jnp.zeros(4)] * 3
    inputs[wrong] = jnp.zeros((1, 4))
    argument = ("log_prob", "old_log_prob", "advantage")[wrong]
    with pytest.raises(ValueError, match=rf"{argument} \(1, 4\)"):
        LOSSES[name](*inputs)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_every_input_of_the_clipped_value_loss_is_checked(wrong):
    inputs = [jnp.zeros(4)] * 3
    inputs[wrong] = jnp.zeros((1, 4))
    argument = ("value", "old_value", "target")[wrong]
    with pytest.raises(ValueError, match=rf"{argument} \(1, 4\)"):
        LOSSES["clipped_value"](*inputs)


@each_surrogate
def test_at_ratio_one_the_surrogate_s_gradient_is_the_policy_gradient(name):
    surrogate = gradient(LOSSES[name], LOG_PROB, LOG_PROB, ADVANTAGE)
    plain = gradient(pg.policy_gradient_loss, LOG_PROB, ADVANTAGE)
    np.testing.assert_array_equal(surrogate, plain)


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_zero"),
    [
        (1.3, 2.0, True),  # already more probable than trusted: no further
        (0.7, -2.0, True),
        (1.3, -2.0, False),  # moved the wrong way: back it goes
        (0.7, 2.0, False),
        (1.1, 2.0, False),
        (0.9, -2.0, False),
    ],
)
def test_the_surrogate_stops_pushing_outside_the_trusted_interval(
    ratio, advantage, is_zero
):
    inputs = jnp.log(jnp.array([ratio])), jnp.zeros(1), jnp.array([advantage])
    grad = gradient(LOSSES["clipped_surrogate"], *inputs)
    np.testing.assert_allclose(grad, [0.0 if is_zero else -ratio * advantage], 1e-6)


def test_the_clip_may_be_swept_by_vmap():
    ratio, one = jnp.log(jnp.array([2.0])), jnp.ones(1)
    losses = jax.vmap(
        lambda clip: pg.clipped_surrogate_loss(ratio, jnp.zeros(1), one, clip=clip)
    )(jnp.array([0.1, 0.5]))
    np.testing.assert_allclose(losses, [[-1.1], [-1.5]], rtol=1e-6)


def test_the_interval_may_reach_further_up_than_down():
    ratios = jnp.log(jnp.array([1.3, 1.7, 0.7]))
    advantage = jnp.array([1.0, 1.0, -1.0])
    for name, want in (
        ("clipped_surrogate", [-1.2, -1.2, 0.8]),
        ("clipped_higher", [-1.3, -1.6, 0.8]),
    ):
        loss = LOSSES[name](ratios, jnp.zeros(3), advantage)
        np.testing.assert_allclose(loss, want, rtol=1e-6)


def test_within_the_clip_the_clipped_value_loss_is_the_plain_one():
    near = ADVANTAGE + np.float32(0.9 * VALUE_CLIP) * np.sign(TARGET)
    inputs = near, ADVANTAGE, TARGET
    clipped = LOSSES["clipped_value"](*inputs)
    plain = pg.value_loss(near, TARGET)
    np.testing.assert_allclose(clipped, plain, rtol=1e-5, atol=1e-6)
    grads = gradient(LOSSES["clipped_value"], *inputs)
    np.testing.assert_allclose(grads, near - TARGET, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("log_ratio", [-100.0, 100.0])
@pytest.mark.parametrize("advantage", [-1e6, 1e6])
@pytest.mark.parametrize("name", [*SURROGATES, "kl"])
def test_extreme_ratios_stay_finite(name, advantage, log_ratio):
    inputs = jnp.full(3, log_ratio), jnp.zeros(3), jnp.full(3, advantage)
    inputs = inputs[: len(INPUTS[name])]
    loss, grad = LOSSES[name](*inputs), gradient(LOSSES[name], *inputs)
    assert np.isfinite(loss).all()
    assert np.isfinite(grad).all()
    # Finite is not enough: an optimizer squares it and sums the squares.
    assert np.isfinite(jnp.sum(jnp.square(grad)))


def test_kl_penalty_is_never_negative():
    # Where it is nearly zero, it is the difference of nearly equal numbers.
    x = np.logspace(-9, 4, 4000, dtype=np.float32)
    x = np.concatenate([x, -x])
    penalty = pg.kl_penalty(x, np.zeros_like(x))
    assert np.min(penalty) >= 0
    exact = (np.abs(x) > 1e-2) & (x > -29)  # where exp(-x) is not bounded
    expected = np.expm1(-np.float64(x[exact])) + x[exact]
    np.testing.assert_allclose(penalty[exact], expected, rtol=1e-3)


LIMITS = {"float16": 3.7, "bfloat16": 29.57, "float32": 29.57, "float64": 236.6}


@pytest.mark.parametrize("dtype", LIMITS)
def test_beyond_its_limit_the_exponential_goes_on_as_its_tangent(dtype):
    with jax.enable_x64(dtype == "float64"):
        limit = LIMITS[dtype]
        x = jnp.array([-2.0, 0.9, 1.5, 10.0], dtype) * limit
        zero, one = jnp.zeros_like(x), jnp.ones_like(x)
        exact = np.float64(x)
        slope = np.exp(np.minimum(exact, limit))
        ratio = slope + np.exp(limit) * np.maximum(exact - limit, 0)
        # Of the dtype that gradients have, and of a limit given to three digits.
        close = partial(np.testing.assert_allclose, rtol=0.02)
        close(-pg.surrogate_loss(x, zero, one), ratio)
        close(-np.float64(gradient(pg.surrogate_loss, x, zero, one)), slope)
        close(pg.kl_penalty(-x, zero), ratio - 1 - exact)
        grad = np.float64(gradient(pg.kl_penalty, -x, zero))
        close(grad, 1 - slope)
        assert np.all(np.sign(grad) == -np.sign(exact))
        assert np.isfinite(np.float64(np.square(np.asarray(x.dtype.type(grad.min())))))


def test_kl_penalty_is_unbiased_and_less_noisy_than_the_log_ratio():
    policy = pg.Categorical(jnp.array([0.5, 0.0, -1.0]))
    reference = pg.Categorical(jnp.array([0.0, 0.3, -0.5]))
    size = 50_000
    actions = jax.random.categorical(jax.random.key(0), policy.logits, shape=(size,))
    log_prob, reference_log_prob = (
        jax.nn.log_softmax(d.logits)[actions] for d in (policy, reference)
    )
    penalty = np.asarray(pg.kl_penalty(log_prob, reference_log_prob), np.float64)
    z = (penalty.mean() - float(policy.kl(reference))) / (penalty.std() / size**0.5)
    assert abs(z) < 5
    assert penalty.std() < np.std(log_prob - reference_log_prob) / 2
