"""Broken variants of algorithms, each of which the proof must catch.

Each maps an algorithm, or a rollout, to a broken one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import oracle_envs

import pgjax as pg
from experiments.gradients import recorder
from experiments.proof.case import (
    AWAY,
    CHAIN,
    CLIPPED,
    RANDOM,
    SHIFT,
    Case,
    Family,
)
from experiments.proof.families import alone, families

Spoil = Callable[[pg.Algorithm], pg.Algorithm]


def _of_batch(change: Callable[[pg.Transition], pg.Transition]) -> Spoil:
    """The algorithm is given something else than what happened."""

    def spoil(algorithm: pg.Algorithm) -> pg.Algorithm:
        def update(key: Any, learner: Any, batch: Any) -> Any:
            return algorithm.update(key, learner, change(batch))

        return algorithm._replace(update=update)

    return spoil


def _of_loss(loss: Callable[[pg.Algorithm, Any, pg.Transition], jax.Array]) -> Spoil:
    """Another loss is descended."""

    def spoil(algorithm: pg.Algorithm) -> pg.Algorithm:
        def update(key: Any, learner: Any, batch: Any) -> Any:
            del key
            grads = jax.grad(lambda params: loss(algorithm, params, batch))(
                learner.params
            )
            _, state = recorder().update(grads, learner.opt_state)
            return learner._replace(opt_state=state), {}

        return algorithm._replace(update=update)

    return spoil


def done_late(batch: pg.Transition) -> pg.Transition:
    """The ends of episodes are marked one step late."""

    def late(x: Any) -> Any:
        return jnp.roll(x, 1, axis=0).at[0].set(False)

    return batch._replace(
        terminated=late(batch.terminated), truncated=late(batch.truncated)
    )


def reset_bootstrap(batch: pg.Transition) -> pg.Transition:
    """The observation after a reset stands where the one before it should."""
    following = jnp.concatenate([batch.obs[1:], batch.next_obs[-1:]])
    return batch._replace(next_obs=following)


def truncation_as_termination(batch: pg.Transition) -> pg.Transition:
    """Where a time limit cuts an episode, nothing is expected to follow."""
    return batch._replace(
        terminated=batch.terminated | batch.truncated,
        truncated=jnp.zeros_like(batch.truncated),
    )


def padding_counts(batch: pg.Transition) -> pg.Transition:
    """Steps after an episode's end weigh as much as those before."""
    return batch._replace(weight=jnp.ones_like(batch.weight))


def clipped_log_prob(batch: pg.Transition) -> pg.Transition:
    """The log-prob is that of the action that the environment made of it."""
    return batch._replace(action=jnp.clip(batch.action, -CLIPPED.bound, CLIPPED.bound))


def as_if_on_policy(batch: pg.Transition) -> pg.Transition:
    """The policy that learns is taken for the one that acted: every ratio is 1."""
    theta = jnp.asarray(RANDOM.theta + AWAY, jnp.float32)
    new = pg.Categorical(batch.obs @ theta)
    return batch._replace(log_prob=new.log_prob(batch.action))


def length_biased(rollout: pg.Rollout) -> pg.Rollout:
    """Of a fixed number of steps, only the episodes that came to their end count.

    A mean over those: an episode that is long is more often cut, and dropped.
    """
    del rollout
    env = pg.make_env(f"Oracle-{CHAIN.name}")
    whole = pg.unroll(env, 2, CHAIN.limit + 2)

    def collect(*arguments: Any) -> Any:
        state, batch, ended = whole.collect(*arguments)
        done = (batch.terminated | batch.truncated).astype(jnp.float32)
        # An end at this step, or later.
        finishes = jnp.cumsum(done[::-1], axis=0)[::-1] > 0
        counts = finishes.astype(jnp.float32)
        per_episode = done.shape[1] / jnp.sum(done)
        return state, batch._replace(weight=counts * per_episode), ended

    return pg.Rollout(whole.init, collect, whole.observe, True)


def every_pair(algorithm: pg.Algorithm, params: Any, batch: Any) -> jax.Array:
    """Log-probs (N,) times returns (N, 1): each action with everybody's return."""
    log_prob = algorithm.policy(params, batch.obs).log_prob(batch.action)
    flags = batch.terminated, batch.truncated
    returns = pg.discounted_returns(batch.reward, *flags, gamma=RANDOM.gamma)
    pairs = (batch.weight * log_prob)[:, None, :] * returns[:, :, None]
    return -jnp.mean(jnp.sum(pairs, axis=0))


def through_the_target(algorithm: pg.Algorithm, params: Any, batch: Any) -> jax.Array:
    """The critic's gradient flows through what it is to predict: no stop-gradient."""
    del algorithm
    returns = _critic_returns(params, batch)
    return 0.25 * jnp.mean((batch.obs @ params["value"] - returns) ** 2)


def through_the_advantage(
    algorithm: pg.Algorithm, params: Any, batch: Any
) -> jax.Array:
    """The policy's loss moves the critic: no stop-gradient on the advantage."""
    value = batch.obs @ params["value"]
    returns = jax.lax.stop_gradient(_critic_returns(params, batch))
    log_prob = algorithm.policy(params, batch.obs).log_prob(batch.action)
    value_loss = 0.5 * jnp.mean((value - returns) ** 2)
    return 0.5 * value_loss - jnp.mean(log_prob * (returns - value))


