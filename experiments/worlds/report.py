"""The table of what was found, in Markdown."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pgjax as pg

HEAD = """# Every environment of every suite

`python -m experiments.worlds`. Each environment is stepped beside its suite's own, with
the same keys and actions, for 50 steps of 4 environments under a time limit of 40:
observations, rewards and ends must be equal (to 1e-4, where they are physics). Its
types must not change, its limit must truncate, and two updates of PPO and an episode of
`pg.evaluate` must give finite numbers. Steps per second are medians of rounds in turns:
the suite's own vmapped loop, the same through the adapter, and PPO (64-64, 4 epochs of
4 minibatches, 32 steps) around it.
"""


def space(of: pg.Discrete | pg.Box) -> str:
    """A space in a word."""
    return str(of.n) if isinstance(of, pg.Discrete) else f"Box{tuple(of.shape)}"


def verdict(row: dict[str, Any]) -> str:
    """Whether an environment passes, or what it violates."""
    if "error" in row:
        return row["error"]
    if "findings" not in row:
        return "not checked"
    return "; ".join(row["findings"]) or "passes"


def line(suite: str, name: str, row: dict[str, Any]) -> str:
    """An environment in a line of the terminal."""
    speed = _speed(row.get("adapter_steps_per_s"))
    overhead = _percent(row.get("overhead"))
    return f"{suite}:{name}: {verdict(row)} {speed} {overhead}".rstrip(" -")


def write(out: pathlib.Path) -> None:
    """README.md, of all JSON files in a directory."""
    parts, total, passing = [], 0, 0
    for path in sorted(out.glob("*.json")):
        record = json.loads(path.read_text())
        rows = record["environments"]
        passed = sum(verdict(row) == "passes" for row in rows.values())
        total, passing = total + len(rows), passing + passed
        parts += [f"\n## {record['suite']}\n", f"{passed} of {len(rows)} pass.\n"]
        parts += [f"{record['cpu']}, Python {record['python']}.\n"]
        parts += ["| environment | observation | actions | limit | own steps/s |"]
        parts[-1] += " through the adapter | overhead | with PPO | |"
        parts += ["|---|---|---|---|---|---|---|---|---|"]
        parts += [_row(name, row) for name, row in rows.items()]
    summary = f"\n{passing} of {total} environments pass.\n"
    (out / "README.md").write_text("\n".join([HEAD + summary, *parts]) + "\n")


def _row(name: str, row: dict[str, Any]) -> str:
    cells = [
        name,
        " x ".join(map(str, row.get("observation", []))) or "-",
        row.get("actions", "-"),
        f"{row['max_steps']:,}" if "max_steps" in row else "-",
        _speed(row.get("own_steps_per_s")),
        _speed(row.get("adapter_steps_per_s")),
        _percent(row.get("overhead")),
        _speed(row.get("ppo_steps_per_s")),
        verdict(row).replace("|", "\\|") + _alone(row),
    ]
    return f"| {' | '.join(cells)} |"


def _alone(row: dict[str, Any]) -> str:
    """Said where there is no loop of the suite's own to be compared with."""
    return " (by itself: it has an opponent)" if row.get("beside") == "" else ""


def _speed(steps: float | None) -> str:
    return "-" if steps is None else f"{float(f'{steps:.3g}'):,.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:+.1%}"
