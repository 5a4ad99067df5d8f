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

from pgjax import streams


def is_command() -> bool:
    """Whether this process runs the command."""
    if sys.argv[:1] == ["-m"]:  # while the package is imported; then its file's path
        before, _, after = " ".join(sys.orig_argv).partition(" -m ")
        module = after.split(" ")[0] if before else ""
        return module in ("pgjax", "pgjax.cli")
    return bool(sys.argv) and os.path.basename(sys.argv[0]) == "pgjax"


def start() -> None:
    """Guards the streams, and lets Ctrl-C end the process at once, without a word."""
    streams.guard()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if is_command():
    start()
