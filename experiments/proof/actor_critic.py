"""A2C, PPO, TRPO and V-trace, on rollouts that are cut at a horizon."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg
from experiments.gradients import recorder
from experiments.proof.case import (
    AWAY,
    CURVED,
    ENDLESS,
    PERFECT,
    SHIFT,
    VALUE_SHIFT,
    WRONG,
    Case,
    Oracle,
    times,
)

# isort: split
from oracles import estimators


def _a2c(
    name: str,
    critic: np.ndarray,
    *,
    entropy: float = 0.0,
    normalize: bool = False,
    **options: Any,
) -> Case:
    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.a2c(
            network,
            recorder(),
            gamma=gamma,
            normalize_advantage=normalize,
            entropy_coefficient=entropy,
            **options,
        )

    oracle = partial(
        estimators.actor_critic,
        critic=critic,
        entropy=entropy,
        normalize=normalize,
        **options,
    )
    return Case(f"a2c, {name}", make, oracle, critic)


def _own(case: Case, oracle: Oracle) -> Case:
    """The same algorithm's critic."""
    algorithm = case.name.split(",")[0]
    return case._replace(
        name=case.name.replace(algorithm, f"{algorithm}'s critic"),
        oracle=oracle,
        leaf="value",
        truth=None,
    )


def _ppo(
    name: str,
    critic: np.ndarray,
    oracle: Oracle,
    *,
    lam: float,
    shift: np.ndarray | None = None,
    value_shift: np.ndarray | None = None,
    entropy: float = 0.0,
    **options: Any,
) -> Case:
    """One epoch; with a shift, a first one that makes it and a second."""
    first_step = None
    if shift is not None:
        moved = np.zeros_like(critic) if value_shift is None else value_shift
        first_step = {
            "theta": jnp.asarray(shift, jnp.float32),
            "value": jnp.asarray(moved, jnp.float32),
        }
    settings: dict[str, Any] = {
        "num_epochs": 1 if shift is None else 2,
        "num_minibatches": 1,
        "advantage_normalization": "none",
    }

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.ppo(
            network,
            recorder(first_step),
            gamma=gamma,
            lam=lam,
            entropy_coefficient=entropy,
            **settings | options,
        )

    truth = "plain" if shift is None else None
    oracle = partial(oracle, critic=critic, lam=lam)
    return Case(f"ppo, {name}", make, oracle, critic, truth=truth)


def _trpo(
    name: str,
    critic: np.ndarray,
    *,
    max_kl: float,
    max_backtracks: int,
    normalize: bool,
    damping: float = 0.1,
) -> Case:
    """What its step is, on the average."""

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.trpo(
            network,
            recorder(),
            gamma=gamma,
            lam=0.9,
            max_kl=max_kl,
            damping=damping,
            max_backtracks=max_backtracks,
            normalize_advantage=normalize,
            num_epochs=1,
            num_minibatches=1,
        )

    oracle = partial(
        estimators.trust_region,
        critic=critic,
        lam=0.9,
        max_kl=max_kl,
        damping=damping,
        max_backtracks=max_backtracks,
        normalize=normalize,
    )
    return Case(f"trpo, {name}", make, oracle, critic, "step", truth=None)


def _vtrace(name: str, **coefficients: float) -> Case:
    """A user's own, of pgjax's functions: it acted before it was moved."""

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        def init(key: Any, obs: Any) -> pg.Learner:
            params = network.init(key, obs)
            return pg.Learner(params, recorder().init(params))

        def policy(params: Any, obs: Any) -> Any:
            return network.apply(params, obs)[0]

        def loss(params: Any, batch: pg.Transition) -> jax.Array:
            log_prob = policy(params, batch.obs).log_prob(batch.action)
            value, next_value = pg.critic_values(
                lambda params, obs: network.apply(params, obs)[1], params, batch
            )
            flags = batch.terminated, batch.truncated
            _, advantage = pg.vtrace(
                *(batch.reward, value, next_value, *flags),
                jax.lax.stop_gradient(log_prob - batch.log_prob),
                gamma=gamma,
                **coefficients,
            )
            return jnp.mean(pg.policy_gradient_loss(log_prob, advantage))

        def update(key: Any, learner: pg.Learner, batch: pg.Transition) -> tuple:
            del key
            theta = learner.params["theta"] + jnp.asarray(AWAY, jnp.float32)
            grads = jax.grad(loss)(learner.params | {"theta": theta}, batch)
            _, state = recorder().update(grads, learner.opt_state)
            return pg.Learner(learner.params, state), {}

        return pg.Algorithm(init, update, policy)

    oracle = partial(estimators.vtrace, critic=WRONG, shift=AWAY, **coefficients)
    return Case(f"v-trace, {name}", make, oracle, WRONG, truth=None)


def _scaled_rewards() -> Case:
    inner = _a2c("scaled rewards", PERFECT, lam=0.5)

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return pg.scale_rewards(inner.make(network, gamma), gamma=gamma, clip=2.0)

    oracle = partial(estimators.scaled_rewards, critic=PERFECT, lam=0.5, clip=2.0)
    return inner._replace(make=make, oracle=oracle, truth=None)


