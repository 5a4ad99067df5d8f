"""Policy-gradient estimators, as loops over the steps of rollouts written down.

Each one maps a batch of rollouts to the gradient of what is maximised by the policy's
parameters: what an algorithm's loss should have as its gradient, with its sign turned.
Nothing is differentiated: tasks know the score of their policies.
"""

from oracles.estimators.episodes import (
    group,
    reinforce,
    reinforce_critic_error,
)
from oracles.estimators.horizons import (
    actor_critic,
    critic_error,
    later,
    scaled_rewards,
)
from oracles.estimators.off_policy import (
    minibatch,
    second_epoch,
    second_epoch_critic_error,
    vtrace,
    vtrace_error,
)
from oracles.estimators.parts import (
    clipped,
    columns,
    weighted_sum,
)
from oracles.estimators.trust_regions import (
    trust_region,
)

__all__ = [
    "actor_critic",
    "clipped",
    "columns",
    "critic_error",
    "group",
    "later",
    "minibatch",
    "reinforce",
    "reinforce_critic_error",
    "scaled_rewards",
    "second_epoch",
    "second_epoch_critic_error",
    "trust_region",
    "vtrace",
    "vtrace_error",
    "weighted_sum",
]
