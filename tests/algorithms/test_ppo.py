import functools

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg

GAMMA, LAM = 0.9, 0.8
ONE_STEP = {
    "gamma": GAMMA,
    "lam": LAM,
    "num_epochs": 1,
    "num_minibatches": 1,
    "normalize_advantage": False,
}
NETWORK = probes.linear_network(critic=True)
PARAMS = batches.PARAMS


def run(batch, optimizer=batches.RECORDER, params=PARAMS, key=0, **options):
    update = batches.compiled(pg.ppo, NETWORK, optimizer, **ONE_STEP | options)
    return update(params, batch, key=key)


def gradient(batch, **options):
    learner, metrics = run(batch, **options)
    return learner.opt_state, metrics


def estimates(batch):
    return batches.estimates(PARAMS, batch, gamma=GAMMA, lam=LAM)


@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
def test_at_ratio_one_the_gradient_is_the_policy_gradient(batch):
    batch = batch()
    grads, metrics = gradient(batch, entropy_coefficient=0.3, value_coefficient=0.7)
    _, returns, advantage = estimates(batch)
    scale = batch.weight / batch.weight.sum()
    policy = batches.policy_gradient(PARAMS, batch, advantage, scale)
    entropy = batches.entropy_gradient(PARAMS, batch, scale)
    value = batches.value_gradient(PARAMS, batch, returns, scale)
    batches.assert_close(grads["theta"], policy - 0.3 * entropy)
    batches.assert_close(grads["value"], 0.7 * value)
    assert abs(metrics["kl"]) < 1e-6
    assert metrics["clip_fraction"] == 0.0
    assert metrics["gradient_steps"] == 1.0


# How advantages are normalized, by what over.
NORMALIZED = {
    "minibatch": {"normalize_advantage": True, "normalize_over": "minibatch"},
    "batch": {"normalize_advantage": True, "normalize_over": "batch"},
    "none": {"normalize_advantage": False},
}


@pytest.mark.parametrize("normalize", [False, True])
def test_one_unclipped_step_is_a2c(normalize):
    batch = batches.rollout()
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.1))
    common = {"gamma": GAMMA, "lam": LAM, "entropy_coefficient": 0.3}
    a2c = batches.compiled(
        pg.a2c, NETWORK, optimizer, normalize_advantage=normalize, **common
    )
    want, _ = a2c(PARAMS, batch)
    for mode in ("batch", "minibatch") if normalize else ("none",):
        options = common | NORMALIZED[mode] | {"clip": jnp.inf}
        got, metrics = run(batch, optimizer, **options)
        for name, x in want.params.items():
            np.testing.assert_allclose(got.params[name], x, rtol=0, atol=1e-6)
            assert np.abs(x - PARAMS[name]).max() > 0.05
        assert metrics["clip_fraction"] == 0.0


def off_policy(batch, sigma=0.4):
    """The batch with old log-probs that make the ratios spread around 1."""
    log_ratio = sigma * np.random.default_rng(3).normal(size=batch.reward.shape)
    old = np.float32(batch.log_prob - log_ratio)
    return batch._replace(log_prob=old), np.float64(batch.log_prob) - old


@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
@pytest.mark.parametrize("clip", [0.1, 0.3])
def test_samples_beyond_the_interval_have_no_gradient(batch, clip):
    batch, log_ratio = off_policy(batch())
    grads, metrics = gradient(batch, clip=clip)
    _, _, advantage = estimates(batch)
    ratio = np.exp(log_ratio)
    high, low = ratio > 1 + clip, ratio < 1 - clip
    beyond = (high & (advantage > 0)) | (low & (advantage < 0))
    counts = batch.weight > 0
    # Both sides, and samples that are out of the interval but may come back.
    cases = high & beyond, low & beyond, (high | low) & ~beyond, ~(high | low)
    assert all((x & counts).any() for x in cases)
    scale = batch.weight / batch.weight.sum()
    want = batches.policy_gradient(PARAMS, batch, ratio * advantage, scale * ~beyond)
    batches.assert_close(grads["theta"], want)

    clipped = np.clip(ratio, 1 - clip, 1 + clip)
    loss = -np.minimum(ratio * advantage, clipped * advantage)
    np.testing.assert_allclose(metrics["policy_loss"], (scale * loss).sum(), rtol=1e-4)
    outside = (scale * (high | low)).sum()
    np.testing.assert_allclose(metrics["clip_fraction"], outside, rtol=1e-5)
    # KL(old || new) of the samples: E[ratio - 1 - log ratio].
    kl = (scale * (ratio - 1 - log_ratio)).sum()
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)