def _critic_returns(params: Any, batch: Any) -> jax.Array:
    """Lambda returns from a critic's table, differentiable."""
    return pg.lambda_returns(
        batch.reward,
        batch.next_obs @ params["value"],
        batch.terminated,
        batch.truncated,
        gamma=RANDOM.gamma,
        lam=0.5,
    )


class _Negated(pg.Categorical):
    """A distribution whose entropy has the wrong sign."""

    def entropy(self) -> jax.Array:
        return -super().entropy()


def _least_entropy(algorithm: pg.Algorithm) -> pg.Algorithm:
    """The algorithm of a case, with a policy whose entropy is negated."""
    del algorithm
    family = alone("a2c, entropy")
    (case,) = family.cases
    network = oracle_envs.network(family.task, case.critic)

    def apply(params: Any, obs: jax.Array) -> Any:
        distribution, value = network.apply(params, obs)
        return _Negated(distribution.logits), value

    return case.make(network._replace(apply=apply), family.task.gamma)


def _of_case(name: str) -> Spoil:
    """The algorithm of another case."""

    def spoil(algorithm: pg.Algorithm) -> pg.Algorithm:
        del algorithm
        family = alone(name)
        (case,) = family.cases
        network = oracle_envs.network(family.task, case.critic)
        return case.make(network, family.task.gamma)

    return spoil


def second_epoch_of(surrogate: Callable[..., jax.Array]) -> Spoil:
    """PPO's second epoch with another objective of ratio and advantage."""

    def loss(algorithm: pg.Algorithm, params: Any, batch: Any) -> jax.Array:
        # Where the first epoch has led.
        moved = params | {"theta": params["theta"] + jnp.asarray(SHIFT, jnp.float32)}
        log_prob = algorithm.policy(moved, batch.obs).log_prob(batch.action)
        advantage = _critic_returns(params, batch) - batch.obs @ params["value"]
        advantage = jax.lax.stop_gradient(advantage)
        ratio = jnp.exp(log_prob - batch.log_prob)
        return -jnp.mean(surrogate(ratio, advantage))

    return _of_loss(loss)


def _larger(ratio: jax.Array, advantage: jax.Array) -> jax.Array:
    clipped = jnp.clip(ratio, 0.8, 1.2) * advantage
    return jnp.maximum(ratio * advantage, clipped)


def _fresh(ratio: jax.Array, advantage: jax.Array) -> jax.Array:
    return ratio / jax.lax.stop_gradient(ratio) * advantage


# Each with a case that it must spoil.
BROKEN: dict[str, tuple[Spoil, str]] = {
    "done mask one step late": (_of_batch(done_late), "a2c, wrong critic"),
    "reset observation in the bootstrap": (
        _of_batch(reset_bootstrap),
        "a2c, truncation, perfect critic",
    ),
    "truncation as termination": (
        _of_batch(truncation_as_termination),
        "a2c, truncation, perfect critic",
    ),
    "(N,) against (N, 1)": (_of_loss(every_pair), "reinforce, no baseline"),
    "padding counts": (_of_batch(padding_counts), "reinforce, leave one out"),
    "no stop-gradient on the target": (
        _of_loss(through_the_target),
        "a2c's critic, lambda 0.5",
    ),
    "no stop-gradient on the advantage": (
        _of_loss(through_the_advantage),
        "a2c's critic, lambda 0.5",
    ),
    "no importance ratio": (_of_batch(as_if_on_policy), "v-trace, clipped at 1"),
    "log-prob of the clipped action": (
        _of_batch(clipped_log_prob),
        "reinforce, clipped Gaussian actions",
    ),
    "the sign of the entropy": (_least_entropy, "a2c, entropy"),
    "PPO: the larger of the two, not the smaller": (
        second_epoch_of(_larger),
        "ppo, second epoch",
    ),
    "PPO: old log-probs computed anew": (second_epoch_of(_fresh), "ppo, second epoch"),
    "PPO: no value clipping": (
        _of_case("ppo's critic, second epoch"),
        "ppo's critic, second epoch, value clip",
    ),
    "TRPO: no line search": (
        _of_case("trpo, peaked, natural gradient"),
        "trpo, peaked, line search",
    ),
    "RLOO: its own reward in the mean": (_of_case("dr_grpo, sum"), "rloo, sum"),
}
# And that of a rollout.
LENGTH_BIASED = "length-biased tail", "reinforce, chain, none, episodes"
VICTIMS = {name: victim for name, (_, victim) in BROKEN.items()}
VICTIMS |= dict([LENGTH_BIASED])


def broken_cases(family: Family) -> list[Case]:
    """The broken variants of its cases, which have the rollouts of all of them."""
    cases = {case.name: case for case in family.cases}
    return [
        _broken(name, spoil, cases[victim])
        for name, (spoil, victim) in BROKEN.items()
        if victim in cases
    ]


def _broken(name: str, spoil: Spoil, case: Case) -> Case:
    def make(network: pg.Network, gamma: float) -> pg.Algorithm:
        return spoil(case.make(network, gamma))

    return case._replace(name=name, make=make)


def with_broken_rollouts() -> Family:
    """One whose rollouts are broken, and nothing else."""
    name, victim = LENGTH_BIASED
    family = alone(victim)
    (case,) = family.cases
    return family._replace(cases=[case._replace(name=name)], spoil=length_biased)


def broken_families() -> list[Family]:
    """All of them."""
    found = [family._replace(cases=broken_cases(family)) for family in families()]
    return [*(family for family in found if family.cases), with_broken_rollouts()]
