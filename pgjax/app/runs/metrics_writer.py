"""The tables of a batch as they are written: a run's own record, chunk by chunk."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pgjax.app.errors import UsageError, naming
from pgjax.app.runs.files import hash_of

PLACE = "agent"  # of a row, in the batch
COLUMNS = (
    "update",
    "env_steps",
    "episodes",
    "episode_return",
    "recent_return",
)
_DAMAGED = "damaged"  # in place of a checksum: no later resume takes it for whole
Rows = dict[str, np.ndarray]  # columns of equal length


class CsvLogger:
    """A table, appended to chunk by chunk, so that a killed run keeps its rows.

    Args:
      path: the file.
      position: bytes of it that are kept; 0 for a new one.
      sha256: of those; None where it is not known.
      warn: says that it is of something else: they are kept all the same, and what
        reads them will see.
      first: the columns that come first, after the agent's.
    """

    def __init__(
        self,
        path: pathlib.Path,
        position: int = 0,
        sha256: str | None = None,
        *,
        warn: Callable[[str], None] = print,
        first: Sequence[str] = COLUMNS,
    ):
        self._first = first
        size = path.stat().st_size if path.is_file() else 0
        if size < position:
            raise UsageError(
                f"{path} is damaged: it has {size} bytes, and the checkpoint says "
                f"{position}"
            )
        self._hash = hash_of(path, position) if position else hashlib.sha256()
        self._damaged = False
        self._damaged = bool(position and sha256) and self.sha256() != sha256
        if self._damaged:
            warn(
                f"{path} is damaged: its first {position} bytes are not those that "
                "were written; training goes on, and adds to it"
            )
        self._file = path.open("r+b" if position else "wb")
        self._file.seek(position)
        self._file.truncate()
        self._new = not position

    def position(self) -> int:
        """Bytes written, all of them on disk."""
        with naming(self._file.name):
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def write(self, rows: Rows) -> None:
        """Appends rows."""
        columns, text = columns_of(rows, self._first), io.StringIO(newline="")
        writer = csv.writer(text)
        if self._new:
            writer.writerow(columns)
            self._new = False
        writer.writerows(zip(*(_cells(rows[name]) for name in columns), strict=True))
        data = text.getvalue().encode()
        with naming(self._file.name):
            self._file.write(data)
            self._file.flush()
        self._hash.update(data)

    def sha256(self) -> str:
        """Of all that was written; of no file, once it has been found damaged."""
        return _DAMAGED if self._damaged else self._hash.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        with naming(self._file.name):
            self._file.close()


def columns_of(rows: Rows, first: Sequence[str] = COLUMNS) -> list[str]:
    """The table's columns, in order: the known ones first."""
    known = PLACE, *first
    return [*known, *sorted(set(rows) - set(known))]


def _cells(column: np.ndarray) -> list[Any]:
    """Floats in float32's precision; an empty cell, pandas' NaN, for NaN."""
    if column.dtype.kind != "f":
        return column.tolist()
    return ["" if value != value else f"{value:.9g}" for value in column.tolist()]
