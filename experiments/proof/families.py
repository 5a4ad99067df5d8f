"""Every estimator, by the task and the rollouts that it shares with others."""

from __future__ import annotations

from experiments.proof import actor_critic, groups, reinforce, vtrace
from experiments.proof.case import (
    CHAIN,
    CLIPPED,
    CUT,
    LATE,
    ONCE,
    PEAKED,
    RANDOM,
    SWING,
    Family,
)


def families() -> list[Family]:
    """Every algorithm, baseline and option."""
    chain = [
        *reinforce.combined(),
        *actor_critic.whole_episodes(),
        *groups.of_two(),
    ]
    random = [*actor_critic.three_steps(), *vtrace.three_steps()]
    cut = actor_critic.two_environments()
    later = actor_critic.later_steps(after=2)
    return [
        Family("one episode", RANDOM, 1, reinforce.one_episode()),
        Family("two episodes", RANDOM, 2, reinforce.two_episodes()),
        Family("gamma^t", LATE, 2, reinforce.with_and_without_discount()),
        Family("chain", CHAIN, 1, reinforce.one_chain()),
        Family("truncation", CUT, 2, reinforce.truncated()),
        Family("Gaussian", SWING, 2, reinforce.gaussian()),
        Family("clipped actions", CLIPPED, 1, reinforce.clipped()),
        # Together, for they share their rollouts.
        Family("two chains", CHAIN, 2, chain),
        Family("groups of three", LATE, 3, groups.of_three()),
        Family("two groups", LATE, 4, groups.two_of_two(), ordered=True),
        Family("three steps", RANDOM, 1, random, length=3),
        Family("second rollout", RANDOM, 1, later, length=2, train_steps=2),
        Family("peaked", PEAKED, 1, actor_critic.line_search(), length=3),
        Family("two episodes on end", CUT, 1, actor_critic.six_steps(), length=6),
        Family("two environments", CUT, 2, cut, length=3),
        Family("Gaussian steps", SWING, 1, actor_critic.gaussian(), length=3),
        Family("one Gaussian step", ONCE, 1, actor_critic.gaussian_once(), length=1),
    ]


def alone(name: str) -> Family:
    """The family of one case only."""
    for family in families():
        for case in family.cases:
            if case.name == name:
                return family._replace(cases=[case])
    raise KeyError(name)
