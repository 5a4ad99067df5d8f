"""A run's settings: plain data, checked before any work, written with every run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pgjax._internal.resets import Resets
from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import is_param, params_apart, params_together
from pgjax.app.settings.presets import PresetFile, choose_preset, told_by_preset
from pgjax.app.settings.ranges import check_env_arg, check_env_param, flag
from pgjax.app.settings.signature_options import (
    Option,
    algorithm_options,
    nearest,
    options_of,
)
from pgjax.app.settings.validation import check_config, check_value
from pgjax.networks.initialization import INITIALIZERS
from pgjax.networks.mlp import ACTIVATIONS

# The mean of 100 training episodes above which a task counts as solved.
SOLVED_RETURNS = {
    "CartPole-v1": 475.0,
    "Acrobot-v1": -100.0,
    "MountainCar-v0": -110.0,
    "Catch-bsuite": 0.95,
}

_RENAMED = {"env_options": "env_arg"}  # since 0.2.0

# What a preset says of its own environment only.
OF_ONE_ENV = {
    "solved_return",
    "until_solved",
    "env_arg",
    "env_param",
    "time_limit",
    "time_limit_terminates",
}


# Settings that runs of 0.2 may have been recorded without, and what those runs did.
LATER: dict[str, Any] = {"eval_every": None, "resets": "auto"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines what a training run computes.

    The lines below are also the help of `pgjax train`.

    Args:
      algorithm: the name of a factory in `pgjax.algorithms`.
      preset: the name of the settings that these started from, or their file.
      env: gymnax environment, suite:Name, or module:name of your own, from here.
      time_limit: steps per episode (default: the environment's own).
      time_limit_terminates: count the time limit as a terminal state, as the article
        does; it matters to a critic only.
      env_arg: options of what makes the environment, such as num_joints=7.
      env_param: numbers of its physics, such as gravity=5.0; several values of one
        train in one program, as NAME VALUE VALUE.
      seeds: number of agents, trained side by side.
      seed: seed of the first agent; the others follow it.
      steps: environment steps per agent; it ends with the update that reaches them.
      env_devices: devices that share the environments of an agent; another number of
        them draws other random numbers.
      num_envs: environments per agent; with complete episodes, one episode each.
      num_steps: steps per environment and update; unused with complete episodes.
      resets: how start states are drawn: fresh or spares, independently; pooled, shared
        by episodes, where resets are expensive; unused with complete episodes.
      hidden: widths of the hidden layers, such as 64,64.
      activation: activation of the hidden layers.
      initializer: initialisation of the layers.
      shared_torso: let actor and critic share all but their last layers.
      log_std: where the log standard deviation of continuous actions starts, in units
        of half the action range.
      normalize_observations: scale observations to mean 0 and variance 1.
      scale_rewards: divide rewards by the deviation of the discounted return.
      learning_rate: Adam's learning rate.
      anneal_learning_rate: let the learning rate fall to 0 over the run's environment
        steps, linearly.
      adam_epsilon: Adam's epsilon.
      max_gradient_norm: clip gradients to this global norm; none for no clipping.
      solved_return: an agent has solved the task once the mean return of its last 100
        episodes exceeds this; `pgjax envs` lists the usual ones.
      until_solved: stop an agent once it has solved the task.
      log_every: updates from one row of the metrics to the next.
      updates_per_chunk: updates between two looks at the clock, the files and Ctrl-C;
        they change no agent's numbers.
      eval_episodes: episodes of an evaluation, for each agent.
      eval_every: environment steps of an agent from one evaluation of its greedy policy
        to the next, the last update among them (default: only the final evaluation);
        the best is kept in params_best.npz.
      algorithm_options: the algorithm's own settings, by name.
    """

    algorithm: str = "reinforce"
    preset: str = "default"
    env: str = "CartPole-v1"
    time_limit: int | None = None
    time_limit_terminates: bool = False
    env_arg: dict = field(default_factory=dict)
    env_param: dict[str, float] = field(default_factory=dict)
    seeds: int = 8
    seed: int = 0
    steps: int = 300_000
    env_devices: int = 1
    num_envs: int = 5
    num_steps: int = 32
    resets: str = "auto"
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    initializer: str = "torch"
    shared_torso: bool = False
    log_std: float = 0.0
    normalize_observations: bool = False
    scale_rewards: bool = False
    learning_rate: float = 0.01
    anneal_learning_rate: bool = False
    adam_epsilon: float = 1e-8
    max_gradient_norm: float | None = None
    solved_return: float | None = None
    until_solved: bool = False
    log_every: int = 1
    updates_per_chunk: int = 10
    eval_episodes: int = 100
    eval_every: int | None = None
    algorithm_options: dict = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name, also of the algorithm and the environment."""
        fields = {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}
        own = fields.pop("algorithm_options")
        settings = {k: x for k, x in fields.items() if k not in ("algorithm", "preset")}
        return params_apart(settings) | own

    @property
    def num_updates(self) -> int:
        """How many updates `steps` make, where each has num_envs x num_steps."""
        return -(-self.steps // (self.num_envs * self.num_steps))

    def env_steps(self, *, complete_episodes: bool) -> int:
        """Environment steps of a run: `steps`, but for the whole of its last update."""
        if complete_episodes:  # which end where they end
            return self.steps
        return self.num_updates * self.num_envs * self.num_steps

    def chunk_length(self, *, complete_episodes: bool) -> int:
        """Updates of a chunk: no more than `steps` can make."""
        least = self.num_envs * (1 if complete_episodes else self.num_steps)
        return min(self.updates_per_chunk, -(-self.steps // least))


def config_fields() -> dict[str, Option]:
    """What each field of a config may be."""
    options = options_of(Config)
    for name, known in (
        ("activation", ACTIVATIONS),
        ("initializer", INITIALIZERS),
        ("resets", get_args(Resets)),
    ):
        options[name] = options[name]._replace(choices=tuple(known))
    return options


def run_options() -> dict[str, Option]:
    """The options that every algorithm shares."""
    own = "algorithm", "preset", "algorithm_options"
    return {name: opt for name, opt in config_fields().items() if name not in own}


def make_config(
    algorithm: str, preset: str | PresetFile, given: Mapping[str, Any]
) -> Config:
    """A checked config: defaults, then the preset's settings, then the given ones."""
    if "env" in given:  # it says which preset, before all is checked
        check_value("env", given["env"], run_options()["env"])
    preset, chosen = choose_preset(algorithm, preset, given.get("env"))
    settings = {**chosen, **given}
    if given.get("env", chosen.get("env")) != chosen.get("env"):
        for name in OF_ONE_ENV - set(given):
            settings.pop(name, None)
    own = {name: x.default for name, x in algorithm_options(algorithm).items()}
    env = settings.get("env", Config.env)
    usual = {"solved_return": SOLVED_RETURNS.get(env)}
    with told_by_preset(preset, chosen, given):
        return from_settings(algorithm, preset, own | usual | settings)


