"""The public functions of the mathematics, each with arrays and numbers to call it on.

For tests of what all of them have in common: dtypes, promotion, ranges.
"""

import dataclasses
from typing import Any

import numpy as np

import pgjax as pg
from pgjax.baselines import BASELINES
from pgjax.reductions import (
    mean_weights,
    moments,
    per_episode,
    standardize,
    weighted_mean,
)

T, N, K = 5, 4, 3
_rng = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


# By the names of arguments. Multiples of 1/64 below 4: exact in every dtype.
ARRAYS = {
    "log_prob": -np.abs(_normal(T, N)),
    "old_log_prob": -np.abs(_normal(T, N)),
    "reference_log_prob": -np.abs(_normal(T, N)),
    "log_ratio": _normal(T, N),
    "advantage": _normal(T, N),
    "value": _normal(T, N),
    "old_value": _normal(T, N),
    "next_value": _normal(T, N),
    "target": _normal(T, N),
    "entropy": np.abs(_normal(T, N)),
    "returns": _normal(T, N),
    "reward": _rng.integers(0, 2, (T, N)),
    "group_reward": _rng.integers(0, 2, 2 * N),
    "terminated": _rng.random((T, N)) < 0.2,
    "truncated": _rng.random((T, N)) < 0.2,
    "weight": np.arange(T)[:, None] < np.array([5, 3, 1, 4]),
    "logits": _normal(T, N, K),
    "two_logits": _normal(T, N, 2),
    "other_logits": _normal(T, N, K),
    "mean": _normal(T, N),
    "log_std": _normal(T, N),
    "other_mean": _normal(T, N),
    "other_log_std": _normal(T, N),
    "action": _normal(T, N),
    "choice": _rng.integers(0, 2, (T, N)),
}
ARRAYS = {
    name: x if x.dtype == bool else np.round(x * 64) / 64 for name, x in ARRAYS.items()
}
FLAGS = ("terminated", "truncated")


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """`call` takes the arrays by position, and the numbers by name."""

    call: Any
    arrays: tuple[str, ...]
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    out_of_range: dict[str, tuple] = dataclasses.field(default_factory=dict)

    def __call__(self, arrays: dict[str, Any], **numbers: Any) -> Any:
        positional = [arrays[name] for name in self.arrays]
        return self.call(*positional, **(self.numbers | numbers))


NAN, INF = float("nan"), float("inf")
UNIT = (-0.1, 1.1, NAN, INF)
POSITIVE = (0.0, -0.2, NAN)
STEPS = ("reward", "next_value", *FLAGS)
SAMPLES = ("log_prob", "old_log_prob", "advantage")
TOKENS = ("log_prob", "old_log_prob", "reference_log_prob", "advantage", "weight")
GAUSSIAN = ("mean", "log_std")


def _grouped(advantages: Any) -> Any:
    return lambda reward, **settings: advantages(reward, group_size=4, **settings)


def _grpo(reduction: str) -> Function:
    def call(*arrays: Any, **numbers: Any) -> Any:
        return pg.grpo_loss(*arrays, reduction=reduction, **numbers)

    numbers = {"clip": 0.5, "clip_high": 0.75, "kl_coefficient": 0.25}
    bad = {
        "clip": POSITIVE,
        "clip_high": POSITIVE,
        "kl_coefficient": (-1.0, NAN, INF),
    }
    return Function(call, TOKENS, numbers, bad)


def _categorical(method: Any, *arrays: str) -> Function:
    return Function(lambda logits, *rest: method(pg.Categorical(logits), *rest), arrays)


def _gaussian(method: Any, *arrays: str) -> Function:
    return Function(
        lambda mean, log_std, *rest: method(pg.DiagGaussian(mean, log_std, 0), *rest),
        (*GAUSSIAN, *arrays),
    )


