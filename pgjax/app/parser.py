"""An argument parser whose errors are one line."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from pgjax.app.shown_names import one_line

_LONG = 240  # characters of a message, beyond which its middle is left out


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any):
        super().__init__(
            **options,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Prints the message, and the way to help; exits with code 2."""
        if len(message) > _LONG:  # it repeats what was given
            message = f"{message[: _LONG // 2]} ... {message[-_LONG // 2 :]}"
        message = one_line(message)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """The values of an argument; Python 3.11 takes away that of `--out=--`."""
        if not action.option_strings or arg_strings != ["--"]:
            return super()._get_values(action, arg_strings)
        value = self._get_value(action, "--")
        self._check_value(action, value)
        return value if action.nargs in (None, "?") else [value]
