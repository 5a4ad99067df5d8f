import functools

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import probes
import pytest
from turns import slow

import pgjax as pg

GAMMA, LAM = 0.9, 0.8
OPTIONS = {
    "gamma": GAMMA,
    "lam": LAM,
    "max_kl": 0.02,
    "num_epochs": 1,
    "num_minibatches": 1,
}
NETWORK = probes.linear_network(critic=True)
PARAMS = batches.PARAMS
DAMPING = 0.1  # the default


def run(batch, optimizer=batches.RECORDER, **options):
    update = batches.compiled(pg.trpo, NETWORK, optimizer, **OPTIONS | options)
    return update(PARAMS, batch)


def fisher(params, batch, scale):
    """sum_t scale_t kron(obs obs^T, diag(pi) - pi pi^T): of the linear softmax."""
    obs = np.float64(batch.obs)
    probs = oracles.softmax(obs @ params["theta"])
    total = np.zeros((6, 6))
    for t, i in np.ndindex(*scale.shape):
        p = probs[t, i]
        block = np.kron(np.outer(obs[t, i], obs[t, i]), np.diag(p) - np.outer(p, p))
        total += scale[t, i] * block
    return total


@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
@pytest.mark.parametrize("normalize", [True, False])
def test_without_backtracks_it_is_the_natural_policy_gradient(batch, normalize):
    batch = batch()
    learner, metrics = run(batch, max_backtracks=0, normalize_advantage=normalize)
    _, returns, advantage = batches.estimates(PARAMS, batch, gamma=GAMMA, lam=LAM)
    if normalize:
        advantage = batches.standardized(advantage, batch.weight)
    scale = batch.weight / batch.weight.sum()
    grads = batches.policy_gradient(PARAMS, batch, advantage, scale).ravel()
    damped = fisher(PARAMS, batch, scale) + DAMPING * np.eye(6)
    direction = np.linalg.solve(damped, grads)
    step = -np.sqrt(2 * 0.02 / (direction @ grads)) * direction
    batches.assert_close(
        learner.params["theta"] - PARAMS["theta"], step.reshape(3, 2), 1e-4
    )
    # The critic's part is the optimizer's, and the optimizer's is the critic's.
    value = batches.value_gradient(PARAMS, batch, returns, scale)
    batches.assert_close(learner.opt_state["value"], value)
    np.testing.assert_array_equal(learner.opt_state["theta"], np.zeros((3, 2)))

    norms = np.linalg.norm(grads), np.linalg.norm(step)
    for name, norm in zip(("gradient_norm", "step_norm"), norms, strict=True):
        np.testing.assert_allclose(metrics[name], norm, rtol=1e-4)
    entropy = (scale * batches.entropies(PARAMS, batch.obs)).sum()
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)
    error = batch.obs @ PARAMS["value"] - returns
    want = 0.5 * (scale * np.square(error)).sum()
    np.testing.assert_allclose(metrics["value_loss"], want, rtol=1e-5)


@pytest.mark.parametrize("batch", [batches.rollout, batches.episodes])
def test_backtracks_shorten_that_step_until_bound_and_improvement_hold(batch):
    # Rather far a bound, where the quadratic model is wrong.
    batch = batch()
    full, _ = run(batch, max_backtracks=0, max_kl=1.0)
    learner, metrics = run(batch, max_kl=1.0)
    full, step = (
        np.float64(x.params["theta"]) - PARAMS["theta"] for x in (full, learner)
    )
    scale = np.linalg.norm(step) / np.linalg.norm(full)
    backtracks = round(np.log(scale) / np.log(0.8))
    batches.assert_close(step, 0.8**backtracks * full)

    weight = batch.weight / batch.weight.sum()
    _, _, advantage = batches.estimates(PARAMS, batch, gamma=GAMMA, lam=LAM)
    advantage = batches.standardized(advantage, batch.weight)

    def outcome(step):
        new = PARAMS | {"theta": PARAMS["theta"] + step}
        log_prob = batches.log_probs(new, np.float64(batch.obs), batch.action)
        loss = -(weight * np.exp(log_prob - batch.log_prob) * advantage).sum()
        old, new = (
            oracles.softmax(np.float64(batch.obs) @ x["theta"]) for x in (PARAMS, new)
        )
        return (weight * (old * np.log(old / new)).sum(-1)).sum(), loss

    kl, loss = outcome(step)
    assert kl <= 1.0
    assert loss < outcome(0.0)[1]
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(metrics["policy_loss"], loss, rtol=1e-4)
    if backtracks > 0:
        kl, loss = outcome(step / 0.8)
        assert kl > 1.0 or loss > outcome(0.0)[1]


