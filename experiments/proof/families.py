"""Every estimator, by the task and the rollouts that it shares with others."""

from __future__ import annotations

from experiments.proof import actor_critic, groups, reinforce
from experiments.proof.case import (
    CHAIN,
    CLIPPED,
    CUT,
    LATE,
    PEAKED,
    RANDOM,
    SWING,
    Family,
)


def families() -> list[Family]:
    """Every algorithm, baseline and option."""
    episodes, steps = reinforce, actor_critic
    return [
        Family("one episode", RANDOM, 1, episodes.one_episode()),
        Family("two episodes", RANDOM, 2, episodes.two_episodes()),
        Family("gamma^t", LATE, 2, episodes.with_and_without_discount()),
        Family("chain", CHAIN, 1, episodes.one_chain()),
        Family("truncation", CUT, 2, episodes.truncated()),
        Family("Gaussian", SWING, 2, episodes.gaussian()),
        Family("clipped actions", CLIPPED, 1, episodes.clipped()),
        # Together, for they share their rollouts.
        Family("chain, two", CHAIN, 2, episodes.combined() + groups.of_two()),
        Family("groups of three", LATE, 3, groups.of_three()),
        Family("three steps", RANDOM, 1, steps.three_steps(), length=3),
        Family("peaked", PEAKED, 1, steps.line_search(), length=3),
        Family("two episodes on end", CUT, 1, steps.six_steps(), length=6),
        Family("two environments", CUT, 2, steps.two_environments(), length=3),
        Family("Gaussian steps", SWING, 1, steps.gaussian(), length=3),
    ]


def alone(name: str) -> Family:
    """The family of one case only."""
    for family in families():
        for case in family.cases:
            if case.name == name:
                return family._replace(cases=[case])
    raise KeyError(name)
