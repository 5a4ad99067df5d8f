"""What is benchmarked: named cases, with the speed that each one aims at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pgjax._internal.xla import on_cpu

_POLICY = {"hidden": (128,), "activation": "relu", "initializer": "torch"}
_ACTOR_CRITIC = {
    "hidden": (64, 64),
    "activation": "tanh",
    "initializer": "orthogonal",
    "max_gradient_norm": 0.5,
}
_ALGORITHMS: dict[str, dict[str, Any]] = {
    "reinforce": _POLICY
    | {"options": {"baseline": "leave_one_out"}, "learning_rate": 0.01},
    "a2c": _ACTOR_CRITIC | {"options": {}, "learning_rate": 7e-4, "num_steps": 32},
    # PureJaxRL's settings.
    "ppo": _ACTOR_CRITIC
    | {
        "options": {"value_clip": 0.2, "entropy_coefficient": 0.01},
        "learning_rate": 2.5e-4,
        "num_steps": 128,
    },
    "trpo": _ACTOR_CRITIC
    | {
        "options": {},
        "learning_rate": 1e-3,
        "num_steps": 128,
        "max_gradient_norm": None,
    },
}
SAMPLES = 400_000  # environment steps of a repetition, about


class Spec(NamedTuple):
    """What both sides train, as plain data."""

    algorithm: str
    env: str
    num_envs: int  # of each agent
    num_steps: int | None  # per environment and update; None for complete episodes
    num_agents: int  # mapped side by side; 1 is one that is not mapped
    hidden: tuple[int, ...]
    activation: str
    initializer: str
    options: Mapping[str, Any]  # of the algorithm; a baseline by its name
    learning_rate: float
    updates: int  # in a repetition
    max_gradient_norm: float | None = None
    trained: int = 0  # updates before anything is timed
    seed: int = 0


class Case(NamedTuple):
    """A training to be timed."""

    name: str
    spec: Spec
    aim: float | None = None  # environment steps per second
    precision: str = "float32"  # of the network's arithmetic


def make_spec(algorithm: str, **given: Any) -> Spec:
    """A spec with the network and settings that the literature gives the algorithm.

    Args:
      algorithm: its name.
      **given: other fields of `Spec`; by default 1,024 CartPoles and one agent, and for
        REINFORCE, complete episodes.
    """
    settings: dict[str, Any] = {
        "algorithm": algorithm,
        "env": "CartPole-v1",
        "num_envs": 1024,
        "num_steps": None,
        "num_agents": 1,
        "updates": 0,
        **_ALGORITHMS[algorithm],
        **given,
    }
    if not settings["updates"]:
        steps = settings["num_steps"] or 50  # of an episode, when training begins
        settings["updates"] = -(-SAMPLES // (settings["num_envs"] * steps))
        settings["updates"] = max(1, settings["updates"] // settings["num_agents"])
    return Spec(**settings)


def title_of(spec: Spec) -> str:
    """An algorithm and its sizes, in words.

    >>> title_of(make_spec("a2c"))
    'A2C, 1,024 envs x 32 steps'
    >>> title_of(make_spec("reinforce", num_agents=256, num_envs=4))
    'REINFORCE, 256 agents x 4 complete episodes'
    """
    steps = "complete episodes"
    if spec.num_steps:
        steps = f"env{'s' if spec.num_envs > 1 else ''} x {spec.num_steps:,} steps"
    agents = f"{spec.num_agents:,} agents x " if spec.num_agents > 1 else ""
    return f"{spec.algorithm.upper()}, {agents}{spec.num_envs:,} {steps}"


def standard_table() -> tuple[Case, ...]:
    """What is measured if nothing is asked for: sizes that fill the default device."""
    return CPU_TABLE if on_cpu() else ACCELERATOR_TABLE


def _case(algorithm: str, *, about: str = "", **given: Any) -> Case:
    aim = given.pop("aim", None)
    spec = make_spec(algorithm, **given)
    return Case(title_of(spec) + about, spec, aim=aim)


# What the README quotes.
CPU_TABLE = (
    _case("reinforce", updates=3, about=", first updates"),
    _case("reinforce", updates=1, trained=40, about=", trained", aim=2.4e6),
    _case("reinforce", num_steps=128, aim=2.4e6),
    _case("a2c", aim=7e5),
    _case("ppo", num_envs=4, updates=100, aim=2e5),
    _case("ppo", aim=2.5e5),
    _case("reinforce", num_agents=256, num_envs=4, updates=10, aim=1e6),
)
ACCELERATOR_TABLE = (
    _case("reinforce", num_envs=4096, updates=2, about=", first updates"),
    _case("reinforce", num_envs=4096, updates=1, trained=40, about=", trained"),
    _case("reinforce", num_envs=4096, num_steps=128),
    _case("reinforce", num_envs=65_536, num_steps=128),
    _case("a2c", num_envs=4096),
    _case("a2c", num_envs=65_536),
    _case("ppo", num_envs=4, updates=20),
    _case("ppo", num_envs=4096),
    _case("ppo", num_envs=65_536),
    _case("reinforce", num_agents=4096, num_envs=4, updates=2),
    _case("ppo", num_agents=4096, num_envs=4, updates=1),
)
AIMED_AT = "two cores with AVX-512 that reach 160 GFLOP/s in matrix products"
