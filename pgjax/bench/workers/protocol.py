"""How a worker answers its parent; like all workers, it runs where pgjax does not.

A worker is started with its spec, as JSON, for its only argument. It prints one line of
JSON when it is ready, and one for each line "go" on its standard input, when it has
trained once more; or a line with an "error". At the end of its input, which comes when
the parent is gone, it exits at once, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What a worker does, compiled and warm."""

    about: dict[str, Any]  # compile_seconds, versions, and what it is in words
    reset: Callable[[], None]  # to the same start, before every repetition; untimed
    train: Callable[[], int]  # one repetition; returns its environment steps


def compiled_work(
    run: Any, start: Any, spec: dict[str, Any], *, what: str, **versions: str
) -> Work:
    """Compiles a function from states to states and metrics, and runs it once.

    Args:
      run: what is timed; its metrics have env_steps.
      start: the state that training begins with.
      spec: tells how many updates come before the state that every repetition starts
        from.
      what: it is, in words; the device is added.
      **versions: of what it is made of, besides JAX and Python.
    """
    import jax
    import jaxlib
    import numpy as np

    began = time.perf_counter()
    compiled = jax.jit(run).lower(start).compile()
    seconds = time.perf_counter() - began
    for _ in range(-(-spec["trained"] // spec["updates"])):
        # Waited for: CPU devices that exchange sums may block each other otherwise.
        start = jax.block_until_ready(compiled(start)[0])

    def train() -> int:
        _, metrics = jax.block_until_ready(compiled(start))
        return int(np.asarray(metrics["env_steps"]).sum(dtype=np.int64))

    train()
    versions |= {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
    }
    devices = f"{len(jax.devices())} {jax.devices()[0].device_kind}"
    about = {
        "compile_seconds": seconds,
        "versions": versions,
        "what": f"{what} on {devices}",
    }
    return Work(about, lambda: None, train)


def serve(build: Callable[[dict[str, Any]], Work]) -> None:
    """Builds what the spec asks for, and trains whenever the parent says so."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        work = build(json.loads(sys.argv[1]))
        say(ready=True, **work.about)
        while lines.get() == "go":
            work.reset()
            start = time.perf_counter()
            steps = work.train()
            say(seconds=time.perf_counter() - start, steps=steps)
    except BrokenPipeError:  # nobody is listening any more
        os._exit(1)
    except Exception as error:
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error}")
        sys.exit(1)


def _listen(lines: queue.SimpleQueue[str]) -> None:
    """Reads lines, in a thread of its own, and ends the process after the last."""
    for line in sys.stdin:
        lines.put(line.strip())
    os._exit(0)
