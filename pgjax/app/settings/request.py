"""What a run is asked to do: settings that all agents share, and a grid of others.

It is the part of config.json that `pgjax train --config` reads again. A run without a
grid is the seeds of one combination; one with a grid is every combination of its
values, for every seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.settings.env_params import NAME, is_param, option_of, params_apart
from pgjax.app.settings.grid import (
    ONE_VALUE,
    Group,
    check_number,
    is_mapped,
    make_groups,
)
from pgjax.app.settings.presets import PresetFile
from pgjax.app.settings.ranges import check_env_arg, check_env_param, flag
from pgjax.app.settings.run_settings import (
    Config,
    config_fields,
    from_settings,
    make_config,
    run_options,
    to_settings,
    told_of_unknown,
)
from pgjax.app.settings.signature_options import Option, algorithm_options
from pgjax.app.settings.validation import check_value


class Request(NamedTuple):
    """What to train, as JSON data."""

    algorithm: str
    preset: str  # the name of the settings that these started from
    settings: dict[str, Any]  # every setting that all agents share
    grid: dict[str, list[Any]]  # every combination of these is trained, for every seed
    log: list[str]  # names of loggers, beside metrics.csv

    @property
    def groups(self) -> list[Group]:
        """The agents, in groups of one program each; their order is the summary's.

        Raises:
          UsageError: for the first combination that cannot be.
        """
        check_number(self.settings["seeds"], self.grid)
        return make_groups(self.config, self.algorithm, self.grid)

    def config(self, point: Mapping[str, Any]) -> Config:
        """The config of one combination of the grid's values.

        Raises:
          UsageError: for one that cannot be, or leaves a setting out.
        """
        settings = {**self.settings, **point}
        known = {*run_options(), *algorithm_options(self.algorithm)} - {NAME}
        if missing := known - settings.keys():
            raise UsageError(f"no value of {flag(min(missing))}")
        return from_settings(self.algorithm, self.preset, settings)


def make_request(
    algorithm: str,
    preset: str | PresetFile,
    given: Mapping[str, Any],
    log: Sequence[str] = (),
) -> Request:
    """A request, every setting of which is known.

    Args:
      algorithm: its name.
      preset: as for `make_config`.
      given: settings by name; a list of values for those of the grid.
      log: names of loggers.

    Raises:
      UsageError: for settings that cannot be, or have several values and cannot.
    """
    one, grid = split(algorithm, given)
    first = {name: values[0] for name, values in grid.items()}
    config = make_config(algorithm, preset, {**one, **first})
    settings = to_settings(config)
    for name in grid:
        del settings[name]
    axes = _in_order(algorithm, _as_json(grid))
    request = Request(algorithm, config.preset, settings, axes, list(log))
    _ = request.groups
    return request


def _in_order(algorithm: str, axes: dict[str, Any]) -> dict[str, Any]:
    """Axes of a grid in the order of the options, however they were given."""
    options = config_fields() | algorithm_options(algorithm)
    params = sorted(name for name in axes if is_param(name))
    return {name: axes[name] for name in [*options, *params] if name in axes}


def split(
    algorithm: str, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Settings with one value, and those with several.

    Raises:
      UsageError: for several values of what a whole run has one of, and for a value
        that is there twice.
    """
    options = config_fields() | algorithm_options(algorithm)
    one, grid = {}, {}
    for name, value in params_apart(given).items():
        option = option_of(name, options)
        values = _values(name, option, value)
        if values is None:
            one[name] = _plain(option, value)
        elif not values:
            raise UsageError(f"{flag(name)} needs a value")
        elif len(values) == 1:
            one[name] = values[0]
        elif name in ONE_VALUE:
            raise UsageError(f"{flag(name)} has one value in a run, got {values}")
        else:
            grid[name] = values
    return one, grid


def _plain(option: Option | None, value: Any) -> Any:
    """A value as it is meant: 3e5 is a count; "none" is none, as a file says it."""
    if option is None:
        return value
    if option.several and not isinstance(value, list | tuple):  # of one layer
        value = (value,)
    if option.several:
        return tuple(_plain(option._replace(several=False), x) for x in value)
    if option.type is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if option.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**63 else value
    return None if option.optional and value == "none" else value


def _values(name: str, option: Option | None, value: Any) -> list[Any] | None:
    """The values in a list of them, as they are meant; None for one value itself.

    Raises:
      UsageError: for one that is there twice.
    """
    if not isinstance(value, list | tuple):
        return None
    layers = option is not None and option.several  # of which a list is one value
    if layers and not any(isinstance(x, list | tuple) for x in value):
        return None
    found: list[Any] = []
    for x in (_plain(option, x) for x in value):  # True and 1 are equal, not the same
        if any(x == y and type(x) is type(y) for y in found):
            again = _shown([x])
            or_layers = f", or {again},{again} for more layers" if layers else ""
            raise UsageError(f"{flag(name)} has {again} twice: give it once{or_layers}")
        found.append(x)
    return found


