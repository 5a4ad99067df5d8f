"""Types of the command's arguments: from text to values."""

from __future__ import annotations

import argparse
import json
from typing import Any


class NamedValues(argparse.Action):
    """Collects NAME=VALUE, the value as JSON, or else as text."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs, metavar="NAME=VALUE")

    def __call__(self, parser: Any, namespace: Any, values: Any, *_: Any) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            name, separator, value = text.partition("=")
            if not separator or not name.replace(".", "").isidentifier():
                parser.error(f"{self.option_strings[0]} takes NAME=VALUE, got {text!r}")
            if name in options:
                parser.error(
                    f"{self.option_strings[0]} takes one value of each name, got "
                    f"{name}={options[name]} and {text}"
                )
            try:
                options[name] = json.loads(value, parse_constant=str)
            except (ValueError, RecursionError):
                options[name] = value
        setattr(namespace, self.dest, options)


class Parameters(argparse.Action):
    """Collects numbers by name: NAME=VALUE ..., or NAME VALUE ... for several."""

    def __init__(self, *, several: bool, **kwargs: Any):
        super().__init__(**kwargs, metavar=("NAME=VALUE", "VALUE"))
        self.several = several

    def __call__(self, parser: Any, namespace: Any, values: Any, *_: Any) -> None:
        params = dict(getattr(namespace, self.dest, None) or {})
        flag = self.option_strings[0]
        first, *rest = values
        pairs = [text.partition("=")[::2] for text in values]
        if "=" not in first:
            pairs = [(first, text) for text in rest]
            right = f"{flag} takes NAME=VALUE, or NAME VALUE"
            if not rest or any("=" in text for text in rest):
                parser.error(f"{right}, got {' '.join(values)!r}")
            if len(rest) > 1 and not self.several:
                parser.error(
                    f"{flag} {first} has one value here; `pgjax sweep` takes several"
                )
        for name, _ in pairs:
            if not name.isidentifier():
                parser.error(f"{flag} takes NAME=VALUE, got {' '.join(values)!r}")
            params.pop(name, None)
        for name, text in pairs:
            try:
                params.setdefault(name, []).append(_number(text))
            except ValueError:
                parser.error(f"{flag} {name} must be a number, got {text!r}")
        params = {
            name: x[0] if isinstance(x, list) and len(x) == 1 else x
            for name, x in params.items()
        }
        setattr(namespace, self.dest, params)


def _number(text: str) -> float | bool:
    flags = {"true": True, "false": False}
    return flags[text] if text in flags else float(text)


def reader_of(option: Any, *, grid: bool) -> Any:
    """What turns the text of an option into its value."""
    readers = {int: count, bool: yes_or_no}
    read = readers.get(option.type, option.type)
    if option.several and (grid or option.many or option.type is int):

        def read_tuple(text: str) -> tuple:
            return tuple(read(part) for part in text.split(","))

        read_tuple.__name__ = f"{option.type.__name__},..."
        return read_tuple
    if not option.optional or option.type is str:
        return read

    def read_optional(text: str) -> Any:
        return None if text == "none" else read(text)

    read_optional.__name__ = option.type.__name__
    return read_optional


def yes_or_no(text: str) -> bool:
    """A flag of which several values may be given."""
    if text not in ("yes", "no"):
        raise ValueError(text)
    return text == "yes"


yes_or_no.__name__ = "yes or no"


def count(text: str) -> int:
    """An integer, also one written as 300_000 or 3e5."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(text) if text.lstrip("+-").replace("_", "").isdigit() else int(number)


count.__name__ = "int"  # what argparse calls it in its messages
