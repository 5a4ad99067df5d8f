"""What the command does before anything else, its long imports included.

Whoever runs `pgjax` or `python -m pgjax` imports the package, and with it JAX, before
the command has its turn. A file that is opened on the way must not become a closed
standard stream, and Ctrl-C on the way is no fault to be traced. The library, imported
by another program, does none of this.
"""

from __future__ import annotations

import os
import signal
import sys

from pgjax._internal import streams


def is_command() -> bool:
    """Whether this process runs the command."""
    if sys.argv[:1] == ["-m"]:  # while the package is imported; then its file's path
        return _module(sys.orig_argv[1:]) in ("pgjax", "pgjax.app.cli")
    return bool(sys.argv) and os.path.basename(sys.argv[0]) == "pgjax"


def _module(arguments: list[str]) -> str | None:
    """What Python was told to run by -m, also beside other options in a word: -Im."""
    words = iter(arguments)
    for word in words:
        if word.startswith("--"):
            next(words, None)  # --check-hash-based-pycs has a value
            continue
        for i, letter in enumerate(word[1:], start=1):
            if letter == "m":
                return word[i + 1 :] or next(words, None)
            if letter in "WX":  # the rest of the word, or the next one, is its value
                if not word[i + 1 :]:
                    next(words, None)
                break
    return None


def start() -> None:
    """Guards the streams, and lets Ctrl-C end the process at once, without a word."""
    streams.guard()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if is_command():
    start()
