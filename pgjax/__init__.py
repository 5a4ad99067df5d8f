"""Policy-gradient methods as pure JAX functions."""

from __future__ import annotations

from pgjax._internal import starting  # noqa: F401  first of all: it says why

# isort: split
import importlib
from typing import TYPE_CHECKING, Any

from pgjax._internal.blocks import sum_over_samples
from pgjax._internal.collectives import total
from pgjax._internal.divergence import diverged
from pgjax._internal.meshes import check_replicas, make_mesh
from pgjax._internal.xla import turn_off_broken_fusions
from pgjax.algorithms import a2c, ppo, reinforce, trpo
from pgjax.algorithms.advantages import critic_values, estimate_advantages
from pgjax.algorithms.annealing import anneal
from pgjax.algorithms.normalization import normalize_observations, scale_rewards
from pgjax.baselines import (
    batch_mean,
    episode_mean,
    leave_one_out,
    no_baseline,
    value_baseline,
)
from pgjax.checkpoints import CheckpointError, restore, save
from pgjax.distributions import Categorical, DiagGaussian
from pgjax.envs.check import check_env
from pgjax.envs.make import env_names, host_env, make_env
from pgjax.envs.randomize import randomize
from pgjax.envs.wrappers import flatten_observations, frame_stack, time_limit
from pgjax.evaluate import evaluate
from pgjax.grpo import grpo_advantages, grpo_loss, rloo_advantages
from pgjax.losses import (
    clipped_surrogate_loss,
    clipped_value_loss,
    entropy_loss,
    kl_penalty,
    policy_gradient_loss,
    surrogate_loss,
    value_loss,
)
from pgjax.networks.encoding import encode
from pgjax.reductions import mean_weights, weighted_mean
from pgjax.returns import (
    discounted_returns,
    gae,
    lambda_returns,
    n_step_returns,
    vtrace,
)
from pgjax.rollout import episodes, unroll
from pgjax.sweep import sweep
from pgjax.train import init_train_state, train, train_step, train_steps
from pgjax.trust_region import fisher_vector_product, trust_region
from pgjax.types import (
    Algorithm,
    AlgorithmState,
    Box,
    Discrete,
    Distribution,
    Env,
    Episodes,
    HostEnv,
    Learner,
    Network,
    Rollout,
    TrainState,
    Transition,
)

turn_off_broken_fusions()  # nothing above starts JAX

if TYPE_CHECKING:
    from pgjax.networks.mlp import (
        actor_critic,
        at_precision,
        linear_softmax_policy,
        mlp_policy,
    )

__version__ = "0.2.0"

# flax takes long to import: it waits to be used. (So does gymnax; see `make_env`.)
_LAZY = {
    "actor_critic": "pgjax.networks.mlp",
    "at_precision": "pgjax.networks.mlp",
    "linear_softmax_policy": "pgjax.networks.mlp",
    "mlp_policy": "pgjax.networks.mlp",
}


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name: str) -> Any:
        if name == "app":  # the command, and all that it needs
            return importlib.import_module("pgjax.app")
        if name not in _LAZY:
            raise AttributeError(f"module 'pgjax' has no attribute {name!r}")
        return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


__all__ = [
    "Algorithm",
    "AlgorithmState",
    "Box",
    "Categorical",
    "CheckpointError",
    "DiagGaussian",
    "Discrete",
    "Distribution",
    "Env",
    "Episodes",
    "HostEnv",
    "Learner",
    "Network",
    "Rollout",
    "TrainState",
    "Transition",
    "a2c",
    "actor_critic",
    "anneal",
    "at_precision",
    "batch_mean",
    "check_env",
    "check_replicas",
    "clipped_surrogate_loss",
    "clipped_value_loss",
    "critic_values",
    "discounted_returns",
    "diverged",
    "encode",
    "entropy_loss",
    "env_names",
    "episode_mean",
    "episodes",
    "estimate_advantages",
    "evaluate",
    "fisher_vector_product",
    "flatten_observations",
    "frame_stack",
    "gae",
    "grpo_advantages",
    "grpo_loss",
    "host_env",
    "init_train_state",
    "kl_penalty",
    "lambda_returns",
    "leave_one_out",
    "linear_softmax_policy",
    "make_env",
    "make_mesh",
    "mean_weights",
    "mlp_policy",
    "n_step_returns",
    "no_baseline",
    "normalize_observations",
    "policy_gradient_loss",
    "ppo",
    "randomize",
    "reinforce",
    "restore",
    "rloo_advantages",
    "save",
    "scale_rewards",
    "sum_over_samples",
    "surrogate_loss",
    "sweep",
    "time_limit",
    "total",
    "train",
    "train_step",
    "train_steps",
    "trpo",
    "trust_region",
    "unroll",
    "value_baseline",
    "value_loss",
    "vtrace",
    "weighted_mean",
]
