"""Tables of what was found: for a terminal of any width, and for other programs.

A table has cells of numbers and intervals, not of text, so that one and the same can be
printed for a person, rounded, and written with 12 digits, as JSON or CSV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console

from pgjax.app import output
from pgjax.app.analysis.bootstrap import FEWEST, Interval
from pgjax.app.shown_names import one_line

Format = Literal["text", "json", "csv", "latex"]
FEW_DOZEN = 36  # rows, above which text shows some of them, or quantiles
_TOO_FEW = "\n[too few]"
_NO_SPREAD = "\n[no spread]"
_ABOUT_TOO_FEW = (
    f"Fewer than {FEWEST} agents, without diverged ones, are too few for an interval."
)
_ABOUT_NO_SPREAD = (
    "[no spread]: all agents have the same score, which says nothing of how others "
    "would differ."
)
_SHORT = 24  # characters of text that is folded only if it must be


class Steps(NamedTuple):
    """A number of environment steps, some of which may lie beyond the budget."""

    interval: Interval  # infinite where it was not reached
    beyond: float  # how long agents were trained


class Column(NamedTuple):
    """What a column of a table holds."""

    key: str  # for other programs: iqm
    heading: str  # for people: IQM; may have two lines
    form: str = ""  # how numbers are written, such as ".1f"
    left: bool = False  # text, which may be folded
    fixed: bool = False  # told once, above the table, if it is the same everywhere
    for_programs: bool = False  # not for people


class Table(NamedTuple):
    """A title, columns, rows of cells, and notes to be read with it."""

    title: str
    columns: list[Column]
    rows: list[list[Any]]  # str, bool, int, float, None, Interval or Steps
    notes: list[str] = []  # noqa: RUF012
    key: str = "rows"  # its name for other programs
    left: int = 0  # rows that are not there


def number_or_text(value: Any) -> Any:
    """A setting's value as a cell: numbers stay such; flags and others are text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else str(value)


def shown(cell: Any, form: str = "") -> str:
    """A cell for people: 478.2, and in a second line [471.0, 483.9]."""
    if isinstance(cell, Steps):
        return _with_ends(cell.interval, form, f"> {format(cell.beyond, form)}")
    if isinstance(cell, Interval):
        return _with_ends(cell, form, "unknown")
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return format(cell, form) if isinstance(cell, int | float) else one_line(cell)


def _with_ends(interval: Interval, form: str, infinite: str) -> str:
    middle, low, high = (
        format(x, form) if math.isfinite(x) else infinite for x in interval
    )
    if interval.too_few:
        return middle + _TOO_FEW
    if interval.no_spread:
        return middle + _NO_SPREAD
    if low == high == middle == infinite:
        return middle
    return f"{middle}\n[{low}, {high}]"


def texts(table: Table) -> list[list[str]]:
    """The cells of each row for people; what is said of a whole column is left out.

    Where every interval of a column has too few agents, only a note says so: `varying`
    adds it.
    """
    columns = []
    for i, column in enumerate(table.columns):
        cells = [shown(row[i], column.form) for row in table.rows]
        if all(cell.endswith(_TOO_FEW) for cell in cells if cell):
            cells = [cell.removesuffix(_TOO_FEW) for cell in cells]
        columns.append(cells)
    return [list(row) for row in zip(*columns, strict=True)]


def varying(table: Table) -> tuple[Table, str]:
    """The table without columns that say the same in every row, and what they say.

    Those for programs only are left out, too; notes say why an interval is not there.
    """
    table = _for_people(table)
    same: list[str] = []
    kept: list[int] = []
    shown_rows = texts(table)
    for i, column in enumerate(table.columns):
        cells = {row[i] for row in shown_rows}
        if column.fixed and cells == {""}:
            continue
        if column.fixed and len(cells) == 1:
            heading = column.heading.replace("\n", " ")
            same.append(f"{heading} {cells.pop()}".replace("\n", " "))
        else:
            kept.append(i)
    table = _with_columns(table, kept)
    every = "In every row: " if len(table.rows) > 1 else ""
    told = f"{every}{'; '.join(same)}." if same else ""
    return table, told


def _for_people(table: Table) -> Table:
    kept = [i for i, column in enumerate(table.columns) if not column.for_programs]
    notes = [*table.notes, *why_no_interval([table])]
    return _with_columns(table, kept)._replace(notes=notes)


