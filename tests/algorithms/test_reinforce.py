import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from batches import with_other_padding

import pgjax as pg

# An optimizer that changes nothing and keeps the gradient as its state.
RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda grads, state, params=None: (
        jax.tree.map(jnp.zeros_like, grads),
        grads,
    ),
)


def gradient(network, params, batch, **options):
    """The gradient and the metrics of one update."""
    algorithm = pg.reinforce(network, RECORDER, **options)
    learner, metrics = algorithm.update(
        jax.random.key(0), pg.Learner(params, RECORDER.init(params)), batch
    )
    return learner.opt_state, metrics


def numpy_returns(reward, weight, gamma):
    """In float64, like all oracles here, from the equation alone."""
    returns = np.zeros(reward.shape)
    following = np.zeros(reward.shape[1])
    for t in reversed(range(len(reward))):
        following = weight[t] * (reward[t] + gamma * following)
        returns[t] = following
    return returns


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def logits_gradient(logits, action, advantage):
    """Of sum -A log pi(a), by hand: A (pi - one_hot(a))."""
    return advantage[..., None] * (softmax(logits) - np.eye(2)[action])


def article_gradient(params, obs, action, advantage):
    """Of sum -A log pi(a) through the 4-128-2 ReLU network, by hand."""
    dense = params["actor"]["params"]
    w1, b1 = (np.float64(dense["Dense_0"][name]) for name in ("kernel", "bias"))
    w2, b2 = (np.float64(dense["Dense_1"][name]) for name in ("kernel", "bias"))
    before = obs @ w1 + b1
    hidden = np.maximum(before, 0)
    to_logits = logits_gradient(hidden @ w2 + b2, action, advantage)
    to_before = to_logits @ w2.T * (before > 0)
    first = {"kernel": obs.T @ to_before, "bias": to_before.sum(0)}
    last = {"kernel": hidden.T @ to_logits, "bias": to_logits.sum(0)}
    return {"actor": {"params": {"Dense_0": first, "Dense_1": last}}}


@pytest.fixture(scope="module")
def cartpole():
    """The article's network, and 4 complete episodes of it."""
    env = pg.make_env("CartPole-v1", time_limit_terminates=True)
    network = pg.mlp_policy(env)
    rollout = pg.episodes(env, 4)
    policy = pg.reinforce(network, RECORDER).policy

    @jax.jit
    def collect(key):
        params = network.init(key, jnp.zeros((4, 4)))
        return params, rollout.collect(key, policy, params, ())[1]

    return network, *jax.tree.map(np.asarray, collect(jax.random.key(0)))


@pytest.mark.parametrize("baseline", [pg.no_baseline, pg.episode_mean])
def test_gradient_of_the_articles_loss(cartpole, baseline):
    network, params, batch = cartpole
    counts = batch.weight > 0
    lengths = counts.sum(0)
    assert (lengths >= 8).all()
    assert len(set(lengths)) > 1
    # The article, episode by episode: only what counts, no padding.
    obs, action, advantage = [], [], []
    for episode, length in enumerate(lengths):
        rewards = np.float64(batch.reward[:length, episode])
        returns = [
            sum(0.99**k * r for k, r in enumerate(rewards[t:])) for t in range(length)
        ]
        mean = np.mean(returns) if baseline is pg.episode_mean else 0.0
        advantage.append(np.array(returns) - mean)
        obs.append(batch.obs[:length, episode])
        action.append(batch.action[:length, episode])
    flat = [np.concatenate(x) for x in (obs, action, advantage)]
    want = article_gradient(params, np.float64(flat[0]), *flat[1:])

    run = functools.partial(
        gradient, network, gamma=0.99, baseline=baseline, reduction="sum"
    )
    got, metrics = jax.jit(run)(params, batch)
    jax.tree.map(assert_same_gradient, got, want)
    # The article logs the sample variance of the baselined returns.
    variance = np.var(flat[2], ddof=1)
    np.testing.assert_allclose(metrics["advantage_variance"], variance, rtol=1e-5)
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(want)))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)


