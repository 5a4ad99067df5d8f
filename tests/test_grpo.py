import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgjax as pg

rng = np.random.default_rng(0)
close = np.testing.assert_allclose
REWARD = rng.normal(size=12).astype(np.float32)
REWARD[4:8] = 3.0


def expected_advantages(reward, group_size, kind):
    """Sequence by sequence, in float64, from the definitions."""
    result = np.zeros(len(reward))
    for i in range(len(reward)):
        first = i - i % group_size
        group = [float(r) for r in reward[first : first + group_size]]
        if kind == "rloo":
            others = group[: i - first] + group[i - first + 1 :]
            result[i] = reward[i] - np.mean(others)
            continue
        result[i] = reward[i] - np.mean(group)
        if kind == "grpo" and np.ptp(group) > 0:
            result[i] /= np.std(group, ddof=1)
    return result


KINDS = {
    "rloo": pg.rloo_advantages,
    "grpo": pg.grpo_advantages,
    "centred": lambda reward, *, group_size: pg.grpo_advantages(
        reward, group_size=group_size, scale_by_std=False
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("group_size", [2, 3, 4, 12])
def test_advantages_equal_their_definitions(kind, group_size):
    result = KINDS[kind](REWARD, group_size=group_size)
    want = expected_advantages(REWARD, group_size, kind)
    close(result, want, rtol=1e-5, atol=1e-6)


@given(
    reward=st.floats(-1e6, 1e6, width=32).filter(lambda x: abs(x) > 1e-6),
    group_size=st.sampled_from([2, 7, 64]),
)
def test_groups_of_equal_rewards_teach_nothing(reward, group_size):
    rewards = jnp.full(2 * group_size, reward)
    scaled = pg.grpo_advantages(rewards, group_size=group_size)
    np.testing.assert_array_equal(scaled, np.zeros(2 * group_size))
    # The sum's rounding error, below one of the reward's for each sequence.
    bound = group_size * np.finfo(np.float32).eps * abs(reward)
    for kind in ("rloo", "centred"):
        advantage = KINDS[kind](rewards, group_size=group_size)
        assert np.max(np.abs(advantage)) <= bound


@pytest.mark.parametrize("reward", [0.0, 0.1, 1 / 3, -0.7, 1e-20, 1e6])
@pytest.mark.parametrize("group_size", [3, 7, 10, 100])
def test_rewards_that_round_are_still_equal(reward, group_size):
    scaled = pg.grpo_advantages(jnp.full(group_size, reward), group_size=group_size)
    np.testing.assert_array_equal(scaled, np.zeros(group_size))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_small_difference_between_rewards_is_not_taken_for_rounding(offset):
    reward = jnp.array([0.0, 0.01, 0.0, 0.01]) + offset
    want = expected_advantages(np.asarray(reward), 4, "grpo")
    close(pg.grpo_advantages(reward, group_size=4), want, rtol=1e-2)


def test_groups_do_not_mix():
    other = REWARD.copy()
    other[:4] += 100.0 * rng.normal(size=4).astype(np.float32)
    for advantages in KINDS.values():
        one, two = (advantages(x, group_size=4) for x in (REWARD, other))
        np.testing.assert_array_equal(one[4:], two[4:])
        assert not np.any(one[:4] == two[:4])


@each_kind
@pytest.mark.parametrize(
    ("shape", "group_size", "message"),
    [
        ((4,), 1, "group_size must be at least 2, got 1"),
        ((4,), 0, "group_size must be at least 2, got 0"),
        ((4,), 3, r"groups of 3; got shape \(4,\)"),
        ((4, 1), 2, r"groups of 2; got shape \(4, 1\)"),
        ((), 2, r"groups of 2; got shape \(\)"),
    ],
)
def test_rewards_that_do_not_make_groups_are_an_error(kind, shape, group_size, message):
    with pytest.raises(ValueError, match=message):
        KINDS[kind](jnp.zeros(shape), group_size=group_size)


T, N = 5, 4
LOG_PROB, OLD, REFERENCE = np.log(rng.uniform(0.2, 0.9, size=(3, T, N))).astype("f")
ADVANTAGE = rng.normal(size=N).astype(np.float32)
PER_TOKEN = rng.normal(size=(T, N)).astype(np.float32)
# Sequences of 5, 3 and 1 tokens, the second after a prompt; and one without any.
WEIGHT = np.zeros((T, N), np.float32)
WEIGHT[:, 0] = WEIGHT[2:, 1] = WEIGHT[0, 2] = 1.0
REDUCTIONS = ("sequences", "tokens", "sequence_sums")
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def token_share(t, i, weight, reduction):
    """How much one token counts in the mean."""
    return {
        "sequences": 1 / (weight.shape[1] * weight[:, i].sum()),
        "tokens": 1 / weight.sum(),
        "sequence_sums": 1 / weight.shape[1],
    }[reduction]


def expected_loss(log_prob, advantage, *, reduction, low, high, beta, weight=WEIGHT):
    """Token by token, in float64: DeepSeekMath, eq. 3 and 4."""
    policy_loss = kl = clip_fraction = 0.0
    for t, i in zip(*np.nonzero(weight), strict=True):
        share = token_share(t, i, weight, reduction)
        gain = advantage[i] if advantage.ndim == 1 else advantage[t, i]
        ratio = np.exp(log_prob[t, i] - np.float64(OLD[t, i]))
        bounded = min(max(ratio, 1 - low), 1 + high)
        policy_loss -= share * min(ratio * gain, bounded * gain)
        x = np.float64(REFERENCE[t, i]) - log_prob[t, i]
        kl += share * (np.exp(x) - x - 1)
        clip_fraction += (bounded != ratio) / weight.sum()
    return policy_loss + beta * kl, policy_loss, kl, clip_fraction


@each_reduction
@pytest.mark.parametrize("advantage", [ADVANTAGE, PER_TOKEN], ids=["(N,)", "(T, N)"])
@pytest.mark.parametrize("high", [None, 0.5])
def test_the_loss_and_its_gradient_equal_the_loop(reduction, advantage, high):
    def loss_fn(log_prob):
        return pg.grpo_loss(
            log_prob,
            OLD,
            REFERENCE,
            advantage,
            WEIGHT,
            clip=0.2,
            clip_high=high,
            kl_coefficient=0.3,
            reduction=reduction,
        )

    def expected(log_prob):
        settings = {"low": 0.2, "high": 0.2 if high is None else high, "beta": 0.3}
        return expected_loss(log_prob, advantage, reduction=reduction, **settings)

    (loss, metrics), grad = jax.value_and_grad(loss_fn, has_aux=True)(LOG_PROB)
    want = expected(np.float64(LOG_PROB))
    names = ("policy_loss", "kl", "clip_fraction")
    close([loss, *(metrics[name] for name in names)], want, rtol=1e-5, atol=1e-6)
    assert set(metrics) == set(names)
    assert 0 < want[3] < 1
    close(grad, oracles.jacobian(lambda x: np.array(expected(x)[0]), LOG_PROB), 0, 1e-5)


@pytest.mark.parametrize("filler", [-np.inf, np.inf, np.nan])
def test_padding_may_hold_anything(filler):
    def loss_fn(log_prob, *others):
        return pg.grpo_loss(log_prob, *others, WEIGHT)[0]

    inputs = LOG_PROB, OLD, REFERENCE, PER_TOKEN
    padded = [np.where(WEIGHT > 0, x, np.float32(filler)) for x in inputs]
    value_and_grad = jax.value_and_grad(loss_fn)
    (want, clean), (loss, grad) = value_and_grad(*inputs), value_and_grad(*padded)
    np.testing.assert_array_equal(loss, want)
    np.testing.assert_array_equal(grad, clean)
    np.testing.assert_array_equal(np.asarray(grad)[WEIGHT == 0], 0.0)
    assert np.all(np.asarray(grad)[WEIGHT > 0] != 0)


@each_reduction
def test_without_a_token_the_loss_is_zero(reduction):
    def loss_fn(log_prob):
        nothing = np.zeros_like(WEIGHT)
        inputs = log_prob, OLD, REFERENCE, ADVANTAGE, nothing
        return pg.grpo_loss(*inputs, reduction=reduction)[0]

    loss, grad = jax.value_and_grad(loss_fn)(LOG_PROB)
    assert loss == 0.0
    np.testing.assert_array_equal(grad, np.zeros_like(grad))


def test_all_inputs_but_the_log_probs_are_constants():
    def loss_fn(*inputs):
        return pg.grpo_loss(LOG_PROB, *inputs, WEIGHT, kl_coefficient=0.3)[0]

    for grad in jax.grad(loss_fn, argnums=(0, 1, 2))(OLD, REFERENCE, ADVANTAGE):
        np.testing.assert_array_equal(grad, np.zeros_like(grad))


def test_an_unknown_reduction_is_an_error_that_lists_the_known_ones():
    inputs = LOG_PROB, OLD, REFERENCE, ADVANTAGE, WEIGHT
    with pytest.raises(ValueError, match="unknown reduction 'mean'; known are sequenc"):
        pg.grpo_loss(*inputs, reduction="mean")


@pytest.mark.parametrize("wrong", range(5))
def test_every_input_of_the_loss_is_checked(wrong):
    inputs = [LOG_PROB, OLD, REFERENCE, ADVANTAGE, WEIGHT]
    inputs[wrong] = jnp.zeros((N, T))
    name = ("log_prob", "old_log_prob", "reference_log_prob", "advantage", "weight")
    with pytest.raises(ValueError, match=rf"\b{name[wrong]} .*\(4, 5\)"):
        pg.grpo_loss(*inputs)


# A policy over sequences of two out of three tokens, as a table: preferences for the
# first token, and for the second one given the first. Token 0 ends a sequence.
THETA = rng.normal(size=(4, 3)).astype(np.float32)
SEQUENCES = np.array([[0, 0], *itertools.product((1, 2), range(3))])
LENGTHS = np.where(SEQUENCES[:, 0] == 0, 1, 2)
REWARDS = rng.normal(1.0, 1.0, size=len(SEQUENCES)).astype(np.float32)


def probabilities(theta):
    """Of each sequence, in float64."""
    first, *second = oracles.softmax(np.float64(theta))
    return np.array(
        [
            first[a] * (second[a][b] if length == 2 else 1)
            for (a, b), length in zip(SEQUENCES, LENGTHS, strict=True)
        ]
    )


def group_gradients(advantages, group_size, **settings):
    """The gradient of -grpo_loss for every group that may be drawn, and its chance."""
    groups = np.array(list(itertools.product(range(len(SEQUENCES)), repeat=group_size)))
    weight = (np.arange(2)[:, None, None] < LENGTHS[groups]).swapaxes(0, 1)

    def gain(theta, tokens, reward, weight):
        first, second = tokens  # (group_size,) each
        table = jax.nn.log_softmax(theta)
        log_prob = jnp.stack([table[0][first], table[1 + first, second]])
        log_prob = jnp.where(weight > 0, log_prob, -jnp.inf)  # padding, to be ignored
        advantage = advantages(reward, group_size=group_size)
        old = jax.lax.stop_gradient(log_prob)
        inputs = log_prob, old, old, advantage, weight
        return -pg.grpo_loss(*inputs, clip=jnp.inf, kl_coefficient=0.0, **settings)[0]

    grads = jax.jit(jax.vmap(jax.grad(gain), in_axes=(None, 0, 0, 0)))(
        THETA,
        jnp.asarray(SEQUENCES[groups].transpose(0, 2, 1)),
        jnp.asarray(REWARDS[groups]),
        jnp.asarray(weight, jnp.float32),
    )
    return np.float64(grads), probabilities(THETA)[groups].prod(axis=1)


def expected_gradient(*inputs, **settings):
    """Summed over all groups, each by its probability: no sampling error."""
    grads, chance = group_gradients(*inputs, **settings)
    close(chance.sum(), 1.0, rtol=1e-9)
    return np.tensordot(chance, grads, axes=1)


EXACT = oracles.jacobian(lambda theta: probabilities(theta) @ REWARDS, THETA)


@pytest.mark.parametrize("group_size", [2, 3])
def test_rloo_is_unbiased(group_size):
    got = expected_gradient(pg.rloo_advantages, group_size, reduction="sequence_sums")
    close(got, EXACT, rtol=0, atol=1e-6)
    assert np.abs(EXACT).max() > 0.1


@pytest.mark.parametrize("group_size", [2, 3])
def test_a_mean_that_holds_the_own_reward_shortens_the_gradient(group_size):
    got = expected_gradient(KINDS["centred"], group_size, reduction="sequence_sums")
    close(got, (1 - 1 / group_size) * EXACT, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sequences", "tokens"])
def test_means_over_tokens_turn_the_gradient(reduction):
    got = expected_gradient(pg.rloo_advantages, 2, reduction=reduction)
    # What is left of it beside its projection on the exact one; rounding leaves 1e-6.
    rest = got - np.sum(got * EXACT) / np.sum(EXACT**2) * EXACT
    assert np.linalg.norm(rest) > 1e-3 * np.linalg.norm(got)