def test_a_batch_wholly_beyond_the_interval_leaves_the_policy_alone():
    batch = batches.rollout()
    _, _, advantage = estimates(batch)
    away = np.where(advantage > 0, 0.3, -0.3)  # ratios 1.35 and 0.74
    batch = batch._replace(log_prob=np.float32(batch.log_prob - away))
    grads, metrics = gradient(batch, clip=0.2)
    np.testing.assert_array_equal(grads["theta"], np.zeros((3, 2)))
    assert metrics["clip_fraction"] == pytest.approx(1.0)
    assert np.abs(grads["value"]).max() > 0.01


# Every sample has its own observation, a one-hot one: whose row of the gradient is not
# zero was in the minibatch.
SAMPLES = batches.T * batches.N


def tabular():
    rng = np.random.default_rng(5)
    params = {
        "theta": rng.normal(size=(SAMPLES, 2)).astype(np.float32),
        "value": rng.normal(size=SAMPLES).astype(np.float32),
    }
    obs = np.eye(SAMPLES).reshape(batches.T, batches.N, SAMPLES)
    batch = batches.rollout(obs, params)
    weight = np.ones((batches.T, batches.N), np.float32)
    weight[-1, :2] = 0.0  # some padding, which each minibatch must leave out
    batch.truncated[-2, :2] = True  # after an episode's end, where padding is
    return params, batch._replace(weight=weight)


def recorder(num_steps):
    """Like RECORDER, but keeps the gradients of all steps of an update."""

    def init(params):
        rows = jax.tree.map(lambda x: jnp.zeros((num_steps, *x.shape)), params)
        return jnp.int32(0), rows

    def update(grads, state, params=None):
        count, rows = state
        rows = jax.tree.map(lambda row, x: row.at[count].set(x), rows, grads)
        return jax.tree.map(jnp.zeros_like, grads), (count + 1, rows)

    return optax.GradientTransformation(init, update)


@pytest.mark.parametrize("mode", ["minibatch", "batch", "none"])
def test_minibatches_and_how_their_advantages_are_normalised(mode):
    params, batch = tabular()
    options = {"num_epochs": 2, "num_minibatches": 3} | NORMALIZED[mode]
    learner, metrics = run(batch, recorder(6), params, **options)
    count, rows = learner.opt_state
    assert count == metrics["gradient_steps"] == 6
    rows = jax.tree.map(np.asarray, rows)
    real = batch.weight.reshape(-1) > 0
    members = rows["value"] != 0
    # In each epoch each sample is in one minibatch, and the epochs' shuffles differ.
    for epoch in (members[:3], members[3:]):
        np.testing.assert_array_equal(epoch.sum(0), real)
    assert not np.array_equal(members[:3], members[3:])

    flat = batch._replace(
        **{
            name: getattr(batch, name).reshape(SAMPLES, 1, *rest)
            for name, rest in (("obs", [SAMPLES]), ("action", []))
        }
    )
    value, returns, advantage = batches.estimates(params, batch, gamma=GAMMA, lam=LAM)
    if mode == "batch":
        advantage = batches.standardized(advantage, batch.weight)
    advantage, error = advantage.reshape(-1), (value - returns).reshape(-1)
    for step, member in enumerate(members):
        own = advantage
        if mode == "minibatch":
            own = batches.standardized(advantage, member)
        scale = member / member.sum()
        want = batches.policy_gradient(params, flat, own[:, None], scale[:, None])
        batches.assert_close(rows["theta"][step], want)
        batches.assert_close(rows["value"][step], 0.5 * scale * error)


def old_kl(params, batch):
    """The mean of ratio - 1 - log ratio."""
    log_ratio = batches.log_probs(params, batch.obs, batch.action) - batch.log_prob
    return (np.exp(log_ratio) - 1 - log_ratio).mean()


def test_target_kl_stops_the_rest_of_an_update():
    batch = batches.rollout()
    optimizer = optax.adam(0.1)
    after = [run(batch, optimizer, num_epochs=n)[0] for n in (1, 2)]
    kl = [old_kl(learner.params, batch) for learner in after]
    assert kl[1] > 1.5 * kl[0] > 1e-3
    network = NETWORK

    @jax.jit
    def stopped(target_kl):
        options = ONE_STEP | {"num_epochs": 5, "target_kl": target_kl}
        algorithm = pg.ppo(network, optimizer, **options)
        return batches.update(algorithm, optimizer, PARAMS, batch)

    for target, num_steps in ((kl[0] / 2, 1), ((kl[0] + kl[1]) / 2, 2)):
        learner, metrics = stopped(target)
        assert metrics["gradient_steps"] == num_steps
        # The optimizer's state stops as well.
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            learner,
            after[num_steps - 1],
        )
        # Of the steps taken, each measured before it.
        want = np.mean([0.0, *kl][:num_steps])
        np.testing.assert_allclose(metrics["kl"], want, rtol=1e-3, atol=1e-6)
    learner, metrics = stopped(1e9)
    assert metrics["gradient_steps"] == 5
    want, _ = run(batch, optimizer, num_epochs=5)
    np.testing.assert_allclose(learner.params["theta"], want.params["theta"], 1e-5)


