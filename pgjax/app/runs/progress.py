"""Progress of a run: a live line on a terminal, plain lines in a log, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.text import Text

from pgjax.app import output
from pgjax.app.errors import UsageError
from pgjax.app.shown_names import one_line

LOG_SECONDS = 5.0  # between two lines, where there is no terminal
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
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
    ) -> None:
        """Tells the state of things.

        Args:
          steps: environment steps so far, over all agents.
          done: share of the work that is done, in [0, 1].
          num_agents: how many agents there are.
          mean_return: mean over agents of their recent return; NaN if none has one.
          num_solved: agents that have solved the task; None if it has no such level.
        """


class Reporter:
    """What the user sees of a run, on stderr; results go to stdout."""

    def __init__(self, quiet: bool = False):
        self.console = output.console(stderr=True, quiet=quiet)
        self._live = self.console.is_terminal and not quiet

    def warn(self, text: str) -> None:
        """Says in one line what went wrong where work goes on, also when quiet."""
        console = output.console(stderr=True)
        console.print(f"pgjax: {one_line(text)}", soft_wrap=True)

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
    def training(self, total_steps: int) -> Iterator[Progress]:
        """Shows the progress of training, until the end of the block."""
        if not self._live:
            yield _TrainingProgress(self.console, total_steps, None)
            return
        columns = (
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}%"),
            _Facts(),
        )
        with rich_progress.Progress(*columns, console=self.console) as bar:
            yield _TrainingProgress(self.console, total_steps, bar)


class _TrainingProgress:
    """The line that tells steps, speed, mean return, solved agents and time to go."""

    def __init__(
        self, console: Console, total: int, bar: rich_progress.Progress | None
    ):
        self._console, self._total, self._bar = console, total, bar
        self._task = bar.add_task("train", total=total, facts="") if bar else None
        self._began: tuple[float, int, float] | None = None  # time, steps, share
        self._last_line = time.perf_counter()

    def update(
        self,
        *,
        steps: int,
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
    ) -> None:
        now = time.perf_counter()
        if self._began is None:  # compiling is over, and what was resumed is not new
            self._began = now, steps, done
        start, steps_before, done_before = self._began
        elapsed = max(now - start, 1e-9)
        facts = [
            f"{count(steps)} env steps",
            f"{count((steps - steps_before) / elapsed)} steps/s",
        ]
        if mean_return == mean_return:  # not NaN
            facts.append(f"return {mean_return:.4g}")
        if num_solved is not None:
            facts.append(f"solved {num_solved}/{num_agents}")
        if done_before < done < 1:
            left = elapsed * (1 - done) / (done - done_before)
            facts.append(f"ETA {seconds(left)}")
        line = " · ".join(facts)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done * self._total, facts=line)
        elif now - self._last_line >= LOG_SECONDS or done >= 1:
            self._last_line = now
            self._console.print(f"{done:4.0%} · {line}", soft_wrap=True)


class _Facts(ProgressColumn):
    """The facts, cut to one line."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["facts"], no_wrap=True, overflow="ellipsis")
