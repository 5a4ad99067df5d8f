"""pgjax beside rlax, which DeepMind maintains: values and gradients, extremes included.

rlax knows no truncation: a step's discount is gamma, or 0 where the episode terminated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given
from hypothesis import strategies as st

import pgjax as pg

LENGTHS = 1, 6


@st.composite
def rollouts(draw):
    """Rewards, values (T + 1,), flags, coefficients and log-ratios of one rollout."""
    length = draw(st.sampled_from(LENGTHS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    ended = {
        "none": np.zeros(length, bool),
        "all": np.ones(length, bool),
        "some": rng.random(length) < 0.3,
    }[draw(st.sampled_from(["none", "all", "some"]))]
    return {
        "reward": np.float32(scale * rng.normal(size=length)),
        "values": np.float32(scale * rng.normal(size=length + 1)),
        "terminated": ended,
        "gamma": np.float32(draw(st.sampled_from([0.0, 0.9, 1.0]))),
        "lam": np.float32(draw(st.sampled_from([0.0, 0.7, 1.0]))),
        "log_ratio": np.float32(rng.normal(size=length)),
        "weights": np.float32(rng.normal(size=length)),
        "scale": scale,
    }


def flags(x):
    return x["terminated"], jnp.zeros_like(x["terminated"])


def discount(x):
    return x["gamma"] * (1.0 - x["terminated"])


PAIRS = {
    "discounted_returns": (
        lambda r, v, x: pg.discounted_returns(r, *flags(x), gamma=x["gamma"]),
        lambda r, v, x: rlax.discounted_returns(r, discount(x), jnp.zeros_like(r)),
    ),
    "lambda_returns": (
        lambda r, v, x: pg.lambda_returns(
            r, v[1:], *flags(x), gamma=x["gamma"], lam=x["lam"]
        ),
        lambda r, v, x: rlax.lambda_returns(r, discount(x), v[1:], x["lam"]),
    ),
    "n_step_returns": (
        lambda r, v, x: pg.n_step_returns(r, v[1:], *flags(x), gamma=x["gamma"], n=3),
        lambda r, v, x: rlax.n_step_bootstrapped_returns(r, discount(x), v[1:], 3),
    ),
    "gae": (
        lambda r, v, x: pg.gae(
            r, v[:-1], v[1:], *flags(x), gamma=x["gamma"], lam=x["lam"]
        ),
        lambda r, v, x: rlax.truncated_generalized_advantage_estimation(
            r, discount(x), x["lam"], v
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@given(x=rollouts())
def test_returns_and_their_gradients(name, x):
    results = []
    for fn in PAIRS[name]:

        def weighed(r, v, x, fn=fn):
            y = fn(r, v, x)
            return jnp.sum(x["weights"] * y), y

        gradient = _jitted(weighed, name, fn)
        results.append(gradient(x["reward"], x["values"], x))
    (ours, grads), (theirs, their_grads) = results
    tolerance = {"rtol": 2e-5, "atol": 2e-5 * x["scale"]}
    np.testing.assert_allclose(ours, theirs, **tolerance)
    assert np.isfinite(ours).all()
    for one, other in zip(grads, their_grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


_JITTED = {}


def _jitted(fn, name, which):
    if (name, which) not in _JITTED:

        def both(r, v, x):
            grads, y = jax.grad(fn, argnums=(0, 1), has_aux=True)(r, v, x)
            return y, grads

        _JITTED[name, which] = jax.jit(both)
    return _JITTED[name, which]


@jax.jit
def vtraces(x):
    v, ratio = x["values"], x["log_ratio"]
    ours = pg.vtrace(
        x["reward"], v[:-1], v[1:], *flags(x), ratio, gamma=x["gamma"], lam=x["lam"]
    )
    theirs = rlax.vtrace_td_error_and_advantage(
        v[:-1], v[1:], x["reward"], discount(x), jnp.exp(ratio), x["lam"]
    )
    return ours, (theirs.errors + v[:-1], theirs.pg_advantage)


@given(x=rollouts())
def test_vtrace(x):
    (target, advantage), (their_target, their_advantage) = vtraces(x)
    close = {"rtol": 5e-5, "atol": 5e-5 * x["scale"]}
    np.testing.assert_allclose(target, their_target, **close)
    # With lambda < 1 rlax mixes V(s') into what the paper has as the next target.
    if x["lam"] == 1.0:
        np.testing.assert_allclose(advantage, their_advantage, **close)


@st.composite
def decisions(draw):
    """Logits (6, 3), some of them extreme, actions, advantages and old log-probs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 1.0, 100.0]))
    return {
        "logits": np.float32(scale * rng.uniform(-1, 1, (6, 3))),
        "action": rng.integers(0, 3, 6),
        "advantage": np.float32(
            draw(st.sampled_from([1e-6, 1.0, 1e6])) * rng.normal(size=6)
        ),
        "shift": np.float32(0.5 * rng.normal(size=6)),
    }


def our_losses(logits, x):
    distribution = pg.Categorical(logits)
    log_prob = distribution.log_prob(x["action"])
    old = jax.lax.stop_gradient(log_prob) + x["shift"]
    return {
        "policy gradient": jnp.mean(pg.policy_gradient_loss(log_prob, x["advantage"])),
        "entropy": jnp.mean(pg.entropy_loss(distribution.entropy())),
        "clipped": jnp.mean(
            pg.clipped_surrogate_loss(log_prob, old, x["advantage"], clip=0.2)
        ),
    }


def rlax_losses(logits, x):
    ones = jnp.ones(len(logits))
    log_prob = jax.nn.log_softmax(logits)[jnp.arange(len(logits)), x["action"]]
    old = jax.lax.stop_gradient(log_prob) + x["shift"]
    return {
        "policy gradient": rlax.policy_gradient_loss(
            logits, x["action"], x["advantage"], ones
        ),
        "entropy": rlax.entropy_loss(logits, ones),
        "clipped": rlax.clipped_surrogate_pg_loss(
            jnp.exp(log_prob - old), x["advantage"], 0.2
        ),
    }


@jax.jit
def both_losses(x):
    return [
        (fn(x["logits"], x), jax.jacrev(fn)(x["logits"], x))
        for fn in (our_losses, rlax_losses)
    ]


@given(x=decisions())
def test_losses_and_their_gradients(x):
    (ours, our_grads), (theirs, their_grads) = both_losses(x)
    size = max(1.0, float(np.abs(x["advantage"]).max()))
    for name in ours:
        scale = 1.0 if name == "entropy" else size
        close = {"rtol": 1e-5, "atol": 1e-5 * scale, "err_msg": name}
        np.testing.assert_allclose(ours[name], theirs[name], **close)
        assert np.isfinite(our_grads[name]).all(), name
        np.testing.assert_allclose(
            our_grads[name],
            their_grads[name],
            rtol=1e-5,
            atol=1e-5 * scale,
            err_msg=name,
        )