def three_steps() -> list[Case]:
    """On three steps of one environment."""
    half: dict[str, Any] = {"critic": WRONG, "lam": 0.5}
    first = estimators.actor_critic
    far: dict[str, Any] = {"shift": SHIFT}
    second = partial(estimators.second_epoch, **far)
    own = partial(estimators.second_epoch_critic, **half, shift=VALUE_SHIFT)
    free = _ppo("second epoch", WRONG, second, lam=0.5, **far, value_shift=VALUE_SHIFT)
    clipped = _ppo(
        "second epoch, value clip",
        *(WRONG, second),
        **(far | {"lam": 0.5, "value_shift": VALUE_SHIFT, "value_clip": 0.3}),
    )
    unchecked = _trpo(
        "natural gradient", WRONG, max_kl=0.05, max_backtracks=0, normalize=False
    )
    return [
        _a2c("perfect critic", PERFECT),
        _a2c("perfect critic, lambda 0", PERFECT, lam=0.0),
        _a2c("wrong critic", WRONG),
        _a2c("wrong critic, lambda 0.5", WRONG, lam=0.5),
        _a2c("wrong critic, lambda 0", WRONG, lam=0.0),
        _a2c("wrong critic, 1 step", WRONG, n_step=1),
        _a2c("wrong critic, 2 steps", WRONG, n_step=2),
        _a2c("entropy", WRONG, entropy=0.3),
        _a2c("normalized", WRONG, normalize=True, lam=0.5),
        _own(
            _a2c("lambda 0.5", WRONG, lam=0.5),
            times(0.5, partial(estimators.critic, **half)),
        ),
        _own(
            _a2c("2 steps", WRONG, n_step=2),
            times(0.5, partial(estimators.critic, critic=WRONG, n_step=2)),
        ),
        _scaled_rewards(),
        _ppo("one epoch", WRONG, first, lam=0.5),
        _ppo("entropy", WRONG, partial(first, entropy=0.3), lam=0.5, entropy=0.3),
        free,
        clipped,
        _ppo(
            "second epoch, wider clip",
            *(WRONG, partial(second, clip=0.6)),
            **(far | {"lam": 0.5, "clip": 0.6}),
        ),
        _ppo(
            "second epoch, entropy",
            *(WRONG, partial(second, entropy=0.3)),
            **(far | {"lam": 0.5, "entropy": 0.3}),
        ),
        _ppo(
            "second epoch, target KL",
            *(WRONG, partial(second, target_kl=0.06)),
            **(far | {"lam": 0.5, "target_kl": 0.06}),
        ),
        _own(free, times(0.5, partial(own, clip=np.inf))),
        _own(clipped, times(0.5, partial(own, clip=0.3))),
        unchecked,
        _trpo("normalized", WRONG, max_kl=0.3, max_backtracks=10, normalize=True),
        _own(unchecked, partial(estimators.critic, critic=WRONG, lam=0.9)),
        _vtrace("clipped at 1"),
        _vtrace("clipped at 1, lambda 0.5", lam=0.5),
        _vtrace("clipped at 1.3 and 0.9", clip_rho=1.3, clip_c=0.9),
    ]


def line_search() -> list[Case]:
    """Where a step of the length that the Fisher matrix says is often too long."""
    far: dict[str, Any] = {"max_kl": 1.0, "damping": 0.02, "normalize": False}
    return [
        _trpo("peaked, line search", WRONG, **far, max_backtracks=10),
        _trpo("peaked, one backtrack", WRONG, **far, max_backtracks=1),
        _trpo("peaked, natural gradient", WRONG, **far, max_backtracks=0),
    ]


def six_steps() -> list[Case]:
    """With a time limit in the middle."""
    return [_a2c("truncation, perfect critic", ENDLESS)]


def two_environments() -> list[Case]:
    """On three steps of two, in one minibatch or in two."""
    lam = 0.95
    halves: list[Case] = [
        _ppo(
            f"two minibatches, {kind}",
            *(ENDLESS, partial(estimators.minibatch, normalize=kind)),
            lam=lam,
            num_minibatches=2,
            advantage_normalization=kind,
        )
        for kind in ("minibatch", "batch", "none")
    ]
    standardized = partial(estimators.actor_critic, normalize=True)
    return [
        _a2c("two environments, normalized", ENDLESS, normalize=True),
        *(
            _ppo(
                f"normalized, {kind}",
                *(ENDLESS, standardized),
                lam=lam,
                advantage_normalization=kind,
            )
            for kind in ("minibatch", "batch")
        ),
        *halves,
        _trpo(
            "two environments", ENDLESS, max_kl=0.2, max_backtracks=10, normalize=True
        ),
    ]


def gaussian() -> list[Case]:
    """Continuous actions."""
    cases = [
        _a2c("Gaussian", CURVED),
        _a2c("Gaussian, lambda 0.5, entropy", CURVED, lam=0.5, entropy=0.3),
        _ppo("Gaussian", CURVED, estimators.actor_critic, lam=0.5),
    ]
    return [case._replace(truth=None) for case in cases]
