"""Tables for other programs: JSON and CSV with 12 significant digits, and LaTeX.

An interval is three cells: `iqm`, `iqm_low` and `iqm_high`. What is not known, or lies
beyond the budget of a run, is null in JSON and empty in CSV. Steps have a fourth cell,
such as `steps_to_solve_beyond`: where the median lies beyond the budget, how long
agents were trained; null where the median was reached.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pgjax.app import tables
from pgjax.app.analysis.bootstrap import Interval
from pgjax.app.shown_names import one_line
from pgjax.app.tables import Format, Steps, Table

_LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"},
    **{x: f"\\{x}" for x in "&%$#_{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
}


def write(
    form: Format,
    several: Sequence[Table],
    about: Mapping[str, Any],
    warning: str | None = None,
) -> None:
    """Writes tables to stdout, and nothing else.

    Args:
      form: "json": all tables and what is about them; "csv": the first table;
        "latex": each table.
      several: tables.
      about: what else is to be known.
      warning: what no table tells; "" for nothing. It is the key "warning" of JSON
        (null for nothing), a comment in LaTeX, and goes to stderr with CSV. In JSON and
        CSV, it also says why intervals are not there; in LaTeX, notes do.
    """
    if form != "latex":
        written = several if form == "json" else several[:1]
        told = [warning, *tables.why_no_interval(written)]
        warning = " ".join(filter(None, told)) or warning
    if form == "json":
        if warning is not None:
            about = {**about, "warning": warning or None}
        content = {**about, **{table.key: records(table) for table in several}}
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    elif form == "csv":
        text = as_csv(records(several[0]))
        if warning:
            print(one_line(warning), file=sys.stderr)
    else:
        text = "\n".join(map(as_latex, several))
        if warning:
            text = f"% {one_line(warning)}\n{text}"
    sys.stdout.write(text)


def records(table: Table) -> list[dict[str, Any]]:
    """Rows as plain data, by the keys of the columns."""
    return [
        {
            key: value
            for column, cell in zip(table.columns, row, strict=True)
            for key, value in exact(column.key, cell).items()
        }
        for row in table.rows
    ]


def exact(key: str, cell: Any) -> dict[str, Any]:
    """A cell as plain data: one number or text, or those of an interval."""
    if isinstance(cell, Steps):
        beyond = None if math.isfinite(cell.interval.estimate) else cell.beyond
        return {**exact(key, cell.interval), f"{key}_beyond": _plain(beyond)}
    if isinstance(cell, Interval):
        return {
            key: _plain(cell.estimate),
            f"{key}_low": _plain(cell.low),
            f"{key}_high": _plain(cell.high),
        }
    return {key: _plain(cell)}


def _plain(cell: Any) -> Any:
    if hasattr(cell, "item"):  # NumPy's own types
        cell = cell.item()
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.12g}") if math.isfinite(cell) else None


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV with a header."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_latex(table: Table) -> str:
    """A table with the rules of booktabs, rounded as it is for people."""
    table, told = tables.varying(table)
    kinds = "".join(
        "l"
        if column.left or any(isinstance(row[i], str) for row in table.rows)
        else "r"
        for i, column in enumerate(table.columns)
    )
    heads = [_latex(column.heading) for column in table.columns]
    lines = [
        f"% {one_line(line)}" for line in [table.title, told, *table.notes] if line
    ]
    lines += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", _row(heads), r"\midrule"]
    for row in tables.texts(table):
        lines.append(_row(list(map(_latex, row))))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(x, x) for x in text.replace("\n", " "))
