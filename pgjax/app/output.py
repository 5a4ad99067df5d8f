"""Where the command prints: names are shown as they are, never taken for markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def console(**options: Any) -> Console:
    """A console that prints text as it is: no markup, no emoji codes, no colours.

    Args:
      **options: of rich's console.
    """
    return Console(highlight=False, markup=False, emoji=False, **options)
