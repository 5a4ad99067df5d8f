"""What "module:name" stands for: a suite's environment, or something of a user's."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from pgjax._internal.names import unknown_name
from pgjax.envs.suites import suite_names


def is_of_suite(name: str) -> bool:
    """Whether a name is "suite:Name"."""
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in suite_names()


def is_of_module(name: str) -> bool:
    """Whether a name is "module:name"."""
    return ":" in name and not is_of_suite(name)


def of_module(name: str) -> Any:
    """What a user's module has under a name.

    Raises:
      ValueError: if there is no such module, or it has nothing of that name; if it
        fails when it is imported, with its own error as the cause.
    """
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(
        map(str.isidentifier, module.split("."))
    ):
        raise ValueError(
            f'{name!r} must be "module:name", such as "my_module:make", or '
            f"{_suites_told()}"
        )
    if not _exists(module):
        raise ValueError(
            f"there is no module {module!r} to import {attribute} from, and no such "
            f"suite; {_suites_told()}"
        )
    try:
        found = importlib.import_module(module)
    except Exception as error:  # anything that a user's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"importing {module} failed: {reason}") from error
    if not hasattr(found, attribute):
        own = [
            x
            for x, value in vars(found).items()
            if callable(value) and not x.startswith("_") and _is_of(value, module)
        ]
        raise ValueError(unknown_name(f"{module} has no", attribute, own))
    return getattr(found, attribute)


def module_file(name: str) -> str | None:
    """The file of the module that "module:name" names, if there is one."""
    module = name.partition(":")[0]
    spec = importlib.util.find_spec(module) if _exists(module) else None
    return spec.origin if spec is not None and spec.has_location else None


def _is_of(value: Any, module: str) -> bool:
    return getattr(value, "__module__", None) == module


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a package that it is in is missing, or none
        return False


def _suites_told() -> str:
    names = ", ".join(["gymnax", *suite_names()])
    return f'"suite:Name" of one of the suites: {names}'