@pytest.mark.parametrize("optimizer", ["adamw", slow("adam")])
def test_fitting_the_critic_leaves_the_policy_alone(optimizer):
    batch = batches.rollout()
    make = functools.cache(getattr(optax, optimizer))
    short, long = (
        run(batch, make(0.1), num_epochs=n, num_minibatches=2)[0] for n in (1, 10)
    )
    np.testing.assert_array_equal(short.params["theta"], long.params["theta"])
    assert np.abs(short.params["value"] - long.params["value"]).max() > 0.1


def test_the_critic_approaches_its_least_squares_fit():
    batch = batches.episodes()
    learner, _ = run(batch, optax.sgd(0.5), num_epochs=300)
    _, returns, _ = batches.estimates(PARAMS, batch, gamma=GAMMA, lam=LAM)
    real = batch.weight > 0
    want, *_ = np.linalg.lstsq(np.float64(batch.obs[real]), returns[real])
    batches.assert_close(learner.params["value"], want, 1e-3)


def test_the_content_of_padding_never_matters():
    batch = batches.episodes()
    results = [
        run(x, optax.sgd(0.5), num_epochs=2, num_minibatches=3)
        for x in (batch, batches.with_other_padding(batch))
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_padding_changes_nothing():
    padded, trimmed = batches.equal_episodes(4)
    got, want = (run(x, optax.sgd(0.5), num_epochs=2) for x in (padded, trimmed))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, got, want)


def test_a_gradient_that_cancels_is_no_step():
    """Everybody saw and did the same: advantages of mean 0 then cancel, to rounding."""
    batch = batches.rollout()
    same = jax.tree.map(lambda x: np.broadcast_to(x[:1, :1], x.shape), batch)
    batch = same._replace(reward=batch.reward)
    learner, _ = run(batch, max_backtracks=0)
    np.testing.assert_array_equal(learner.params["theta"], PARAMS["theta"])


def test_a_gradient_that_is_small_is_a_step_like_any_other():
    """A policy that is sure of what is wrong: its scores are tiny, but none cancels."""
    batch = batches.rollout()
    obs = np.broadcast_to(batch.obs[:1, :1], batch.obs.shape)
    far = np.linalg.norm(obs[0, 0])
    theta = np.outer(obs[0, 0], [8.0, -8.0]) / far**2  # logits 16 apart
    params = {"theta": theta.astype(np.float32), "value": np.zeros(3, np.float32)}
    batch = batch._replace(
        obs=obs,
        action=np.zeros_like(batch.action),
        log_prob=np.zeros_like(batch.log_prob),
        reward=-np.ones_like(batch.reward),
        terminated=np.ones_like(batch.terminated),
    )
    update = batches.compiled(
        pg.trpo, NETWORK, batches.RECORDER, **OPTIONS, normalize_advantage=False
    )
    learner, _ = update(params, batch)
    step = (learner.params["theta"] - params["theta"])[:, 0] @ obs[0, 0]
    assert step < -0.05


TASKS = {
    # A limit of 12 steps: truncations, terminations and horizons in each rollout.
    "CartPole": lambda: pg.make_env("CartPole-v1", time_limit=12),
    "Target": lambda: pg.make_env("Target-probe"),
}


@pytest.fixture(scope="module", params=TASKS)
def history(request):
    """Of twenty updates each: the policy before, the one after, and the metrics."""
    env = TASKS[request.param]()
    network = pg.actor_critic(env, (8,))
    algorithm = pg.trpo(network, optax.adam(0.01), max_kl=0.05)
    rollout = pg.unroll(env, 4, 16)

    def step(state, _):
        _, rollout_key, _ = jax.random.split(state.key, 3)  # as a train step does
        _, batch, _ = rollout.collect(
            rollout_key, algorithm.policy, state.learner.params, state.rollout_state
        )
        after, metrics = pg.train_step(state, rollout, algorithm)
        old, new = (
            algorithm.policy(x.learner.params, batch.obs) for x in (state, after)
        )
        return after, (old, new, metrics)

    @jax.jit
    def play(key):
        state = pg.init_train_state(key, rollout, algorithm)
        return jax.lax.scan(step, state, length=20)[1]

    return jax.tree.map(np.float64, play(jax.random.key(0)))