def to_settings(config: Config) -> dict[str, Any]:
    """The settings of a config, as JSON reads them."""
    return json.loads(json.dumps(config.settings))


def from_settings(algorithm: str, preset: str, settings: Mapping[str, Any]) -> Config:
    """The checked config that `to_settings` gave the settings of.

    Raises:
      UsageError: for names or values that no config has.
    """
    own = algorithm_options(algorithm)
    known = run_options()
    settings = params_together(settings)
    if unknown := settings.keys() - own.keys() - known.keys():
        name = min(unknown)
        raise UsageError(told_of_unknown(name, algorithm))
    options = {name: settings[name] for name in own if name in settings}
    rest = {name: settings[name] for name in known if name in settings}
    if "hidden" in rest:
        if not isinstance(rest["hidden"], list | tuple):
            raise UsageError(f"--hidden must be ints, got {rest['hidden']!r}")
        rest["hidden"] = tuple(rest["hidden"])
    config = Config(
        algorithm=algorithm, preset=preset, algorithm_options=options, **rest
    )
    check(config)
    return config


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a record, by the names that they have now."""
    return {_RENAMED.get(name, name): x for name, x in settings.items()}


def told_of_unknown(
    name: str,
    *algorithms: str,
    beside: Sequence[str] = ("algorithm", "preset", "log"),
) -> str:
    """What to say of a setting that none of the algorithms has.

    Args:
      name: the setting.
      *algorithms: their names.
      beside: what else may stand where it does.
    """
    known = [
        *dict.fromkeys(x for each in algorithms for x in algorithm_options(each)),
        *run_options(),
        *beside,
    ]
    meant = nearest(name, known)
    told = (
        f"perhaps {flag(meant)} is meant" if meant else f"there are {', '.join(known)}"
    )
    return f"no option {flag(name)} of {' or '.join(algorithms)}: {told}"


def check_each(algorithm: str, settings: Mapping[str, Any]) -> None:
    """Sees that settings are some of a run, each by itself.

    Args:
      algorithm: whose.
      settings: by name, as TOML has them.

    Raises:
      UsageError: for one that there is not, or a value that it cannot have.
    """
    options = run_options() | algorithm_options(algorithm)
    for name, value in settings.items():
        if is_param(name):
            check_env_param({name.partition(".")[2]: value})
            continue
        if name not in options:
            raise UsageError(told_of_unknown(name, algorithm, beside=()))
        many = options[name].several and isinstance(value, list)
        check_value(name, tuple(value) if many else value, options[name])
        if name == "env_arg":
            check_env_arg(value)
        elif name == "env_param":
            check_env_param(value)


def check(config: Config) -> None:
    """Raises UsageError for the first setting that cannot be."""
    check_config(config, config_fields(), algorithm_options(config.algorithm))
