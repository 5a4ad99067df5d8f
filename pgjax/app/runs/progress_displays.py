"""Where progress is shown: a bar on a terminal or in a notebook, or lines in a log."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.text import Text

LINE_SECONDS = 5.0  # between two lines of a log
NOTEBOOK_SECONDS = 0.2  # between two states of a notebook's bar, each a message


class Display(Protocol):
    """What progress is shown on."""

    def show(self, done: float, facts: str) -> None:
        """Shows a share of the work, in [0, 1], and a line of text."""


@contextmanager
def open_display(console: Console) -> Iterator[Display]:
    """The one that suits where a console prints, until the end of the block."""
    if console.is_jupyter and not console.quiet:
        yield NotebookBar()
    elif console.is_terminal and not console.quiet:
        columns = (
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}%"),
            _Facts(),
        )
        with rich_progress.Progress(*columns, console=console) as bar:
            yield TerminalBar(bar)
    else:
        yield Lines(console)


class TerminalBar:
    """A line that is written over."""

    def __init__(self, bar: rich_progress.Progress):
        self._bar, self._task = bar, bar.add_task("train", total=1.0, facts="")

    def show(self, done: float, facts: str) -> None:
        self._bar.update(self._task, completed=done, facts=facts)


class _Facts(ProgressColumn):
    """The facts, cut to one line."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["facts"], no_wrap=True, overflow="ellipsis")


class NotebookBar:
    """One output of a cell, which is updated; it needs no widgets."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = -float("inf")

    def show(self, done: float, facts: str) -> None:
        from IPython.display import display

        now = time.perf_counter()
        if done < 1 and now - self._last < NOTEBOOK_SECONDS:
            return
        self._last = now
        bar = f'<progress value="{done:.4f}" max="1" style="width: 8em"></progress>'
        data = {
            "text/plain": f"{done:4.0%} · {facts}",
            "text/html": f"<div>{bar} {done:.0%} · {html.escape(facts)}</div>",
        }
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class Lines:
    """A line now and then, and one at the end."""

    def __init__(self, console: Console):
        self._console, self._last = console, time.perf_counter()

    def show(self, done: float, facts: str) -> None:
        now = time.perf_counter()
        if done < 1 and now - self._last < LINE_SECONDS:
            return
        self._last = now
        self._console.print(f"{done:4.0%} · {facts}", soft_wrap=True)