def extended(request: Request, again: Mapping[str, Any], *, run: Any) -> Request:
    """A request with what is given again: the same, or more seeds, values and steps.

    Args:
      request: of the run that goes on.
      again: settings by name, as for `make_request`; those left out stay as they are.
      run: its directory, for messages.

    Raises:
      UsageError: naming what differs.
    """
    about = {"algorithm": request.algorithm, "preset": request.preset}
    differing = [
        _told(name, again[name], of)
        for name, of in about.items()
        if name in again and again[name] not in (of, [of], (of,), "default")
    ]
    given = {name: x for name, x in again.items() if name not in about}
    one, grid = split(request.algorithm, given)
    _check_values(request.algorithm, {**grid, **{k: [x] for k, x in one.items()}})
    settings, axes = dict(request.settings), dict(request.grid)
    differing += _more_of_one(settings, axes, one)
    differing += _more_values(request, settings, axes, grid, run)
    if settings["steps"] > request.settings["steps"]:
        differing += _annealed(request, settings["steps"])
    if differing:
        raise UsageError(
            f"{run} has other settings: {'; '.join(differing)}; leave them out, or "
            "start another run"
        )
    axes = _in_order(request.algorithm, axes)
    request = request._replace(settings=settings, grid=axes)
    _ = request.groups
    return request


def _check_values(algorithm: str, given: Mapping[str, list[Any]]) -> None:
    """Raises UsageError for an unknown name, or a value that it cannot have."""
    options = run_options() | algorithm_options(algorithm)
    for name, values in given.items():
        if is_param(name):
            for value in values:
                check_env_param({name.partition(".")[2]: value})
            continue
        if name not in options:
            raise UsageError(told_of_unknown(name, algorithm))
        for value in values:
            check_value(name, value, options[name])
        if options[name].type is dict:
            check_env_arg(values[0])


def _more_of_one(
    settings: dict[str, Any], axes: Mapping[str, Any], one: Mapping[str, Any]
) -> list[str]:
    """Puts more seeds and steps into the settings; returns what differs otherwise."""
    differing = []
    for name, value in one.items():
        now: Any = axes.get(name, settings.get(name))
        may_grow = name in ("seeds", "steps")
        if may_grow and value >= now:
            settings[name] = value
        elif _as_json(value) != now:
            more = ", or more" if may_grow else ""
            if name in axes:
                more = "; to add one, give all values"
            differing.append(_told(name, value, now, more))
    return differing


def _more_values(
    request: Request,
    settings: dict[str, Any],
    axes: dict[str, Any],
    grid: Mapping[str, list[Any]],
    run: Any,
) -> list[str]:
    """Puts more values into the axes; returns what differs otherwise."""
    differing = []
    for name, given in grid.items():
        now, values = axes.get(name, [settings.get(name)]), _as_json(given)
        if missing := [x for x in now if x not in values]:
            told = f"; give those to add with all of these, {_shown(missing)} too"
            differing.append(_told(name, values, axes.get(name, now[0]), told))
        elif name not in axes:
            _check_new_axis(request.algorithm, name, now[0], run)
            del settings[name]
            axes[name] = values
        elif len(values) > len(now):
            axes[name] = values
    return differing


def _check_new_axis(algorithm: str, name: str, now: Any, run: Any) -> None:
    options: dict[str, Option] = config_fields() | algorithm_options(algorithm)
    if is_mapped(option_of(name, options), now):
        raise UsageError(
            f"{run} has one {flag(name)}, {now}, compiled into its program, which "
            "rounds otherwise than one that takes several: start another run with all "
            "values"
        )


def _annealed(request: Request, steps: int) -> list[str]:
    """What keeps a run from being given more steps."""
    values = request.grid.get("anneal_learning_rate")
    if not any(values or [request.settings["anneal_learning_rate"]]):
        return []
    return [
        f"--steps {steps} (the run: {request.settings['steps']}, over which its "
        "learning rate falls to 0; one with --no-anneal-learning-rate can be extended)"
    ]


def _told(name: str, value: Any, now: Any, more: str = "") -> str:
    return f"{flag(name)} {_shown(value)} (the run: {_shown(now)}{more})"


def _shown(value: Any) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return " ".join(
        ",".join(map(str, x)) if isinstance(x, list | tuple) else str(x) for x in values
    )


def _as_json(value: Any) -> Any:
    """Plain data as JSON reads it: lists for tuples."""
    return json.loads(json.dumps(value))
