"""From the batches of a run to its own metrics.csv and params.npz.

Rows and parameters are in the order of the summary, whoever trained side by side: a
run that was extended has the same files as one that was begun like that.
"""

from __future__ import annotations

import csv
import io
import itertools
import pathlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pgjax.app.errors import DamagedFileError
from pgjax.app.runs.files import opened, write_whole
from pgjax.app.runs.metrics_writer import COLUMNS, PLACE
from pgjax.app.runs.params import arrays_of, write_arrays

LONGEST = 2**16  # bytes of a line
_HELD = 2**26  # bytes of rows that are held before they are written
_END = b"\r\n"
_CELLS = b"0123456789.,-+einfa\r\n"  # what rows of numbers are made of


class Part(NamedTuple):
    """A batch's table, and where its agents are in the order of the summary."""

    path: pathlib.Path
    places: np.ndarray


def merge_metrics(
    parts: Sequence[Part],
    whole: pathlib.Path,
    labels: Sequence[Sequence[Any]],
    names: Sequence[str],
    *,
    every: int = 1,
    diverged: Collection[int] = (),
    first: Sequence[str] = COLUMNS,
) -> None:
    """One table of several; cells that a part has no column for are empty.

    It holds no more than the numbers of bytes of each agent, and some rows.

    Args:
      parts: of all agents.
      whole: the table to write.
      labels: of each agent, the values of `names`.
      names: the columns that tell agents apart.
      every: updates from one row to the next; the last of an agent is kept, too.
      diverged: agents whose last row is kept only if it is one of those.
      first: the columns that come first, after the names.

    Raises:
      DamagedFileError: for a table that is none.
    """
    headers = [_header(part.path) for part in parts]
    found = set(itertools.chain.from_iterable(headers)) - {PLACE}
    found = found or set(first)  # nobody has a row yet
    columns = [x for x in first if x in found] + sorted(found - set(first))
    top = _line([*names, *columns])
    starts = [_line(of).removesuffix(_END) + b"," for of in labels]

    def rows() -> Iterator[tuple[int, bytes]]:
        for part, header in zip(parts, headers, strict=True):
            for place, row, last in _rows(part, header, columns, every):
                if not (last and place in diverged):
                    yield place, row

    sizes = np.zeros(len(labels), np.int64)
    for place, row in rows():
        sizes[place] += len(starts[place]) + len(row)
    ends = len(top) + np.cumsum(sizes)
    positions = (ends - sizes).tolist()

    def write(out: BinaryIO) -> None:
        held: dict[int, bytearray] = defaultdict(bytearray)
        size = 0

        def put() -> None:
            for place, data in sorted(held.items()):
                out.seek(positions[place])
                out.write(data)
                positions[place] += len(data)
            held.clear()

        out.write(top)
        for place, row in rows():
            held[place] += starts[place] + row
            size += len(row)
            if size > _HELD:
                put()
                size = 0
        put()

    write_whole(whole, write)


def _line(cells: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")


def _header(path: pathlib.Path) -> list[str]:
    with opened(path) as file:
        line = file.readline(LONGEST)
    names = line.removesuffix(_END).decode(errors="replace").split(",")
    if not line:  # nothing was logged yet
        return []
    if names[:2] != [PLACE, "update"] or len(set(names)) < len(names):
        raise DamagedFileError(path, "its first line is not one of columns")
    return names


def _rows(
    part: Part, header: list[str], columns: list[str], every: int
) -> Iterator[tuple[int, bytes, bool]]:
    """The rows of a table: whose, their cells, and whether they are between two.

    One between two updates that are logged is there where training ended, or ended
    before it was given more steps.
    """
    at = {name: i for i, name in enumerate(header)}
    same = [PLACE, *columns] == header
    last: dict[int, bytes] = {}
    with opened(part.path) as file:
        file.readline(LONGEST)
        for number in itertools.count(2):
            line = file.readline(LONGEST)
            if not line:
                break
            cells = line.removesuffix(_END).split(b",")
            whole = line.endswith(_END) and not line.translate(None, _CELLS)
            if len(cells) != len(header) or not whole:
                raise DamagedFileError(part.path, f"line {number} is no row of it")
            agent, update = cells[0], cells[1]
            if not (agent.isdigit() and update.isdigit()):
                raise DamagedFileError(part.path, f"line {number} is of no agent")
            if int(agent) >= len(part.places):
                told = f"line {number} is of agent {int(agent)}: there is none"
                raise DamagedFileError(part.path, told)
            place = int(part.places[int(agent)])
            row = line[len(agent) + 1 :]
            if not same:
                there = (cells[at[x]] if x in at else b"" for x in columns)
                row = b",".join(there) + _END
            last.pop(place, None)
            if int(update) % every:
                last[place] = row
            else:
                yield place, row, False
    yield from ((place, row, True) for place, row in last.items())


class Share(NamedTuple):
    """A batch's parameters, and where its agents are in their group."""

    path: pathlib.Path
    places: np.ndarray


def merge_params(groups: Sequence[Sequence[Share]], whole: pathlib.Path) -> None:
    """One file of several, an array at a time; each is read in full, and as written.

    Args:
      groups: the batches of each group. Where there are several groups, the names of
        the arrays begin with the number of theirs.
      whole: the file to write.

    Raises:
      UsageError: naming the file that is missing or damaged.
    """

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
        for number, shares in enumerate(groups):
            prefix = f"{number}/" if len(groups) > 1 else ""
            count = sum(len(share.places) for share in shares)
            parts = [arrays_of(share.path) for share in shares]
            for leaves in zip(*parts, strict=True):
                name, first = leaves[0]
                joined = np.empty((count, *first.shape[1:]), first.dtype)
                for share, (other, leaf) in zip(shares, leaves, strict=True):
                    if other != name or leaf.shape[1:] != first.shape[1:]:
                        raise DamagedFileError(share.path, f"{other} is not {name}")
                    joined[share.places] = leaf
                yield prefix + name, joined

    write_arrays(whole, arrays())