def numpy_kl(old, new):
    """(updates,) mean KL(old || new) from the definitions, in float64."""
    if isinstance(old, pg.Categorical):
        p, q = oracles.softmax(old.logits), oracles.softmax(new.logits)
        return (p * np.log(p / q)).sum(-1).mean((1, 2))
    ratio = np.exp(2 * (old.log_std - new.log_std))
    shift = np.square((old.mean - new.mean) * np.exp(-new.log_std))
    return 0.5 * (ratio - np.log(ratio) - 1 + shift).sum(-1).mean((1, 2))


def test_no_update_exceeds_the_bound(history):
    old, new, metrics = history
    kl = numpy_kl(old, new)
    assert (kl <= 0.05 * (1 + 1e-3)).all()
    # The network's outputs are rounded, and so is what is left of them in float32.
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-3, atol=1e-6)
    # The bound is what limits the steps.
    assert (kl > 0.05 * 0.5).sum() >= 10


def test_no_update_makes_the_surrogate_worse(history):
    _, _, metrics = history
    # Normalised advantages have mean 0, and so has the surrogate before the update.
    loss = metrics["policy_loss"]
    assert (loss <= 1e-6).all()
    assert (loss < -0.01).sum() >= 10


def jitted(network):
    return network._replace(apply=jax.jit(network.apply))


@pytest.mark.parametrize("wrap", [lambda x: x, jitted], ids=["plain", "jitted"])
def test_a_critic_that_shares_parameters_is_an_error(wrap):
    env = pg.make_env("CartPole-v1")
    network = wrap(pg.actor_critic(env, (8,), shared_torso=True))
    algorithm = pg.trpo(network, optax.sgd(0.1))
    rollout = pg.unroll(env, 2, 2)
    with pytest.raises(ValueError, match="share torso/params/Dense_0/bias, torso"):
        jax.eval_shape(
            lambda key: pg.train(key, rollout, algorithm, num_updates=1),
            jax.random.key(0),
        )


def test_a_network_without_a_critic_is_an_error():
    algorithm = pg.trpo(probes.linear_network(), optax.sgd(0.1))
    params = {"theta": PARAMS["theta"]}
    with pytest.raises(ValueError, match="needs a critic"):
        batches.update(algorithm, optax.sgd(0.1), params, batches.rollout())


def test_an_agent_alone_is_the_same_agent_among_others():
    rollout = pg.unroll(pg.make_env("Countdown-probe"), 4, 8)

    def agent(key, learning_rate, max_kl, damping):
        algorithm = pg.trpo(
            NETWORK,
            optax.sgd(learning_rate),
            max_kl=max_kl,
            damping=damping,
            num_epochs=2,
            num_minibatches=2,
        )
        return pg.train(key, rollout, algorithm, num_updates=3)

    hyperparameters = {
        "learning_rate": [0.3, 0.2, 0.1],
        "max_kl": [0.01, 0.05, 0.5],
        "damping": [0.1, 1.0, 0.01],
    }
    probes.assert_same_alone_and_together(agent, hyperparameters)


@pytest.mark.parametrize("name", probes.SOLVABLE)
def test_probes_are_solved_from_every_seed(name):
    algorithm = pg.trpo(NETWORK, optax.adam(0.1), max_kl=0.1)
    rollout = pg.unroll(pg.make_env(name), 32, 4)
    probes.assert_solves(name, rollout, algorithm, num_updates=30)


def test_a_continuous_probe_is_solved():
    algorithm = pg.trpo(probes.gaussian_network(1), optax.adam(0.1), max_kl=0.1)
    rollout = pg.unroll(pg.make_env("Target-probe"), 32, 4)
    run = jax.jit(
        functools.partial(
            pg.train, rollout=rollout, algorithm=algorithm, num_updates=40
        )
    )
    state, metrics = run(jax.random.key(0))
    policy = algorithm.policy(state.learner.params, jnp.array([[1.0], [-1.0]]))
    assert np.abs(policy.mode() - np.array([[0.5], [-0.5]])).max() < 0.1
    assert policy.std.max() < 0.2
    # Its first policy, a clipped standard normal, loses more than it does in the end.
    curve = metrics["episode_return"]
    assert curve[0] < -0.5
    assert curve[-5:].mean() > -0.05
