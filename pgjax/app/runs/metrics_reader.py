"""Tables of a run, row by row: whatever its size, memory holds what a plot can show."""

from __future__ import annotations

import csv
import math
import pathlib
from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from pgjax.app.errors import DamagedFileError
from pgjax.app.runs.files import opened

LONGEST = 2**16  # bytes of a line
POINTS = 2048  # of a curve, at most; a figure is some 1,000 pixels wide
Agent = tuple[str, ...]  # its settings in the grid, and its seed


class _Thinned:
    """A curve; of a long one every 2nd point, or every 4th, and so on, and the last."""

    def __init__(self) -> None:
        self._x, self._y = array("d"), array("d")
        self.seen, self._every = 0, 1
        self.last = (-math.inf, math.nan)
        self.steps = -math.inf  # of the last row, with a point or without

    def add(self, x: float, y: float) -> None:
        if self.seen % self._every == 0:
            if len(self._x) == POINTS:
                self._x, self._y = self._x[::2], self._y[::2]
                self._every *= 2
            self._x.append(x)
            self._y.append(y)
        self.seen += 1
        self.last = x, y

    def points(self) -> np.ndarray:
        """(2, points)."""
        if self._x[-1] != self.last[0]:
            return np.array([[*self._x, self.last[0]], [*self._y, self.last[1]]])
        return np.array([self._x, self._y])


def read_curves(
    path: pathlib.Path,
    names: Sequence[str],
    agents: Collection[Agent],
    column: str = "recent_return",
) -> dict[Agent, np.ndarray]:
    """The learning curve of each agent that finished an episode.

    Args:
      path: of metrics.csv, or evaluations.csv.
      names: the settings of the grid, which are columns.
      agents: who may be in it.
      column: what is plotted: by default the mean return of the last 100 episodes.

    Returns:
      (2, points) each: environment steps, and what is plotted.

    Raises:
      UsageError: naming the file, and the line that is damaged.
    """
    curves: dict[Agent, _Thinned] = {}
    columns = [*names, "seed", "env_steps", column]
    for line, (*agent, steps, recent) in _rows(path, columns):
        if tuple(agent) not in agents:
            told = " ".join(agent)
            raise DamagedFileError(path, f"line {line} is of {told}: no agent of it")
        if not (steps.isascii() and steps.isdecimal() and len(steps) <= 19):
            raise DamagedFileError(path, f"line {line} has env_steps {steps!r}")
        curve = curves.setdefault(tuple(agent), _Thinned())
        if not float(steps) > curve.steps:
            raise DamagedFileError(path, f"line {line} has env_steps out of order")
        curve.steps = float(steps)
        if recent:
            curve.add(float(steps), _finite(path, line, column, recent))
    return {agent: curve.points() for agent, curve in curves.items() if curve.seen}


def _finite(path: pathlib.Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DamagedFileError(path, f"line {line} has {column} {cell!r}")
    return value


def _rows(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """The number of each line, and its cells of some columns."""
    with opened(path) as file:
        reader = csv.reader(_lines(path, file), strict=True)
        try:
            header = next(reader, [])
            missing = [name for name in columns if header.count(name) != 1]
            if missing:
                raise DamagedFileError(path, f"it has no column {missing[0]}")
            places = [header.index(name) for name in columns]
            for row in reader:
                if len(row) != len(header):
                    told = f"{len(row)} cells, not {len(header)}"
                    raise DamagedFileError(path, f"line {reader.line_num} has {told}")
                yield reader.line_num, [row[place] for place in places]
        except csv.Error as error:
            told = f"line {reader.line_num}: {error}"
            raise DamagedFileError(path, told) from error


def _lines(path: pathlib.Path, file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        if not line.endswith(b"\n"):
            raise DamagedFileError(path, f"line {number} is cut, or too long")
        if b"\0" in line:
            raise DamagedFileError(path, f"line {number} has a NUL byte")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            told = f"line {number} is not UTF-8"
            raise DamagedFileError(path, told) from None
