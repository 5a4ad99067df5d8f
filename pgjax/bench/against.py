"""A against B: the same training by two programs, in turns, in one run.

What else a machine does changes from minute to minute, by more than the difference
between two revisions. Two runs, one after the other, tell of the machine; turns, in the
order ABBA, tell of the programs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from pgjax._internal.installing import install
from pgjax.app.errors import UsageError
from pgjax.app.settings.signature_options import algorithm_options
from pgjax.bench import processes, targets
from pgjax.bench.cases import Spec, make_spec
from pgjax.bench.comparison import Comparison, summarize
from pgjax.bench.processes import Repetition, Worker
from pgjax.bench.targets import PLAIN, SB3, Target

WORKERS = pathlib.Path(__file__).parent / "workers"

Progress = Callable[[int, int, str], None]  # rounds done, of how many, and what is next


def compare(
    ours: Spec,
    target: str,
    *,
    repetitions: int,
    python: str = sys.executable,
    on_progress: Progress | None = None,
) -> Comparison:
    """Trains with this pgjax and with another, in turns, and compares their speeds.

    Both use this environment's JAX and Python; only pgjax differs. Stable-Baselines3
    makes as many updates in a repetition as take it about two seconds.

    Args:
      ours: what to train.
      target: see `pgjax.bench.targets.resolve`; "plain" and "sb3" train the same,
        "sb3-best" uses the settings that Stable-Baselines3 is tuned to.
      repetitions: rounds, in each of which both train once; 6 or more for an interval.
      python: the interpreter that has Stable-Baselines3.
      on_progress: called before every start and every round.

    Raises:
      UsageError: if there is no such target, or one of the two cannot train this.
    """
    if repetitions < 1:
        raise UsageError(f"repetitions must be at least 1, got {repetitions}")
    tell = on_progress or (lambda done, of, doing: None)
    found = check(ours, target, python=python)
    with contextlib.ExitStack() as stack:
        workers, answers = [], []
        for side in (found, targets.this()):  # the other first: it is likelier to fail
            tell(0, repetitions, f"starting {_name(side)}")
            workers.append(stack.enter_context(_worker(side, ours, python)))
            answers.append(processes.next_answer(workers[-1]))
        rounds = take_turns(workers[::-1], repetitions, tell)
    return summarize(answers[::-1], rounds)


def check(ours: Spec, target: str, *, python: str = sys.executable) -> Target:
    """Finds the target, and sees whether it can train such a thing at all; quick.

    Raises:
      UsageError: as `compare`.
    """
    found = targets.resolve(target)
    if found.name == PLAIN and (ours.num_agents != 1 or ours.algorithm == "trpo"):
        raise UsageError(
            "the plain twin is one agent of reinforce, a2c or ppo at a time; compare "
            "those with it, without --num-agents"
        )
    if found.name == PLAIN:
        as_it_is = make_spec(ours.algorithm)
        for name in ("env", "hidden", "activation", "initializer", "options"):
            if getattr(ours, name) != getattr(as_it_is, name):
                raise UsageError(
                    f"the plain twin has {name} {getattr(as_it_is, name)} only, not "
                    f"{getattr(ours, name)}"
                )
    if found.name not in SB3:
        return found
    if ours.algorithm not in ("a2c", "ppo"):
        raise UsageError(
            f"Stable-Baselines3 has no {ours.algorithm}: compare a2c or ppo with it"
        )
    if ours.num_agents != 1 or ours.num_steps is None:
        raise UsageError(
            "Stable-Baselines3 trains one agent at a time, from a number of steps: "
            "compare it with 1 agent and no complete episodes"
        )
    if found.name == "sb3-best" and ours.env != "CartPole-v1":
        raise UsageError("sb3-best is tuned for CartPole-v1 only; take sb3")
    if not installed("stable_baselines3", python):
        raise UsageError(f"Stable-Baselines3 needs the bench extra: {install('bench')}")
    return found


def installed(module: str, python: str) -> bool:
    """Whether an interpreter would find a module."""
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util as u; raise SystemExit(not u.find_spec({module!r}))"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def take_turns(
    workers: Sequence[Worker], rounds: int, tell: Progress
) -> list[tuple[Repetition, ...]]:
    """Every worker trains once in each round, in the order AB BA AB BA ...

    Returns:
      For each round, the repetitions in the order of the workers.
    """
    results = []
    for i in range(rounds):
        tell(i, rounds, f"round {i + 1} of {rounds}")
        order = range(len(workers))[:: -1 if i % 2 else 1]
        done = {k: processes.train_once(workers[k]) for k in order}
        results.append(tuple(done[k] for k in range(len(workers))))
    return results


@contextlib.contextmanager
def _worker(side: Target, ours: Spec, python: str) -> Iterator[Worker]:
    """Starts a side's worker; its pgjax is a copy, gone when the worker is."""
    name, spec = _name(side), ours._asdict()
    if side.name == PLAIN:
        script = WORKERS / "plain_worker.py"
        with processes.started(
            script, spec, name=name, python=sys.executable
        ) as worker:
            yield worker
        return
    if side.directory is None:
        options = algorithm_options(ours.algorithm)
        defaults = {key: option.default for key, option in options.items()}
        spec |= {
            "best": side.name == "sb3-best",
            "options": defaults | dict(ours.options),
        }
        script = WORKERS / "sb3_worker.py"
        with processes.started(script, spec, name=name, python=python) as worker:
            yield worker
        return
    with tempfile.TemporaryDirectory(prefix="pgjax-bench-") as directory:
        path = pathlib.Path(directory)
        targets.unpack(side, path)
        spec |= {"directory": directory, "revision": side.name}
        with processes.started(
            WORKERS / "pgjax_worker.py",
            spec,
            name=name,
            python=sys.executable,
            path=path,
        ) as worker:
            yield worker


def _name(side: Target) -> str:
    if side.name == PLAIN:
        return "the plain twin"
    return "Stable-Baselines3" if side.directory is None else f"pgjax ({side.name})"