def assert_same_gradient(got, want):
    assert np.linalg.norm(got - want) < 1e-5 * np.linalg.norm(want)


LENGTHS = np.array([6, 1, 4, 3, 6])
GAMMA = 0.9


@pytest.fixture(scope="module")
def batch():
    """Five episodes: some terminated, some truncated, one both; padding is random."""
    rng = np.random.default_rng(0)
    shape = 6, 5
    time = np.arange(6)[:, None]
    last = time == LENGTHS - 1
    padding = time >= LENGTHS
    noise = rng.random(shape) < 0.5
    return pg.Transition(
        obs=rng.normal(size=(*shape, 3)).astype(np.float32),
        action=rng.integers(0, 2, shape),
        log_prob=rng.normal(size=shape).astype(np.float32),
        reward=rng.normal(size=shape).astype(np.float32),
        terminated=np.where(padding, noise, last & [True, True, False, True, False]),
        truncated=np.where(padding, noise, last & [False, False, True, True, True]),
        next_obs=rng.normal(size=(*shape, 3)).astype(np.float32),
        weight=(~padding).astype(np.float32),
    )


PARAMS = {
    "theta": np.array([[0.5, -0.2], [0.1, 0.4], [-0.3, 0.7]], np.float32),
    "value": np.array([0.3, -0.6, 0.2], np.float32),
}


@functools.cache
def compiled(critic=False, **options):
    network = probes.linear_network(critic)
    options = {"gamma": GAMMA} | options
    return jax.jit(functools.partial(gradient, network, **options))


def theta_gradient(batch, advantage, scale):
    to_logits = logits_gradient(batch.obs @ PARAMS["theta"], batch.action, advantage)
    return np.einsum("tn,tnd,tna->da", scale, np.float64(batch.obs), to_logits)


@pytest.mark.parametrize("reduction", ["episodes", "steps", "sum"])
def test_reductions(batch, reduction):
    grads, metrics = compiled(reduction=reduction)(PARAMS, batch)
    returns = numpy_returns(batch.reward, batch.weight, GAMMA)
    divisor = {"episodes": 5, "steps": LENGTHS.sum(), "sum": 1}[reduction]
    scale = batch.weight / divisor
    want = theta_gradient(batch, returns, scale)
    np.testing.assert_allclose(grads["theta"], want, rtol=1e-4)
    probs = softmax(batch.obs @ PARAMS["theta"])
    log_prob = np.log(np.take_along_axis(probs, batch.action[..., None], -1))[..., 0]
    want = -(scale * returns * log_prob).sum()
    np.testing.assert_allclose(metrics["policy_loss"], want, rtol=1e-4)


def test_discount_states_weighs_step_t_by_gamma_to_the_t(batch):
    grads, _ = compiled(discount_states=True)(PARAMS, batch)
    returns = numpy_returns(batch.reward, batch.weight, GAMMA)
    scale = batch.weight * GAMMA ** np.arange(6)[:, None] / 5
    want = theta_gradient(batch, returns, scale)
    np.testing.assert_allclose(grads["theta"], want, rtol=1e-4)


def test_normalised_advantages_have_mean_zero_and_variance_one(batch):
    grads, _ = compiled(normalize_advantage=True)(PARAMS, batch)
    returns = numpy_returns(batch.reward, batch.weight, GAMMA)
    real = returns[batch.weight > 0]
    advantage = (returns - real.mean()) / real.std(ddof=1)
    want = theta_gradient(batch, advantage, batch.weight / 5)
    np.testing.assert_allclose(grads["theta"], want, rtol=1e-4)