FUNCTIONS = {
    "policy_gradient_loss": Function(
        pg.policy_gradient_loss, ("log_prob", "advantage")
    ),
    "surrogate_loss": Function(pg.surrogate_loss, SAMPLES),
    "clipped_surrogate_loss": Function(
        pg.clipped_surrogate_loss,
        SAMPLES,
        {"clip": 0.5, "clip_high": 0.75},
        {"clip": POSITIVE, "clip_high": POSITIVE},
    ),
    "value_loss": Function(pg.value_loss, ("value", "target")),
    "clipped_value_loss": Function(
        pg.clipped_value_loss,
        ("value", "old_value", "target"),
        {"clip": 0.5},
        {"clip": POSITIVE},
    ),
    "entropy_loss": Function(pg.entropy_loss, ("entropy",)),
    "kl_penalty": Function(pg.kl_penalty, ("log_prob", "reference_log_prob")),
    "discounted_returns": Function(
        pg.discounted_returns, ("reward", *FLAGS), {"gamma": 0.5}, {"gamma": UNIT}
    ),
    "lambda_returns": Function(
        pg.lambda_returns,
        STEPS,
        {"gamma": 0.5, "lam": 0.75},
        {"gamma": UNIT, "lam": UNIT},
    ),
    "gae": Function(
        pg.gae,
        ("reward", "value", "next_value", *FLAGS),
        {"gamma": 0.5, "lam": 0.75},
        {"gamma": UNIT, "lam": UNIT},
    ),
    "n_step_returns": Function(
        lambda *arrays, **numbers: pg.n_step_returns(*arrays, n=2, **numbers),
        STEPS,
        {"gamma": 0.5},
        {"gamma": UNIT},
    ),
    "vtrace": Function(
        pg.vtrace,
        ("reward", "value", "next_value", *FLAGS, "log_ratio"),
        {"gamma": 0.5, "lam": 0.75, "clip_rho": 1.0, "clip_c": 1.0},
        {"gamma": UNIT, "lam": UNIT, "clip_rho": POSITIVE, "clip_c": POSITIVE},
    ),
    "rloo_advantages": Function(_grouped(pg.rloo_advantages), ("group_reward",)),
    "grpo_advantages": Function(_grouped(pg.grpo_advantages), ("group_reward",)),
    "centred_advantages": Function(
        lambda reward: pg.grpo_advantages(reward, group_size=2, scale_by_std=False),
        ("group_reward",),
    ),
    "grpo_loss": _grpo("sequences"),
    "grpo_loss_tokens": _grpo("tokens"),
    "grpo_loss_sum": _grpo("sequence_sums"),
    "weighted_mean": Function(weighted_mean, ("returns", "weight")),
    "mean_weights": Function(mean_weights, ("weight",)),
    "per_episode": Function(per_episode, ("weight",)),
    "moments": Function(moments, ("returns", "weight")),
    "standardize": Function(standardize, ("returns", "weight")),
    "categorical_probs": _categorical(lambda x: x.probs, "logits"),
    "categorical_log_prob": _categorical(pg.Categorical.log_prob, "logits", "choice"),
    "categorical_entropy": _categorical(pg.Categorical.entropy, "logits"),
    "two_log_prob": _categorical(pg.Categorical.log_prob, "two_logits", "choice"),
    "two_entropy": _categorical(pg.Categorical.entropy, "two_logits"),
    "categorical_kl": Function(
        lambda logits, other: pg.Categorical(logits).kl(pg.Categorical(other)),
        ("logits", "other_logits"),
    ),
    "gaussian_std": _gaussian(lambda x: x.std),
    "gaussian_mode": _gaussian(pg.DiagGaussian.mode),
    "gaussian_from_noise": _gaussian(pg.DiagGaussian.from_noise, "action"),
    "gaussian_log_prob": _gaussian(pg.DiagGaussian.log_prob, "action"),
    "gaussian_entropy": _gaussian(pg.DiagGaussian.entropy),
    "gaussian_kl": Function(
        lambda mean, log_std, other_mean, other_log_std: pg.DiagGaussian(
            mean, log_std, 0
        ).kl(pg.DiagGaussian(other_mean, other_log_std, 0)),
        (*GAUSSIAN, "other_mean", "other_log_std"),
    ),
} | {
    f"baseline_{name}": Function(baseline, ("returns", "weight", "value"))
    for name, baseline in BASELINES.items()
}
