"""Parameters of the environment as settings: `env_param.gravity` is one of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pgjax.app.settings.signature_options import Option

NAME = "env_param"
_PREFIX = f"{NAME}."


def is_param(name: str) -> bool:
    """Whether a setting is a parameter of the environment."""
    return name.startswith(_PREFIX) and _is_name(name.removeprefix(_PREFIX))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()


def full_names(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Settings by their names; a parameter may be given by its own name alone.

    >>> full_names({"gravity": 5.0, "lam": 1.0}, ["lam", "env_param.gravity"])
    {'env_param.gravity': 5.0, 'lam': 1.0}
    """
    return {_full_name(name, known): value for name, value in given.items()}


def _full_name(name: str, known: Collection[str]) -> str:
    own = f"{_PREFIX}{name}"
    return own if name not in known and own in known else name


def option_of(name: str, options: Mapping[str, Option]) -> Option | None:
    """What a setting may be: a parameter is a number."""
    return Option(float, None, "") if is_param(name) else options.get(name)


def params_apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a name for each parameter; those in a table have one each."""
    params = settings.get(NAME)
    if not isinstance(params, Mapping) or not all(map(_is_name, params)):
        return dict(settings)  # whoever checks it will say what is wrong
    rest = {name: x for name, x in settings.items() if name != NAME}
    return rest | {f"{_PREFIX}{name}": x for name, x in params.items()}


def params_together(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with all parameters in one table, by their own names."""
    params = params_of(settings)
    rest = {name: x for name, x in settings.items() if not is_param(name)}
    if params:
        rest[NAME] = {**rest.get(NAME, {}), **params}
    return rest


def params_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters among settings, by their own names."""
    return {k.removeprefix(_PREFIX): x for k, x in settings.items() if is_param(k)}
