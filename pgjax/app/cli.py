"""The `pgjax` command: reads the arguments, then hands over to its other files."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import jax

from pgjax._internal.streams import failure
from pgjax.app.errors import UsageError, say_nothing_of_closed_loops, told
from pgjax.app.prepare_jax import prepare_jax
from pgjax.app.runs.signals import Stopped, end_at_once, exit_code, raise_when_ended
from pgjax.app.shown_names import as_argument, one_line

LOST = 75  # the exit code when another process is gone: try again
# The commands whose results are files; what they print is about them.
RESULTS_IN_FILES = {"train", "sweep", "bench", "report", "export", "render"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        prepare_jax()
        return _run(arguments)
    except Stopped as stopped:
        _complain(
            stopped.told(f"pgjax train --resume {as_argument(stopped.directory)}")
        )
        return exit_code(stopped)
    except KeyboardInterrupt as interrupt:
        _complain("interrupted")
        return exit_code(interrupt)


def command() -> NoReturn:
    """Runs the command and leaves, also where compilations are still going on."""
    raise_when_ended()
    say_nothing_of_closed_loops()
    try:
        code = main()
    except SystemExit as stop:  # of argparse, which has said what it had to
        code = int(stop.code or 0)
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    end_at_once()
    code = code or code_of_output(sys.argv[1:])
    if code:
        # Rather than wait for compilations, for processes that are gone, or for threads
        # that write; other processes that wait for this one notice at once.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def code_of_output(arguments: Sequence[str]) -> int:
    """The exit code of a command that succeeded, by what became of its output."""
    reason = failure(sys.stdout)
    # The reader of a pipe, such as `head`, has seen enough.
    if reason is None or isinstance(reason, BrokenPipeError):
        return 0
    _complain(f"cannot write to stdout: {told(reason)}")
    return 0 if {*arguments[:1]} & RESULTS_IN_FILES else 2


def _complain(message: str) -> None:
    """One line on stderr, whatever names are in the message."""
    print(f"pgjax: {one_line(message)}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    from pgjax._internal.host_envs import HostEnvError
    from pgjax.app import packages
    from pgjax.app.errors import OutOfMemoryError
    from pgjax.checkpoints import CheckpointError

    try:
        return _dispatch(arguments)
    except (UsageError, CheckpointError) as error:
        _complain(str(error))
        return 2
    except (OutOfMemoryError, HostEnvError) as error:
        _complain(str(error))
        return 1
    except OSError as error:  # a full disk, a directory that is read-only
        _complain(told(error))
        return 2
    except ImportError as error:  # a package that is missing, or does not fit
        if (error.name or "pgjax").split(".")[0] == "pgjax":
            raise
        _complain(packages.broken(error))
        return 2
    except Exception as error:
        if not (jax.distributed.is_initialized() and _tells_of_loss(error)):
            raise
        reason = " ".join(str(error).split())[:200]
        _complain(
            f"lost another process: {reason}; if there is a checkpoint, all processes "
            "started again with --resume go on from it"
        )
        return LOST


def _tells_of_loss(error: Exception) -> bool:
    """Whether it is about the connection to other processes; JAX has no type for it."""
    words = "Gloo", "UNAVAILABLE", "coordination service", "heartbeat", "Socket closed"
    return any(word in str(error) for word in words)


def _dispatch(arguments: list[str]) -> int:
    from pgjax.app.command_line import TRAINING, function_of, read
    from pgjax.app.train_command import run_command

    command, given = read(arguments)
    if command in TRAINING:
        return run_command(command, given)[1]
    return function_of(command)(**given)


if __name__ == "__main__":
    command()
