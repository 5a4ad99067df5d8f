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


def print_prose(target: Console, text: str) -> None:
    """Prints a line: wrapped at words in a terminal; whole in a pipe, for programs."""
    target.print(text, soft_wrap=not target.is_terminal)
