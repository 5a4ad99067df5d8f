"""Trains with Stable-Baselines3's A2C or PPO, with PyTorch on the CPU."""

from __future__ import annotations

import copy
import os
import platform
import time
from typing import Any, NamedTuple

SECONDS = 2.0  # of a repetition, which makes as many updates as this takes
TRIAL_SECONDS = 1.0  # in which the speed is estimated before

# Our options by the name they have there; no other can be set.
NAMES = {
    "gamma": "gamma",
    "lam": "gae_lambda",
    "clip": "clip_range",
    "value_clip": "clip_range_vf",
    "target_kl": "target_kl",
    "num_epochs": "n_epochs",
    "entropy_coefficient": "ent_coef",
    "normalize_advantage": "normalize_advantage",
}

# RL Baselines3 Zoo, hyperparams/ppo.yml and a2c.yml, CartPole-v1.
TUNED: dict[str, dict[str, Any]] = {
    "ppo": {
        "n_steps": 32,
        "batch_size": 256,
        "n_epochs": 20,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "ent_coef": 0.0,
        "learning_rate": lambda remaining: 1e-3 * remaining,
        "clip_range": lambda remaining: 0.2 * remaining,
    },
    "a2c": {"n_steps": 5, "ent_coef": 0.0},
}
TUNED_ENVS = 8


class Way(NamedTuple):
    """A way to compute the same."""

    envs: str
    model: Any
    threads: int

    def learn(self, updates: int) -> int:
        """Makes so many updates; returns the environment steps they took."""
        import torch

        torch.set_num_threads(self.threads)
        steps = updates * self.model.n_steps * self.model.n_envs
        self.model.learn(steps)
        return steps


def build(spec: dict[str, Any]) -> Any:
    """Makes a model, and lets it learn for a moment.

    Args:
      spec: that of `pgjax.bench.cases.Spec`, with all options of the algorithm, and
        best: whether to use Stable-Baselines3's tuned settings for CartPole-v1 instead,
          and its SubprocVecEnv where that is faster.
    """
    from protocol import Work  # type: ignore[import-not-found]

    ways = _ways(spec)
    speeds = [_speed(way) for way in ways]
    speed, way = max(zip(speeds, ways, strict=True), key=lambda pair: pair[0])
    model = way.model
    for other in ways:
        if other.model is not model:
            other.model.env.close()
    updates = max(1, round(SECONDS * speed / (model.n_steps * model.n_envs)))
    start = copy.deepcopy(model.get_parameters())

    def reset() -> None:
        model.set_parameters(start)
        model.set_random_seed(spec["seed"])

    return Work(_about(spec, way), reset, lambda: way.learn(updates))


def _ways(spec: dict[str, Any]) -> list[Way]:
    """All that are worth a try: for networks this small, one thread may be faster."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if spec["best"]:
        settings, num_envs = TUNED[spec["algorithm"]], TUNED_ENVS
        kinds = ["DummyVecEnv", "SubprocVecEnv"]
    else:
        settings, num_envs = _settings(spec), spec["num_envs"]
        kinds = ["DummyVecEnv"]
    models = {envs: _model(spec, settings, num_envs, envs) for envs in kinds}
    return [
        Way(envs, model, threads)
        for envs, model in models.items()
        for threads in sorted({1, cores})
    ]


def _model(
    spec: dict[str, Any], settings: dict[str, Any], num_envs: int, envs: str
) -> Any:
    import stable_baselines3
    from stable_baselines3.common import env_util, vec_env

    make = getattr(stable_baselines3, spec["algorithm"].upper())
    env = env_util.make_vec_env(
        spec["env"],
        num_envs,
        seed=spec["seed"],
        vec_env_cls=getattr(vec_env, envs),
    )
    return make("MlpPolicy", env, seed=spec["seed"], device="cpu", **settings)


def _settings(spec: dict[str, Any]) -> dict[str, Any]:
    """The same network and algorithm, in Stable-Baselines3's words.

    Raises:
      ValueError: for what it has not.
    """
    from torch import nn

    options = {name: x for name, x in spec["options"].items() if x is not None}
    hidden = list(spec["hidden"])
    activations = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
    clip = spec["max_gradient_norm"]
    settings: dict[str, Any] = {
        "n_steps": spec["num_steps"],
        "learning_rate": spec["learning_rate"],
        "max_grad_norm": float("inf") if clip is None else clip,
        "vf_coef": options.pop("value_coefficient")
        / 2,  # of the square, not half of it
        "policy_kwargs": {
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": activations[spec["activation"]],
            "ortho_init": spec["initializer"] == "orthogonal",
        },
    }
    if spec["algorithm"] == "a2c":
        settings["use_rms_prop"] = False  # but Adam
    else:
        samples = spec["num_steps"] * spec["num_envs"]
        settings["batch_size"] = samples // options.pop("num_minibatches")
        if options.pop("normalize_over") == "batch":
            raise ValueError("Stable-Baselines3 cannot normalise over a whole batch")
    if unknown := sorted(options.keys() - NAMES.keys()):
        raise ValueError(f"Stable-Baselines3 has no {', '.join(unknown)}")
    return settings | {NAMES[name]: x for name, x in options.items()}


def _speed(way: Way) -> float:
    """Steps per second: the best of two trials, of which the first warms up."""
    speeds = []
    for _ in range(2):
        start, steps = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < TRIAL_SECONDS:
            steps += way.learn(1)
        speeds.append(steps / seconds)
    return max(speeds)


def _about(spec: dict[str, Any], way: Way) -> dict[str, Any]:
    import gymnasium
    import stable_baselines3
    import torch

    version, model = stable_baselines3.__version__, way.model
    threads = f"{way.threads} thread{'s' * (way.threads > 1)}"
    return {
        "compile_seconds": 0.0,  # there is nothing to compile
        "versions": {
            "stable-baselines3": version,
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
            "python": platform.python_version(),
        },
        "what": f"Stable-Baselines3 {version} {spec['algorithm']}"
        f"{' as tuned' * spec['best']}, {way.envs} of {model.n_envs}, {threads}",
    }


if __name__ == "__main__":
    from protocol import serve  # beside this script

    serve(build)
