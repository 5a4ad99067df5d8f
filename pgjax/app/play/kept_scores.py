"""What `pgjax evaluate` found: kept in the run's directory, and shown.

    scores/gymnasium-100-episodes-seed-0.json

has "backend", "which" (policies), "episodes", "seed", the checksum of the parameters
that played, versions, and "agents": settings of the grid, the seed, and mean, standard
deviation and least of the returns, greedy and sampled.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pgjax.app import output, table_formats, tables
from pgjax.app.analysis import intervals
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.files import checksum, read_json, write_json
from pgjax.app.runs.progress import plural
from pgjax.app.runs.results import BEST_PARAMS, PARAMS, SCORES
from pgjax.app.runs.summary import spread
from pgjax.app.settings.grid import Agents
from pgjax.app.shown_names import as_heading, one_line
from pgjax.app.tables import FEW_DOZEN, Column, Format, Table

Which = Literal["last", "best"]  # of an agent's parameters
PARAMS_OF: dict[str, str] = {"last": PARAMS, "best": BEST_PARAMS}


def path_of(
    run: pathlib.Path, *, backend: str, which: Which, episodes: int, seed: int
) -> pathlib.Path:
    """The file of an evaluation."""
    played = f"{backend}-best" if which == "best" else backend
    return run / SCORES / f"{played}-{episodes}-episodes-seed-{seed}.json"


def rows_of(
    agents: Agents, greedy: np.ndarray, sampled: np.ndarray
) -> list[dict[str, Any]]:
    """A row for each of S agents, from (S, episodes) returns."""
    plain = {name: x.tolist() for name, x in agents.labels.items()}
    return [
        {
            **{name: of[i] for name, of in plain.items()},
            "seed": int(seed),
            "greedy_return": spread(greedy[i]),
            "sampled_return": spread(sampled[i]),
        }
        for i, seed in enumerate(agents.seeds)
    ]


def keep(
    run: pathlib.Path,
    path: pathlib.Path,
    asked: Mapping[str, Any],
    rows: Sequence[dict[str, Any]],
    names: Sequence[str],
) -> None:
    """Writes an evaluation, beside what the same one has said of other agents.

    Args:
      run: the run's directory.
      path: the file.
      asked: what tells evaluations apart.
      rows: of the agents.
      names: the settings of the grid.
    """
    params = checksum(run / PARAMS_OF[asked["which"]])
    found = {_who(row, names): row for row in _kept(path, params)}
    found |= {_who(row, names): row for row in rows}
    content = {
        **asked,
        "params": params,
        "versions": run_record.versions(),
        "agents": list(found.values()),
    }
    path.parent.mkdir(exist_ok=True)
    write_json(path, content)


def _kept(path: pathlib.Path, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows in a file, if they are of the same parameters."""
    try:
        content = read_json(path)
    except UsageError:  # it is not there, or damaged: it is made again
        return []
    if not isinstance(content, dict) or content.get("params") != params:
        return []
    rows = content.get("agents")
    return rows if isinstance(rows, list) and all(map(_is_row, rows)) else []


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("seed"), int)


def _who(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return *(str(row.get(name)) for name in names), str(row["seed"])


def show(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    asked: Mapping[str, Any],
    form: Format,
    paths: Sequence[pathlib.Path],
) -> None:
    """Prints the rows of agents; for people, of many agents what they come to.

    Args:
      title: of the table.
      rows: of agents.
      names: what tells them apart, beside their seeds.
      asked: what tells evaluations apart.
      form: of the output.
      paths: where the scores are, for each run.
    """
    table = agents_table(title, rows, names)
    if form != "text":
        table_formats.write(form, [table], asked)
        return
    if len(rows) > FEW_DOZEN:
        table = combinations_table(title, rows, names)
    tables.print_table(table)
    there = [one_line(path) for path in paths if path.exists()]
    if there:
        others = f", and in the {plural(len(there) - 1, 'other run')}"
        told = f"each agent's scores are in {there[0]}{others if there[1:] else ''}"
        output.console().print(told, soft_wrap=True)


def agents_table(
    title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Table:
    """A row for each agent."""
    columns = [Column(name, as_heading(name), fixed=True) for name in names]
    columns.append(Column("seed", "seed", "d"))
    parts = [("greedy", x) for x in ("mean", "std", "min")]
    parts += [("sampled", x) for x in ("mean", "std", "min")]
    columns += [Column(f"{kind}_{x}", f"{kind}\n{x}", ".1f") for kind, x in parts]
    cells = [
        [
            *(tables.number_or_text(row[name]) for name in names),
            row["seed"],
            *(row[f"{kind}_return"][x] for kind, x in parts),
        ]
        for row in rows
    ]
    return Table(title, columns, cells, [], "agents")


def combinations_table(
    title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Table:
    """A row for each combination of settings: what its agents come to."""
    points: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        points.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    columns = [Column(name, as_heading(name), fixed=True) for name in names]
    columns.append(Column("agents", "agents", ",d", fixed=True))
    for kind in ("greedy", "sampled"):
        columns.append(Column(f"{kind}_iqm", f"{kind}\nIQM", ".1f"))
        columns.append(Column(f"{kind}_mean", f"{kind}\nmean", ".1f"))
        columns.append(Column(f"{kind}_lowest", f"{kind}\nlowest", ".1f"))
    cells = []
    for point, of in points.items():
        line: list[Any] = [*point, len(of)]
        for kind in ("greedy", "sampled"):
            means = [row[f"{kind}_return"]["mean"] for row in of]
            known = np.array([x for x in means if x is not None])
            if known.size:
                line += [intervals.interquartile_mean(known)]
                line += [intervals.bootstrapped_mean(known), float(known.min())]
            else:
                line += [None, None, None]
        cells.append(line)
    note = (
        "Brackets: 95% bootstrap intervals over agents. --format csv has every agent."
    )
    return Table(title, columns, cells, [note], "combinations")
