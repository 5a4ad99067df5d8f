"""V-trace: a policy that has moved since it acted, in an algorithm of one's own."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from oracles import estimators

import pgjax as pg
from experiments.gradients import recorder
from experiments.proof.case import AWAY, WRONG, Case


def three_steps() -> list[Case]:
    """On three steps of one environment."""
    bounds = {"clip_rho": 1.3, "clip_c": 0.9}
    return [
        _case("clipped at 1"),
        _case("clipped at 1, lambda 0.5", lam=0.5),
        _case("clipped at 1.3 and 0.9", **bounds),
        _critics_own("clipped at 1.3 and 0.9", lam=0.5, **bounds),
    ]


def _case(name: str, **coefficients: float) -> Case:
    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return _algorithm(network, {"gamma": gamma, **coefficients})

    oracle = partial(estimators.vtrace, critic=WRONG, shift=AWAY, **coefficients)
    return Case(f"v-trace, {name}", make, oracle, WRONG)


def _critics_own(name: str, **coefficients: float) -> Case:
    error = partial(estimators.vtrace_error, critic=WRONG, shift=AWAY, **coefficients)
    case = _case(name, **coefficients)
    return case._replace(name=f"v-trace's critic, {name}", oracle=error, leaf="value")


def _algorithm(network: pg.Network, coefficients: dict[str, float]) -> pg.Algorithm:
    """Its gradient is taken where `AWAY` leads; it acts where it was."""

    def init(key: Any, obs: Any) -> pg.Learner:
        params = network.init(key, obs)
        return pg.Learner(params, recorder().init(params))

    def policy(params: Any, obs: Any) -> Any:
        return network.apply(params, obs)[0]

    def value_of(params: Any, obs: Any) -> Any:
        return network.apply(params, obs)[1]

    def loss(params: Any, batch: pg.Transition) -> jax.Array:
        log_prob = policy(params, batch.obs).log_prob(batch.action)
        value, next_value = pg.critic_values(value_of, params, batch)
        target, advantage = pg.vtrace(
            batch.reward,
            value,
            next_value,
            batch.terminated,
            batch.truncated,
            jax.lax.stop_gradient(log_prob - batch.log_prob),
            **coefficients,
        )
        value_loss = pg.value_loss(value_of(params, batch.obs), target)
        return jnp.mean(pg.policy_gradient_loss(log_prob, advantage) + value_loss)

    def update(key: Any, learner: pg.Learner, batch: pg.Transition) -> tuple:
        del key
        theta = learner.params["theta"] + jnp.asarray(AWAY, jnp.float32)
        grads = jax.grad(loss)(learner.params | {"theta": theta}, batch)
        _, state = recorder().update(grads, learner.opt_state)
        return pg.Learner(learner.params, state), {}

    return pg.Algorithm(init, update, policy)