def why_no_interval(several: Sequence[Table]) -> list[str]:
    """Why intervals of tables are not there, as notes; none where all are."""
    cells = [cell for table in several for row in table.rows for cell in row]
    intervals = [cell.interval if isinstance(cell, Steps) else cell for cell in cells]
    intervals = [cell for cell in intervals if isinstance(cell, Interval)]
    notes = []
    if any(cell.too_few for cell in intervals):
        notes.append(_ABOUT_TOO_FEW)
    if any(cell.no_spread for cell in intervals):
        notes.append(_ABOUT_NO_SPREAD)
    return notes


def _with_columns(table: Table, places: Sequence[int]) -> Table:
    columns = [table.columns[i] for i in places]
    return table._replace(
        columns=columns, rows=[[row[i] for i in places] for row in table.rows]
    )


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table for people: whole, whatever the width.

    One that is too wide is printed in parts, below each other, with numbered rows.
    """
    console = console or output.console()
    table, told = varying(table)
    output.print_prose(console, one_line(table.title))
    if told:
        output.print_prose(console, one_line(told))
    layout, parts = _parts(table, console)
    for part in parts:
        console.print(_rich(table, part, layout, console.width))
    for note in table.notes:
        output.print_prose(console, one_line(note))


def _parts(table: Table, console: Console) -> tuple[_Layout, list[list[int]]]:
    """How columns stand: all side by side if they fit, or as many as do."""
    everything = list(range(len(table.columns)))
    for layout in _LAYOUTS:
        if _fits(table, everything, console, layout):
            return layout, [everything]
    layout = _LAYOUTS[0]._replace(numbered=True)
    parts: list[list[int]] = [[]]
    for i in everything:
        longer = [*parts[-1], i]
        if parts[-1] and not _fits(table, longer, console, layout):
            parts.append([i])
        else:
            parts[-1] = longer
    return layout, parts


class _Layout(NamedTuple):
    gap: int  # between columns, beside one
    fold: bool  # whether short texts may be folded, too
    numbered: bool = False  # whether rows have numbers


_LAYOUTS = _Layout(1, False), _Layout(0, False), _Layout(0, True)


def _fits(table: Table, part: list[int], console: Console, layout: _Layout) -> bool:
    return _total(_widths(table, part, layout, 0), layout) <= console.width


def _total(widths: Sequence[int], layout: _Layout) -> int:
    return sum(widths) + (layout.gap + 1) * (len(widths) - 1)


def _widths(
    table: Table, part: Sequence[int], layout: _Layout, available: int
) -> list[int]:
    """Characters of each column; texts take what is left, as far as they need it."""
    rows = texts(table)
    least, most = [], []
    for i in part:
        heading, cells = table.columns[i].heading, [row[i] for row in rows]
        lines = [line for cell in [heading, *cells] for line in cell.split("\n")]
        most.append(max(map(cell_len, lines)))
        text = table.columns[i].left
        least.append(_least([heading, *cells], layout.fold) if text else most[-1])
    if layout.numbered:
        least, most = ([len(str(len(rows))), *x] for x in (least, most))
    spare = max(available - _total(least, layout), 0)
    for i, (low, high) in enumerate(zip(least, most, strict=True)):
        least[i] = min(high, low + spare)
        spare -= least[i] - low
    return least


def _rich(
    table: Table, part: Sequence[int], layout: _Layout, width: int
) -> rich.table.Table:
    found = rich.table.Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, layout.gap, 0, 0),
        show_edge=False,
    )
    widths = _widths(table, part, layout, width)
    if layout.numbered:
        found.add_column("#", justify="right", width=widths.pop(0))
    for i, wide in zip(part, widths, strict=True):
        column = table.columns[i]
        justify: Any = "left" if column.left else "right"
        found.add_column(column.heading, justify=justify, width=wide, overflow="fold")
    for number, row in enumerate(texts(table), 1):
        cells = [row[i] for i in part]
        found.add_row(*([str(number)] if layout.numbered else []), *cells)
    return found


def _least(cells: Sequence[str], fold: bool) -> int:
    """Characters that a column of text needs, for texts, or words, that are short."""
    whole = max(map(cell_len, cells))
    if whole <= _SHORT and not fold:
        return whole
    words = [word for cell in cells for word in cell.split()]
    return min(max(map(cell_len, words), default=1), _SHORT)
