"""Settings that cannot be, told before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgjax.app.errors import UsageError
from pgjax.app.settings import ranges
from pgjax.app.settings.ranges import flag
from pgjax.app.settings.signature_options import Option

if TYPE_CHECKING:
    from pgjax.app.settings.run_settings import Config


def check_config(
    config: Config, fields: dict[str, Option], own: dict[str, Option]
) -> None:
    """Raises UsageError for the first setting that cannot be.

    Args:
      config: what to check.
      fields: what each of its fields may be.
      own: what each of the algorithm's options may be.
    """
    for name, option in fields.items():
        check_value(name, getattr(config, name), option)
    ranges.check_env_arg(config.env_arg)
    ranges.check_env_param(config.env_param)
    if config.seed + config.seeds > 2**31:
        most = 2**31 - config.seeds
        raise UsageError(
            f"--seed {config.seed} and the {config.seeds} --seeds that follow it must "
            f"be below 2**31: take --seed {most} at most"
        )
    if not config.hidden:
        raise UsageError("--hidden needs a width")
    missing = own.keys() - config.algorithm_options.keys()
    if missing:
        raise UsageError(f"no value of {flag(min(missing))}")
    for name, value in config.algorithm_options.items():
        if name not in own:
            raise UsageError(f"no option {flag(name)}; known are {', '.join(own)}")
        check_value(name, value, own[name])
    _check_together(config)


def _check_together(config: Config) -> None:
    """Raises UsageError for settings that do not go with each other."""
    options = config.algorithm_options
    if config.until_solved and config.solved_return is None:
        raise UsageError(
            f"--until-solved needs --solved-return: {config.env} has no usual one"
        )
    if options.get("baseline") == "leave_one_out" and config.num_envs < 2:
        raise UsageError(
            f"--num-envs must be at least 2 to leave one out, got {config.num_envs}"
        )
    samples = config.num_envs * config.num_steps
    minibatches = options.get("num_minibatches", 1)
    if samples % minibatches:
        raise UsageError(
            f"--num-minibatches must divide --num-envs x --num-steps = {samples}, got "
            f"{minibatches}"
        )
    if config.shared_torso and options.get("baseline", "value") != "value":
        raise UsageError("--shared-torso needs a critic: pass --baseline value")
    if options.get("n_step") is not None and config.num_steps < options["n_step"]:
        raise UsageError(
            f"--n-step {options['n_step']} is more than --num-steps {config.num_steps}"
        )
    if config.shared_torso and config.algorithm == "trpo":
        raise UsageError(
            "--shared-torso does not go with trpo: fitting the critic would move the "
            "policy out of its trust region"
        )


def check_value(name: str, value: Any, option: Option) -> None:
    """Raises UsageError for what an option cannot be."""
    if value is None and option.optional:
        return
    values = value if option.several and isinstance(value, tuple) else [value]
    if (option.several and values is not value) or not all(
        _fits(x, option.type) for x in values
    ):
        raise UsageError(f"{flag(name)} must be {option.kind}, got {value!r}")
    if option.choices and value not in option.choices:
        raise UsageError(
            f"{flag(name)} must be one of {', '.join(option.choices)}, got {value!r}"
        )
    for one in values:
        if option.type is int:
            ranges.check_int(name, one)
        elif option.type is float:
            ranges.check_float(name, one)


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))
