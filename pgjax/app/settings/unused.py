"""Settings that would do nothing, or undo all: told, with the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.build import Experiment
from pgjax.app.settings.ranges import flag
from pgjax.app.settings.run_settings import Config

Run = tuple[Config, Experiment]


def check_effects(given: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Sees that every run can learn, and that every setting does something in one.

    What a preset says beyond the given settings is not asked: it suits many runs.

    Args:
      given: settings, and their values; a list for several.
      runs: configs, and what `build` made of them.

    Raises:
      UsageError: for the first that has no effect.
    """
    for run in runs:
        if found := erased(*run):
            raise UsageError(f"nothing would be learned: {found}")
    for name, why in without_effect(given, runs).items():
        raise UsageError(f"{flag(name)} would do nothing: {why}")


def without_effect(given: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, str]:
    """The given settings that do something in none of the runs, and why."""
    found = [unused(*run) for run in runs]
    idle = {}
    for name, value in given.items():
        reasons = [x[name] for x in found if name in x]
        if not _is_off(value) and reasons and len(reasons) == len(found):
            idle[name] = reasons[0]
    return idle


def unused(config: Config, experiment: Experiment) -> dict[str, str]:
    """Settings that change nothing in a run, whatever their value, and why.

    Those that cannot be had at all, such as a shared torso without a critic, are not
    among them: `validation` refuses them.
    """
    options = config.algorithm_options
    complete = experiment.algorithm.complete_episodes
    found: dict[str, str] = {}
    if complete:
        found["num_steps"] = (
            f"{config.algorithm} plays complete episodes; --num-envs says how many, "
            "and --time-limit how long they may be"
        )
        found["resets"] = (
            f"{config.algorithm} plays complete episodes, each from a start of its own"
        )
    if options.get("baseline", "value") != "value":
        why = "there is no critic; --baseline value brings one"
        found |= dict.fromkeys(("value_coefficient", "time_limit_terminates"), why)
    if options.get("n_step") is not None:
        found["lam"] = "with --n-step there is no trace to decay; leave one of them out"
    elif not complete and config.num_steps == 1:
        found["lam"] = "a rollout of one step has no trace to decay; raise --num-steps"
    if "normalize_over" in options and not options["normalize_advantage"]:
        found["normalize_over"] = "with --no-normalize-advantage nothing is normalized"
    if config.algorithm == "ppo" and _gradient_steps(config) == 1:
        # The factory itself refuses `value_clip` and `target_kl`, which are off unless
        # they are given.
        found["clip"] = (
            "with one gradient step per rollout nothing has moved that it could hold; "
            "raise --num-epochs or --num-minibatches"
        )
    if not isinstance(experiment.env.action_space, pg.Box):
        found["log_std"] = (
            f"{config.env} has discrete actions, which have no standard deviation; "
            "leave it out"
        )
    return found


def erased(config: Config, experiment: Experiment) -> str | None:
    """Why every advantage would be 0, if it would."""
    options, steps = config.algorithm_options, config.num_steps
    if experiment.algorithm.complete_episodes:
        steps = experiment.env.max_steps
    samples = config.num_envs * steps
    if steps == 1 and options.get("baseline") == "mean":
        return (
            "in episodes of one step, --baseline mean takes each return from itself; "
            "take batch_mean or leave_one_out"
        )
    if samples == 1 and options.get("baseline") == "batch_mean":
        return "--baseline batch_mean takes the only return from itself; take none"
    if options.get("normalize_over") == "minibatch":
        samples //= options["num_minibatches"]
    if samples > 1 or not options["normalize_advantage"]:
        return None
    more = "fewer --num-minibatches" if steps > 1 else "more --num-envs"
    return (
        f"a single advantage, scaled to mean 0, is 0; take more samples ({more}), or "
        "--no-normalize-advantage"
    )


def _gradient_steps(config: Config) -> int:
    """Of an update."""
    options = config.algorithm_options
    return options["num_epochs"] * options["num_minibatches"]


def _is_off(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(x is None or x is False for x in values)
