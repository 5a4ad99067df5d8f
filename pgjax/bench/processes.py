"""Workers as their parent sees them: started, asked, and ended in any case."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

from pgjax.app.errors import UsageError

LINES = 5  # of a worker's errors that are shown


class Worker(NamedTuple):
    """A process that answers as `pgjax.bench.workers.protocol` says."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]


class Repetition(NamedTuple):
    """A repetition as its worker timed it."""

    seconds: float
    steps: int

    @property
    def speed(self) -> float:
        """Environment steps per second."""
        return self.steps / self.seconds


@contextlib.contextmanager
def started(
    script: pathlib.Path,
    spec: Mapping[str, Any],
    *,
    name: str,
    python: str,
    path: pathlib.Path | None = None,
) -> Iterator[Worker]:
    """A worker, which does not outlive the `with` block, nor this process.

    Args:
      script: what the worker runs.
      spec: its argument.
      name: what messages call it.
      python: the interpreter that runs it.
      path: a directory where it looks for modules first.
    """
    command = [python, str(script), json.dumps(spec)]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(path),
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )
        try:
            yield Worker(name, process, errors)
        finally:
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]


def train_once(worker: Worker) -> Repetition:
    """Lets a worker train once, and waits for it."""
    assert worker.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended: that is its answer
        worker.process.stdin.write("go\n")
        worker.process.stdin.flush()
    answer = next_answer(worker)
    return Repetition(answer["seconds"], answer["steps"])


def next_answer(worker: Worker) -> dict[str, Any]:
    """The next line that is an answer.

    Raises:
      UsageError: if it is an error, or the worker has ended.
    """
    assert worker.process.stdout is not None
    for line in worker.process.stdout:
        answer = _read(line)
        if "error" in answer:
            raise UsageError(f"{worker.name} failed: {answer['error']}")
        if answer:
            return answer
    code = worker.process.wait()
    worker.errors.seek(0)
    last = worker.errors.read().splitlines()[-LINES:]
    raise UsageError("\n".join([f"{worker.name} ended with exit code {code}", *last]))


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends a worker, and the processes that it has started."""
    if process.poll() is None and hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read(line: str) -> dict[str, Any]:
    """An answer; nothing where the line is no answer but noise."""
    with contextlib.suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict):
            return answer
    return {}


def _environment(path: pathlib.Path | None) -> dict[str, str]:
    env = dict(os.environ)
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # compile seconds are reported
    # Two workers share the accelerator's memory.
    env.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if path is not None:
        paths = [str(path), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return env
