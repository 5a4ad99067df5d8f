"""Scores in the real Gymnasium, which `pgjax evaluate` has kept, read for `compare`."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.runs.files import read_json
from pgjax.app.runs.results import PARAMS, SCORES

_FILES = "gymnasium-*-episodes-seed-*.json"  # of the last policies; of the best, others


class Played(NamedTuple):
    """What agents came to in Gymnasium."""

    episodes: int  # of each agent
    returns: dict[tuple[str, ...], float]  # mean, greedy; by settings and the seed


def played(
    run: pathlib.Path, names: Sequence[str], summary: Mapping[str, Any]
) -> Played | None:
    """The evaluation with the most episodes of the policies that a run has now.

    None if there is none: of other parameters, of a file that is damaged, of runs whose
    summary has no checksums.

    Args:
      run: its directory.
      names: the settings of its grid.
      summary: of the run, whose parameters must be those that played.
    """
    params = summary.get("files", {}).get(PARAMS)
    found = (_read(path, names, params) for path in (run / SCORES).glob(_FILES))
    whole = [x for x in found if x is not None]
    return max(whole, key=lambda x: (len(x.returns), x.episodes), default=None)


def _read(path: pathlib.Path, names: Sequence[str], params: Any) -> Played | None:
    try:
        content = read_json(path)
        if params is None or content["params"] != params or content["which"] != "last":
            return None
        rows = {
            (*(str(row[name]) for name in names), str(row["seed"])): row
            for row in content["agents"]
        }
        means = {who: row["greedy_return"]["mean"] for who, row in rows.items()}
        known = {who: float(x) for who, x in means.items() if x is not None}
        return Played(int(content["episodes"]), known) if known else None
    except (UsageError, AttributeError, KeyError, TypeError, ValueError):
        return None