@pytest.mark.parametrize("num_episodes", [2, 5])
def test_normalised_constant_advantages_are_zero(batch, num_episodes):
    one_step = jax.tree.map(lambda x: x[:1, :num_episodes], batch)
    one_step = one_step._replace(
        reward=np.ones((1, num_episodes), np.float32),
        terminated=np.ones((1, num_episodes), bool),
    )
    grads, metrics = compiled(normalize_advantage=True)(PARAMS, one_step)
    np.testing.assert_array_equal(grads["theta"], np.zeros((3, 2)))
    assert all(np.isfinite(x) for x in metrics.values())


def test_entropy_bonus_descends_on_negative_entropy(batch):
    plain, metrics = compiled(reduction="episodes")(PARAMS, batch)
    bonus, _ = compiled(entropy_coefficient=0.5)(PARAMS, batch)
    probs = softmax(batch.obs @ PARAMS["theta"])
    entropy = -(probs * np.log(probs)).sum(-1)
    # dH / dlogits = -p (log p + H), by hand.
    to_logits = probs * (np.log(probs) + entropy[..., None])
    scale = batch.weight / 5
    want = 0.5 * np.einsum("tn,tnd,tna->da", scale, batch.obs, to_logits)
    np.testing.assert_allclose(bonus["theta"] - plain["theta"], want, atol=1e-5)
    mean = (batch.weight * entropy).sum() / LENGTHS.sum()
    np.testing.assert_allclose(metrics["entropy"], mean, rtol=1e-5)


