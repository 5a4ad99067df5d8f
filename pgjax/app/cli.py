"""The `pgjax` command: reads the arguments, then hands over to its other files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jaxlib

from pgjax._internal.streams import failure
from pgjax.app.errors import UsageError, say_nothing_of_closed_loops, told
from pgjax.app.runs.program_cache import keep_programs
from pgjax.app.runs.signals import end_at_once, exit_code, raise_when_ended
from pgjax.app.shown_names import one_line

WHOLE_LOOPS = (0, 11)  # the first jaxlib whose GPU was seen to run them well
LOST = 75  # the exit code when another process is gone: try again
# The commands whose results are files; what they print is about them.
RESULTS_IN_FILES = {"train", "sweep", "bench", "report", "export", "render"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        prepare_jax()
        return _run(arguments)
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


def prepare_jax() -> None:
    """Settings that suit a command; what the user has set stays as it is.

    JAX reads its flags when it starts its backend, which nothing has done yet.
    """
    _keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        # One device per core: two threads inside one operation gain little.
        flags = _with_flag(flags, "xla_force_host_platform_device_count", cores)
    # Compiles in about half the time; a program may run some percent slower.
    flags = _with_flag(flags, "xla_backend_optimization_level", 1)
    if jaxlib.version.__version_info__ >= WHOLE_LOOPS:
        # A GPU then runs whole loops by itself, where the host would ask after every
        # step of complete episodes whether there is another: twice as fast.
        loops = "+WHILE,+CONDITIONAL"
        flags = _with_flag(flags, "xla_gpu_enable_command_buffer", loops)
    os.environ["XLA_FLAGS"] = flags
    keep_programs()


def _with_flag(flags: str, name: str, value: int | str) -> str:
    return flags if name in flags else f"{flags} --{name}={value}".strip()


def _keep_freed_memory() -> None:
    """Asks glibc not to give large buffers back to the system between two chunks.

    Otherwise each chunk faults its temporary buffers in anew, page by page: with
    chunks of one update, about half of the time of a run of 32 seeds.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**31 - 1)


def _run(arguments: list[str]) -> int:
    from pgjax.app import packages
    from pgjax.app.errors import OutOfMemoryError
    from pgjax.checkpoints import CheckpointError

    try:
        return _dispatch(arguments)
    except (UsageError, CheckpointError) as error:
        _complain(str(error))
        return 2
    except OutOfMemoryError as error:
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
    from pgjax.app.command_line import about_unknown, algorithm_first, make_parser

    arguments = algorithm_first(arguments)
    parser = make_parser(arguments)
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(about_unknown(unknown, namespace))
    parsed = vars(namespace)
    command = parsed.pop("command")
    if command == "train":
        return _train(parsed)
    if command == "sweep":
        return _sweep(parsed)
    if command == "compare":
        from pgjax.app.analysis import compare

        return compare.compare(**parsed)
    if command == "report":
        from pgjax.app.analysis import report

        return report.report(**parsed)
    if command == "bench":
        from pgjax.bench.command import bench

        return bench(**parsed)
    if command == "evaluate":
        from pgjax.app.play import evaluate_run

        return evaluate_run.evaluate(**parsed)
    if command == "export":
        from pgjax.app.play.export import export

        return export(**parsed)
    if command == "render":
        from pgjax.app.play import evaluate_run

        return evaluate_run.render(**parsed)
    from pgjax.app.play.list_environments import print_environments

    return print_environments()


def _train(parsed: dict[str, Any]) -> int:
    from pgjax.app.runs import single_run
    from pgjax.app.settings.config import make_config

    asked = {"the command": "train", **parsed}
    run = _resumed(parsed, "out", "log")
    execution, out = _execution(parsed), parsed.pop("out", None)
    _join(parsed, asked)
    if run is not None:
        return single_run.resume(run, parsed, execution)
    config = make_config(parsed.pop("algorithm"), parsed.pop("preset"), parsed)
    return single_run.train(config, execution, out=out, given=parsed)


def _sweep(parsed: dict[str, Any]) -> int:
    from pgjax.app.argument_types import Values
    from pgjax.app.runs import sweep_run

    asked = {"the command": "sweep", **parsed}
    run = _resumed(parsed, "out", "log", "agents_at_once")
    execution = _execution(parsed)
    _join(parsed, asked)
    several = {k: x for k, x in parsed.items() if isinstance(x, Values)}
    given = {k: x for k, x in parsed.items() if k not in several}
    given |= {k: x[0] for k, x in several.items() if len(x) == 1}
    grid = {k: list(x) for k, x in several.items() if len(x) > 1}
    if run is not None:
        return sweep_run.resume(run, given | grid, execution)
    algorithm, preset = given.pop("algorithm"), given.pop("preset")
    out, at_once = given.pop("out", None), given.pop("agents_at_once", None)
    return sweep_run.sweep(
        algorithm,
        preset,
        given,
        grid,
        out=out,
        agents_at_once=at_once,
        execution=execution,
    )


def _resumed(parsed: dict[str, Any], *without: str) -> pathlib.Path | None:
    """The run to go on with, if any; what was given is left, what was not is dropped.

    Raises:
      UsageError: for flags that only a new run takes.
    """
    run = parsed.pop("resume", None)
    defaults = {"algorithm": "reinforce", "preset": "default"}
    for name, default in defaults.items():
        if run is None:
            parsed.setdefault(name, default)
    for name in without:
        if run is not None and name in parsed:
            flag = name.replace("_", "-")
            raise UsageError(f"--resume goes on as {run} was started, without --{flag}")
    return None if run is None else pathlib.Path(run)


def _join(parsed: dict[str, Any], asked: dict[str, Any]) -> None:
    """Becomes one of several processes that do the same, if that is asked for.

    Args:
      parsed: the arguments that are left; those of this are taken out.
      asked: all of them.

    Raises:
      UsageError: if it cannot, or is told which one to be and not to be one.
    """
    from pgjax.app.runs import hosts

    names = "coordinator", "num_processes", "process_id"
    which = {name: parsed.pop(name) for name in names if name in parsed}
    if parsed.pop("distributed", False):
        hosts.join(*(which.get(name) for name in names))
        own = "process_id", "quiet"
        hosts.check_agreement({k: x for k, x in asked.items() if k not in own})
    elif which:
        flag = min(which).replace("_", "-")
        raise UsageError(f"--{flag} goes with --distributed")


def _execution(parsed: dict[str, Any]) -> Any:
    """How to carry out a run, taken out of what was given."""
    from pgjax.app.settings import execution

    fields = execution.Execution._fields
    given = {name: parsed.pop(name) for name in fields if name in parsed}
    chosen = execution.Execution(**given)
    execution.check(chosen)
    return chosen


if __name__ == "__main__":
    command()
