"""RLOO and GRPO, of groups of episodes as of a language model's answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles import estimators

import pgjax as pg
from experiments.gradients import recorder
from experiments.proof.case import BEYOND, REFERENCE, Case


def _group(
    name: str,
    kind: str,
    *,
    group_size: int,
    unbiased: bool = False,
    shift: np.ndarray | None = None,
    per_token: bool = False,
    **options: Any,
) -> Case:
    advantages = {
        "rloo": pg.rloo_advantages,
        "grpo": pg.grpo_advantages,
        "dr_grpo": partial(pg.grpo_advantages, scale_by_std=False),
    }[kind]

    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return _group_algorithm(
            network,
            partial(advantages, group_size=group_size),
            gamma,
            shift,
            per_token,
            options,
        )

    return Case(
        f"{kind}, {name}",
        make,
        partial(
            estimators.group, kind=kind, group_size=group_size, shift=shift, **options
        ),
        truth={"discounted": True} if shift is None else None,
        unbiased=unbiased,
    )


SUM = "sequence_sums"
REDUCTIONS = {"sequences": "sequences", "tokens": "tokens", "sum": SUM}  # by short name


def _group_algorithm(
    network: pg.Network,
    advantages: Callable[[jax.Array], jax.Array],
    gamma: float,
    shift: np.ndarray | None,
    per_token: bool,
    options: dict[str, Any],
) -> pg.Algorithm:
    """A user's own, of pgjax's functions: episodes are sequences, returns rewards."""
    settings = {"clip": jnp.inf, "kl_coefficient": 0.0, "reduction": SUM} | options
    reference = settings.pop("reference", None)
    optimizer = recorder()

    def init(key: Any, obs: Any) -> pg.Learner:
        params = network.init(key, obs)
        return pg.Learner(params, optimizer.init(params))

    def policy(params: Any, obs: Any) -> Any:
        return network.apply(params, obs)[0]

    def update(key: Any, learner: pg.Learner, batch: pg.Transition) -> tuple:
        del key
        discount = gamma ** jnp.arange(len(batch.reward))[:, None]
        reward = jnp.sum(discount * batch.weight * batch.reward, axis=0)
        advantage = advantages(reward)
        if per_token:
            advantage = jnp.broadcast_to(advantage[None], batch.reward.shape)
        other = (
            batch.log_prob
            if reference is None
            else policy(
                {"theta": jnp.asarray(reference, jnp.float32)}, batch.obs
            ).log_prob(batch.action)
        )

        def loss(params: Any) -> jax.Array:
            log_prob = policy(params, batch.obs).log_prob(batch.action)
            sampled = batch.log_prob, other, advantage, batch.weight
            return pg.grpo_loss(log_prob, *sampled, **settings)[0]

        params = learner.params
        if shift is not None:  # it has moved since it sampled
            params = {"theta": params["theta"] + jnp.asarray(shift, jnp.float32)}
        _, state = optimizer.update(jax.grad(loss)(params), learner.opt_state)
        return pg.Learner(learner.params, state), {}

    return pg.Algorithm(init, update, policy, complete_episodes=True)


def of_two() -> list[Case]:
    """Every advantage and reduction; then policies that have moved, and penalties."""
    two = partial(_group, group_size=2)
    cases = [
        two(
            name,
            kind,
            reduction=reduction,
            unbiased=(kind, reduction) == ("rloo", SUM),
        )
        for kind in ("rloo", "grpo", "dr_grpo")
        for name, reduction in REDUCTIONS.items()
    ]
    far: dict[str, Any] = {"shift": BEYOND, "clip": 0.2}
    penalty: dict[str, Any] = {"reference": REFERENCE, "kl_coefficient": 0.5}
    return [
        *cases,
        two("second epoch", "grpo", **far, reduction="tokens"),
        two("second epoch, clip higher", "grpo", **far, clip_high=0.35),
        two("per token", "grpo", reduction="tokens", per_token=True),
        two("KL to a reference", "grpo", **penalty, reduction="sequences"),
        two("second epoch, KL to a reference", "rloo", **far, **penalty),
    ]


def of_three() -> list[Case]:
    """A group that is no pair."""
    return [
        _group("three", "rloo", group_size=3, unbiased=True),
        _group("three", "grpo", group_size=3),
        _group("three", "dr_grpo", group_size=3),
    ]


def two_of_two() -> list[Case]:
    """Two groups in a batch."""
    return [
        _group("two groups", "rloo", group_size=2, unbiased=True),
        _group("two groups", "grpo", group_size=2),
    ]
