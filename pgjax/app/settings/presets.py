"""Settings under a name, by algorithm; a flag given by hand overrides them.

A preset named after an environment is used whenever that environment is trained on.
"""

from __future__ import annotations

from typing import Any

from pgjax.app.errors import UsageError

DEFAULT_ENV = "CartPole-v1"

_ARTICLE = {
    "env": "CartPole-v1",
    "time_limit_terminates": True,  # "the episode's end"
    "num_envs": 4,  # complete episodes per update
    "hidden": (128,),
    "activation": "relu",
    "initializer": "torch",
    "learning_rate": 0.01,
    "gamma": 0.99,
    "reduction": "sum",
    "solved_return": 450.0,
    "until_solved": True,
    "steps": 400_000,
}

# What the literature has in common for actor-critics.
_ACTOR_CRITIC = {
    "num_envs": 8,
    "hidden": (64, 64),
    "activation": "tanh",
    "initializer": "orthogonal",
    "adam_epsilon": 1e-5,
    "max_gradient_norm": 0.5,
}

# For environments without a preset of their own.
GENERAL: dict[str, dict[str, Any]] = {
    "reinforce": {"baseline": "leave_one_out"},
    "a2c": _ACTOR_CRITIC | {"num_steps": 5, "learning_rate": 7e-4},
    "ppo": _ACTOR_CRITIC
    | {"num_steps": 128, "learning_rate": 2.5e-4, "anneal_learning_rate": True},
    "trpo": _ACTOR_CRITIC
    | {"num_steps": 256, "learning_rate": 1e-3, "max_gradient_norm": None},
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "reinforce": {
        "CartPole-v1": {
            "steps": 1_000_000,
            "learning_rate": 0.025,
            # What all episodes of a batch do equally well has no advantage left to
            # correct it: the most probable actions would drift away.
            "anneal_learning_rate": True,
            "entropy_coefficient": 0.003,
        },
        "article": _ARTICLE | {"baseline": "none"},
        "article-baseline": _ARTICLE | {"baseline": "mean"},
    },
    "a2c": {
        "CartPole-v1": {
            "steps": 400_000,
            "num_envs": 4,
            "num_steps": 16,
            "hidden": (32, 32),
            "learning_rate": 4e-3,
            "anneal_learning_rate": True,
            "adam_epsilon": 1e-3,  # steps shrink with the gradient once all is learned
            "gamma": 0.98,
            "lam": 0.95,
            "entropy_coefficient": 0.0,
            "updates_per_chunk": 200,
        },
    },
    "ppo": {
        "CartPole-v1": {
            "steps": 150_000,
            "num_steps": 32,
            "hidden": (32, 32),
            "learning_rate": 2e-3,
            "gamma": 0.98,
            "lam": 0.9,
            "num_epochs": 10,
        },
        "Acrobot-v1": {
            "steps": 400_000,
            "num_envs": 16,
            "learning_rate": 1e-3,
            "normalize_observations": True,
            "num_epochs": 6,
            "num_minibatches": 8,
        },
        "Pendulum-v1": {
            "steps": 250_000,
            "num_envs": 4,
            "num_steps": 256,
            "learning_rate": 1e-3,
            "log_std": -0.7,
            "gamma": 0.9,
            "num_epochs": 10,
            "num_minibatches": 16,
        },
        "MountainCarContinuous-v0": {
            "steps": 400_000,
            "num_envs": 16,
            "num_steps": 256,
            "learning_rate": 1e-3,
            "normalize_observations": True,
            "scale_rewards": True,
            "gamma": 0.999,
            "num_epochs": 10,
            "num_minibatches": 16,
        },
        "Catch-bsuite": {
            "steps": 100_000,
            "num_envs": 16,
            "num_steps": 32,
            "learning_rate": 3e-3,
        },
        "Breakout-MinAtar": {
            "steps": 1_500_000,
            "num_envs": 64,
            "num_steps": 64,
            "hidden": (64,),
            "activation": "relu",
            "shared_torso": True,
            "learning_rate": 5e-3,
            "num_epochs": 3,
            "num_minibatches": 8,
            "entropy_coefficient": 0.01,
            "updates_per_chunk": 4,
        },
        # Where to go is a product of observations, which tanh networks, odd functions
        # at first, are slow to learn; and one step's torque matters little, which only
        # a small lam makes visible.
        "seven-joint-arm": {
            "env": "Reacher-misc",
            "env_options": {"num_joints": 7},
            "steps": 8_000_000,
            "num_envs": 1024,
            "num_steps": 25,
            "hidden": (128, 128),
            "activation": "silu",
            "learning_rate": 2e-3,
            "normalize_observations": True,
            "scale_rewards": True,
            "gamma": 0.97,
            "lam": 0.1,
            "entropy_coefficient": 0.01,
            "updates_per_chunk": 1,
        },
    },
    "trpo": {
        "CartPole-v1": {
            "steps": 153_600,
            "num_steps": 128,
            "hidden": (32, 32),
            "learning_rate": 3e-3,
            "gamma": 0.98,
            "lam": 0.9,
            "max_kl": 0.01,
            "num_minibatches": 8,
        },
    },
}


def choose_preset(
    algorithm: str, preset: str, env: str | None
) -> tuple[str, dict[str, Any]]:
    """The preset's name and settings.

    Args:
      algorithm: its name.
      preset: a preset's name; "default" for the environment's own, or else "general".
      env: the environment that was asked for, if one was.

    Raises:
      UsageError: for a name that is not known.
    """
    presets = PRESETS.get(algorithm, {})
    general = GENERAL.get(algorithm, {})
    if preset == "default":
        preset = env or DEFAULT_ENV
        if preset not in presets:
            return "general", general
    elif preset == "general":
        return "general", general
    elif preset not in presets:
        raise UsageError(
            f"unknown preset {preset!r} of {algorithm}; choose from "
            f"{', '.join(('general', *presets))}"
        )
    return preset, {"env": preset, **general, **presets[preset]}
