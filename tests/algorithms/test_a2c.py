import functools

import batches
import jax
import numpy as np
import optax
import probes
import pytest

import pgjax as pg

GAMMA = 0.9
OPTIONS = {"gamma": GAMMA, "entropy_coefficient": 0.3, "value_coefficient": 0.7}
NETWORK = probes.linear_network(critic=True)


def gradient(batch, **options):
    run = batches.compiled(pg.a2c, NETWORK, batches.RECORDER, **OPTIONS | options)
    learner, metrics = run(batches.PARAMS, batch)
    return learner.opt_state, metrics


@pytest.mark.parametrize(
    "options", [{"lam": 1.0}, {"lam": 0.8}, {"n_step": 1}, {"n_step": 3}], ids=str
)
@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
def test_gradient_and_metrics_are_those_of_the_definition(batch, options):
    batch = batch()
    grads, metrics = gradient(batch, **options)
    _, returns, advantage = batches.estimates(
        batches.PARAMS, batch, gamma=GAMMA, **options
    )
    scale = batch.weight / batch.weight.sum()
    policy = batches.policy_gradient(batches.PARAMS, batch, advantage, scale)
    entropy = batches.entropy_gradient(batches.PARAMS, batch, scale)
    value = batches.value_gradient(batches.PARAMS, batch, returns, scale)
    theta = policy - 0.3 * entropy
    batches.assert_close(grads["theta"], theta)
    batches.assert_close(grads["value"], 0.7 * value)

    log_prob = batches.log_probs(batches.PARAMS, batch.obs, batch.action)
    error = batch.obs @ batches.PARAMS["value"] - returns
    want = {
        "policy_loss": -(scale * advantage * log_prob).sum(),
        "value_loss": 0.5 * (scale * np.square(error)).sum(),
        "entropy": (scale * batches.entropies(batches.PARAMS, batch.obs)).sum(),
        "gradient_norm": np.sqrt(np.square(theta).sum() + np.square(0.7 * value).sum()),
    }
    assert metrics.keys() == want.keys()
    for name, x in want.items():
        np.testing.assert_allclose(metrics[name], x, 1e-5, 1e-6, err_msg=name)


@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
def test_normalised_advantages_have_mean_zero_and_variance_one(batch):
    batch = batch()
    grads, _ = gradient(batch, lam=0.8, normalize_advantage=True)
    _, returns, advantage = batches.estimates(
        batches.PARAMS, batch, gamma=GAMMA, lam=0.8
    )
    scale = batch.weight / batch.weight.sum()
    advantage = batches.standardized(advantage, batch.weight)
    policy = batches.policy_gradient(batches.PARAMS, batch, advantage, scale)
    entropy = batches.entropy_gradient(batches.PARAMS, batch, scale)
    batches.assert_close(grads["theta"], policy - 0.3 * entropy)
    # The critic's target stays in units of return.
    value = batches.value_gradient(batches.PARAMS, batch, returns, scale)
    batches.assert_close(grads["value"], 0.7 * value)


@pytest.mark.parametrize("options", [{"lam": 0.8, "normalize_advantage": True}])
def test_the_content_of_padding_never_matters(options):
    batch = batches.episodes()
    results = [
        gradient(x, **options) for x in (batch, batches.with_other_padding(batch))
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_padding_changes_nothing():
    padded, trimmed = batches.equal_episodes(4)
    options = {"lam": 0.8, "normalize_advantage": True}
    got, want = (gradient(x, **options) for x in (padded, trimmed))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), got, want)


def test_a_network_without_a_critic_is_an_error():
    network = probes.linear_network()
    algorithm = pg.a2c(network, optax.sgd(0.1))
    params = {"theta": batches.PARAMS["theta"]}
    with pytest.raises(ValueError, match="needs a critic"):
        batches.update(algorithm, optax.sgd(0.1), params, batches.rollout())


def test_an_agent_alone_is_the_same_agent_among_others():
    rollout = pg.unroll(pg.make_env("Countdown-probe"), 4, 8)

    def run(key, learning_rate, entropy_coefficient, gamma):
        algorithm = pg.a2c(
            NETWORK,
            optax.sgd(learning_rate),
            gamma=gamma,
            entropy_coefficient=entropy_coefficient,
        )
        return pg.train(key, rollout, algorithm, num_updates=3)

    hyperparameters = {
        "learning_rate": [0.1, 0.2, 0.3],
        "entropy_coefficient": [0.0, 1.0, 0.3],
        "gamma": [0.5, 0.9, 1.0],
    }
    probes.assert_same_alone_and_together(run, hyperparameters)


@pytest.mark.parametrize("name", probes.SOLVABLE)
def test_probes_are_solved_from_every_seed(name):
    algorithm = pg.a2c(NETWORK, optax.adam(0.1))
    rollout = pg.unroll(pg.make_env(name), 32, 4)
    probes.assert_solves(name, rollout, algorithm, num_updates=60)
