"""Packages that a command uses late or by choice: found before any work, or told of."""

from __future__ import annotations

import importlib
from typing import Any

from pgjax.app.errors import UsageError

# What a run uses after its last update: its checkpoint, and its picture.
LATE = ("orbax.checkpoint", "pgjax.app.analysis.learning_curve")


def import_late() -> None:
    """Imports what a run uses at its end, before it begins.

    Raises:
      UsageError: naming what cannot be imported.
    """
    for module in LATE:
        imported(module, "training needs it at its end")


def imported(module: str, need: str, remedy: str = "") -> Any:
    """Imports a module.

    Args:
      module: its dotted name.
      need: why, for the message.
      remedy: what to do about it.

    Raises:
      UsageError: if it is missing, or breaks, as it does beside a package of a version
        that it does not know.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # AttributeError as often as ImportError
        raise UsageError(f"{need}: {broken(error, remedy)}") from error


def broken(error: Exception, remedy: str = "") -> str:
    """What an import raised, and what to do about it, in a line."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"{reason}; {remedy or '`pip check` tells what is missing or does not fit'}"