VARIANTS = {
    "plain": {"reduction": "sum"},
    "episode mean": {"baseline": pg.episode_mean},
    "batch mean": {"baseline": pg.batch_mean},
    "leave one out": {"baseline": pg.leave_one_out},
    "value": {"critic": True, "baseline": pg.value_baseline},
    "normalised": {"normalize_advantage": True},
    "entropy": {"entropy_coefficient": 0.5},
    "discounted states": {"discount_states": True},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_content_of_padding_never_matters(batch, options):
    changed = with_other_padding(batch)
    assert not np.array_equal(batch.reward, changed.reward)
    results = [compiled(**options)(PARAMS, x) for x in (batch, changed)]
    # Only zeros are added: no rounding can differ.
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_users_own_baseline_is_subtracted(batch):
    def own(returns, weight, value):
        assert returns.shape == weight.shape == (6, 5)
        assert value is None
        return jnp.full((1, 5), 3.0)

    grads, _ = compiled(baseline=own)(PARAMS, batch)
    returns = numpy_returns(batch.reward, batch.weight, GAMMA)
    want = theta_gradient(batch, returns - 3.0, batch.weight / 5)
    np.testing.assert_allclose(grads["theta"], want, rtol=1e-4)


def test_gamma_may_be_a_tracer(batch):
    network = probes.linear_network()

    def run(gamma):
        return gradient(network, PARAMS, batch, gamma=gamma, discount_states=True)[0]

    gammas = np.array([0.0, 0.5, 1.0], np.float32)
    got = jax.jit(jax.vmap(run))(gammas)["theta"]
    for row, gamma in zip(got, gammas, strict=True):
        returns = numpy_returns(batch.reward, batch.weight, gamma)
        scale = batch.weight * gamma ** np.arange(6)[:, None] / 5
        want = theta_gradient(batch, returns, scale)
        np.testing.assert_allclose(row, want, rtol=1e-4)


def test_truncation_bootstraps_from_next_obs_and_termination_does_not(batch):
    grads, metrics = compiled(critic=True, baseline=pg.value_baseline)(PARAMS, batch)
    value, next_value = (
        np.float64(x) @ PARAMS["value"] for x in (batch.obs, batch.next_obs)
    )
    returns = np.zeros((6, 5))
    for episode, length in enumerate(LENGTHS):
        terminated = batch.terminated[length - 1, episode]
        following = 0.0 if terminated else next_value[length - 1, episode]
        for t in reversed(range(length)):
            following = batch.reward[t, episode] + GAMMA * following
            returns[t, episode] = following
    error = value - returns
    per_step = batch.weight / LENGTHS.sum()
    want = theta_gradient(batch, -error, batch.weight / 5)
    np.testing.assert_allclose(grads["theta"], want, rtol=1e-4)
    want = 0.5 * np.einsum("tn,tnd->d", per_step * error, batch.obs)
    np.testing.assert_allclose(grads["value"], want, rtol=1e-4)
    want = (per_step * np.square(error)).sum() / 2
    np.testing.assert_allclose(metrics["value_loss"], want, rtol=1e-4)


@pytest.mark.parametrize(
    ("ending", "value"),
    [
        # Bootstrapped at the limit, the reward goes on for ever: r / (1 - gamma).
        ("Truncates", 2.0),
        # The mean of 1.75, 1.5 and 1, which one observation cannot tell apart.
        ("Terminates", 4.25 / 3),
    ],
)
def test_the_critic_of_a_constant_reward_converges(ending, value):
    env = pg.make_env(f"Constant{ending}-probe")
    algorithm = pg.reinforce(
        probes.linear_network(critic=True),
        optax.sgd(0.5),
        gamma=0.5,
        baseline=pg.value_baseline,
        value_coefficient=1.0,
    )
    run = functools.partial(
        pg.train,
        rollout=pg.episodes(env, 2),
        algorithm=algorithm,
        num_updates=100,
    )
    state, _ = jax.jit(run)(jax.random.key(0))
    # Deterministic, and each update shrinks the error by a third at least: 1e-17.
    np.testing.assert_allclose(state.learner.params["value"], [value], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "obs", "best"),
    [
        ("Bandit-probe", [[1.0], [-1.0]], [1, 0]),
        ("Delayed-probe", [[1.0, 0.0]], [1]),
    ],
)
def test_probes_are_solved_from_every_seed(name, obs, best):
    algorithm = pg.reinforce(probes.linear_network(), optax.adam(0.1))
    run = functools.partial(
        pg.train,
        rollout=pg.episodes(pg.make_env(name), 32),
        algorithm=algorithm,
        num_updates=80,
    )
    run = jax.jit(run)
    first = []
    for key in jax.random.split(jax.random.key(0), 8):
        state, metrics = run(key)
        policy = algorithm.policy(state.learner.params, np.array(obs, np.float32))
        np.testing.assert_array_equal(policy.mode(), best)
        curve = np.asarray(metrics["episode_return"])
        # Late episodes are right with probability p > 0.95: 320 of them, sampled.
        assert curve[-10:].mean() > 0.95 - 5 * np.sqrt(0.95 * 0.05 / 320)
        first.append(curve[0])
    # It begins at chance: 8 x 32 coins.
    assert abs(np.mean(first) - 0.5) < 5 * 0.5 / np.sqrt(8 * 32)


def test_unknown_reduction_is_an_error():
    with pytest.raises(
        ValueError, match="unknown reduction 'mean'; known are episodes"
    ):
        pg.reinforce(probes.linear_network(), RECORDER, reduction="mean")


def test_value_baseline_without_a_critic_is_an_error(batch):
    with pytest.raises(ValueError, match="value baseline needs a critic"):
        gradient(probes.linear_network(), PARAMS, batch, baseline=pg.value_baseline)


def test_cut_episodes_are_an_error_that_names_the_remedy():
    algorithm = pg.reinforce(probes.linear_network(), RECORDER)
    rollout = pg.unroll(pg.make_env("Bandit-probe"), 2, 3)
    with pytest.raises(ValueError, match=r"complete episodes.*use pg\.episodes"):
        pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)
    with pytest.raises(ValueError, match=r"complete episodes.*use pg\.episodes"):
        pg.init_train_state(jax.random.key(0), rollout, algorithm)


def test_a_baseline_is_a_function():
    with pytest.raises(ValueError, match=r"pg\.leave_one_out, got 'leave_one_out'"):
        pg.reinforce(probes.linear_network(), optax.sgd(1.0), baseline="leave_one_out")
