"""What the user sees of a run while it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.text import Text

from pgjax.app import output
from pgjax.app.errors import UsageError
from pgjax.app.runs.progress_displays import Display, open_display
from pgjax.app.settings.notation import spelled
from pgjax.app.shown_names import one_line

_started = time.perf_counter() - time.process_time()


def seconds(duration: float) -> str:
    """A duration for people: 8.3 s, 2 min 05 s, 1 h 04 min."""
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def process_age() -> float:
    """Seconds since this process was started, its imports included.

    What came before this import is counted in CPU time, which a start-up is made of.
    Where several runs are made in one process, since the last one began.
    """
    return time.perf_counter() - _started


def begin_again() -> None:
    """Has `process_age` count from now."""
    global _started
    _started = time.perf_counter()


def count(number: float) -> str:
    """A count for people: 950, 12.3k, 2.40M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """1 seed, 8 seeds, 3 batches."""
    return f"{number} {noun}" if number == 1 else f"{number} {many or noun + 's'}"


class Progress(Protocol):
    """What training tells after every chunk."""

    def update(
        self,
        *,
        steps: int,
        training_seconds: float,
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
        evaluated: float = math.nan,
    ) -> None:
        """Tells the state of things.

        Args:
          steps: environment steps so far, over all agents.
          training_seconds: spent on them, without compiling and evaluation.
          done: share of the work that is done, in [0, 1].
          num_agents: how many agents there are.
          mean_return: mean over agents of their recent return; NaN if none has one.
          num_solved: agents that have solved the task; None if it has no such level.
          evaluated: mean over agents of their last evaluation while training; NaN for
            none.
        """


class Reporter:
    """What the user sees of a run, on stderr; results go to stdout."""

    def __init__(self, quiet: bool = False):
        self.console = output.console(stderr=True, quiet=quiet)
        self._live = self.console.is_terminal and not quiet

    def warn(self, text: str) -> None:
        """Says in one line what went wrong where work goes on, also when quiet."""
        console = output.console(stderr=True)
        console.print(f"pgjax: {one_line(spelled(text))}", soft_wrap=True)

    def say(self, text: str) -> None:
        """Says something of the run, unless it is to be quiet."""
        self.console.print(spelled(text), soft_wrap=True)

    @contextmanager
    def failure_told(self, what: str) -> Iterator[None]:
        """Lets what is optional fail, and says what was not done, and why."""
        try:
            yield
        except Exception as error:  # whatever another library raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            reason = str(error) if isinstance(error, UsageError) else reason
            self.warn(f"{what}: {reason}")

    @contextmanager
    def phase(self, doing: str, done: str) -> Iterator[None]:
        """Shows what is being waited for, then how long it took."""
        start = time.perf_counter()
        if self._live:
            with self.console.status(Text(f"{doing} ...")):
                yield
        else:
            yield
        self.console.print(f"{done} in {seconds(time.perf_counter() - start)}")

    @contextmanager
    def training(self) -> Iterator[Progress]:
        """Shows the progress of training, until the end of the block."""
        with open_display(self.console) as display:
            yield _TrainingProgress(display)


class _TrainingProgress:
    """The line that tells steps, speed, mean return, solved agents and time to go."""

    def __init__(self, display: Display):
        self._display = display
        # When it began: the clock, steps, seconds of training, and the share done.
        self._began: tuple[float, int, float, float] | None = None

    def update(
        self,
        *,
        steps: int,
        training_seconds: float,
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
        evaluated: float = math.nan,
    ) -> None:
        now = time.perf_counter()
        if self._began is None:  # compiling is over, and what was resumed is not new
            self._began = now, steps, training_seconds, done
        start, steps_before, seconds_before, done_before = self._began
        facts = [f"{count(steps)} env steps"]
        if steps > steps_before:
            speed = (steps - steps_before) / max(
                training_seconds - seconds_before, 1e-9
            )
            facts.append(f"{count(speed)} steps/s")
        if mean_return == mean_return:  # not NaN
            facts.append(f"return {mean_return:.4g}")
        if evaluated == evaluated:
            facts.append(f"greedy {evaluated:.4g}")
        if num_solved is not None:
            facts.append(f"solved {num_solved}/{num_agents}")
        if done_before < done < 1:
            left = (now - start) * (1 - done) / (done - done_before)
            facts.append(f"ETA {seconds(left)}")
        self._display.show(done, " · ".join(facts))