def test_value_clip_stops_a_value_that_has_moved_too_far():
    params, batch = tabular()
    batch = batch._replace(weight=np.ones_like(batch.weight))
    # Each epoch moves V by 1.5 times its error, beyond its target and back.
    optimizer = optax.sgd(1.5 * SAMPLES)
    options = {"num_epochs": 3, "value_coefficient": 1.0}
    learner, _ = run(batch, optimizer, params, value_clip=0.6, **options)
    old, returns, _ = batches.estimates(params, batch, gamma=GAMMA, lam=LAM)
    value, held = old.copy(), []
    for _ in range(3):
        near = old + np.clip(value - old, -0.6, 0.6)
        error, near_error = value - returns, near - returns
        # Where the clipped loss is the larger one, it is constant.
        still = (np.abs(value - old) > 0.6) & (np.abs(near_error) > np.abs(error))
        value = np.where(still, value, value - 1.5 * error)
        held.append(still.sum())
    assert 0 < held[1] < SAMPLES
    np.testing.assert_allclose(learner.params["value"], value.reshape(-1), atol=1e-4)
    unclipped, _ = run(batch, optimizer, params, **options)
    want = (returns - 0.125 * (old - returns)).reshape(-1)
    np.testing.assert_allclose(unclipped.params["value"], want, atol=1e-4)


MINIBATCHES = {
    "num_epochs": 2,
    "num_minibatches": 3,
    "normalize_advantage": True,
    "value_clip": 0.2,
    "entropy_coefficient": 0.1,
}


def test_the_content_of_padding_never_matters():
    batch = batches.episodes()
    results = [
        run(x, optax.sgd(0.5), **MINIBATCHES)
        for x in (batch, batches.with_other_padding(batch))
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_padding_changes_nothing():
    padded, trimmed = batches.equal_episodes(4)
    options = MINIBATCHES | {"num_minibatches": 1}  # with more, the shuffles differ
    got, want = (run(x, optax.sgd(0.5), **options) for x in (padded, trimmed))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, got, want)


def test_a_network_without_a_critic_is_an_error():
    algorithm = pg.ppo(probes.linear_network(), optax.sgd(0.1))
    params = {"theta": PARAMS["theta"]}
    with pytest.raises(ValueError, match="needs a critic"):
        batches.update(algorithm, optax.sgd(0.1), params, batches.rollout())


def test_an_unknown_normalisation_is_an_error():
    with pytest.raises(ValueError, match="unknown normalize_over 'rollout'; known are"):
        pg.ppo(NETWORK, optax.sgd(0.1), normalize_over="rollout")


def test_minibatches_that_do_not_divide_the_samples_are_an_error():
    algorithm = pg.ppo(NETWORK, optax.sgd(0.1), num_minibatches=5)
    with pytest.raises(ValueError, match=r"24 samples .* split into 5 equal"):
        batches.update(algorithm, optax.sgd(0.1), PARAMS, batches.rollout())


def test_an_agent_alone_is_the_same_agent_among_others():
    rollout = pg.unroll(pg.make_env("Countdown-probe"), 4, 8)

    def agent(key, learning_rate, entropy_coefficient, clip, target_kl):
        algorithm = pg.ppo(
            NETWORK,
            optax.sgd(learning_rate),
            clip=clip,
            entropy_coefficient=entropy_coefficient,
            target_kl=target_kl,
            num_minibatches=2,
        )
        return pg.train(key, rollout, algorithm, num_updates=3)

    hyperparameters = {
        "learning_rate": [0.3, 0.2, 0.1],
        "entropy_coefficient": [0.0, 1.0, 0.3],
        "clip": [0.3, 0.01, 0.1],
        "target_kl": [1.0, 0.0005, 0.1],
    }
    probes.assert_same_alone_and_together(agent, hyperparameters)


@pytest.mark.parametrize("name", probes.SOLVABLE)
def test_probes_are_solved_from_every_seed(name):
    algorithm = pg.ppo(NETWORK, optax.adam(0.1))
    rollout = pg.unroll(pg.make_env(name), 32, 4)
    probes.assert_solves(name, rollout, algorithm, num_updates=25)
