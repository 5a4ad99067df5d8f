"""Names that users give, as each medium takes them: unchanged, and on one line.

A name of a run, a setting or an environment may hold anything that a file name may:
markup, formulas, quotes, line breaks, bytes that are no text.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

LONGEST_DRAWN = 60  # characters; a figure is about 100 wide


def one_line(text: Any) -> str:
    r"""The text with line breaks and control characters as escapes.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return "".join(
        x if x.isprintable() else x.encode("unicode_escape").decode() for x in str(text)
    )


def quoted(word: Any) -> str:
    r"""A word as a person can paste it into a shell; one line, whatever is in it.

    >>> print(quoted("a"), quoted("lr[sgd] 1"), quoted("a\nb"))
    a 'lr[sgd] 1' $'a\012b'
    """
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    # Bytes as the shell's own escapes, in three octal digits: no more is taken for one.
    escaped = (
        chr(x) if 32 <= x < 127 and x not in b"\\'" else f"\\{x:03o}"
        for x in os.fsencode(text)
    )
    return f"$'{''.join(escaped)}'"


def as_argument(path: Any) -> str:
    """A path to be pasted into a shell, which the command takes for no option.

    >>> print(as_argument("runs/a"), as_argument("--"))
    runs/a ./--
    """
    text = str(path)
    return quoted(f"./{text}" if text.startswith("-") else text)


def in_a_figure(text: Any, *, longest: int = LONGEST_DRAWN) -> str:
    """A name as matplotlib draws it: no formula, and not left out of a legend.

    Args:
      text: a name.
      longest: characters, beyond which its middle is left out.
    """
    text = one_line(text)
    if len(text) > longest:
        half = longest // 2 - 1
        text = f"{text[:half]} … {text[-half:]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def in_words(setting: str) -> str:
    """A setting as a person says it; a parameter of the environment by its own name.

    >>> in_words("learning_rate"), in_words("env_param.pole_length")
    ('learning rate', 'pole length')
    """
    return (setting.partition(".")[2] or setting).replace("_", " ")


def as_heading(setting: str) -> str:
    """A setting at the head of a column: a word in each line.

    >>> as_heading("env_param.pole_length").split("\\n")
    ['pole', 'length']
    """
    return in_words(setting).replace(" ", "\n")
