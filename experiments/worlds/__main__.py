"""`python -m experiments.worlds`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import time
import traceback
import warnings
from typing import Any

import jax

from experiments import worlds
from experiments.worlds import report
from experiments.worlds.checks import LIMIT, findings
from experiments.worlds.suites import OWN, adapter_of, own_of
from experiments.worlds.timing import speeds
from pgjax.app.machine import about_this_machine

RESULTS = pathlib.Path(__file__).parents[1] / "results" / "worlds"
NUM_ENVS = 256  # of timings; physics and pixels have fewer
FEWER = {"brax": 32, "playground": 32, "craftax": 32}
PACKAGES = {"playground": "playground", "xminigrid": "xminigrid"}


def main() -> None:
    """Checks and measures, one environment after the other; what is done is kept."""
    arguments = _arguments()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")  # the suites' own
    for suite in arguments.suites:
        path = out / f"{suite}.json"
        record = json.loads(path.read_text()) if path.exists() else {}
        try:
            _, names = adapter_of(suite)
            known = names()
        except ImportError as error:
            print(f"{suite}: not installed ({error})", flush=True)
            continue
        record |= {
            "command": "python -m experiments.worlds",
            **about_this_machine(),
            "suite": _version(suite),
        }
        rows = record.setdefault("environments", {})
        for name in known[: 1 if arguments.quick else None]:
            if arguments.only and name not in arguments.only:
                continue
            _one(suite, name, rows.setdefault(name, {}), arguments)
            path.write_text(json.dumps(record, indent=1) + "\n")
            print(report.line(suite, name, rows[name]), flush=True)
            jax.clear_caches()
    report.write(out)


def _one(suite: str, name: str, row: dict[str, Any], arguments: Any) -> None:
    """Fills in what is not known of an environment, or why it cannot be."""
    make, _ = adapter_of(suite)
    start = time.perf_counter()
    try:
        if arguments.checks and ("findings" not in row or arguments.again):
            row.pop("error", None)
            env, own = make(name, time_limit=LIMIT), own_of(suite, name, LIMIT)
            row |= {
                "observation": list(env.observation_space.shape),
                "actions": report.space(env.action_space),
                "max_steps": make(name).max_steps,
                "beside": "its own loop" if own else "",
                "findings": findings(env, own),
            }
        if arguments.timings and ("ppo_steps_per_s" not in row or arguments.again):
            num_envs = FEWER.get(suite, NUM_ENVS)
            rounds = 3 if arguments.quick else 9
            own = own_of(suite, name)
            row |= {"num_envs": num_envs}
            row |= speeds(make(name), own, num_envs=num_envs, rounds=rounds)
    except Exception as error:  # a suite fails as it likes; the table says so
        if arguments.trace:
            traceback.print_exc()
        row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    row["seconds"] = round(row.get("seconds", 0) + time.perf_counter() - start)


def _version(suite: str) -> str:
    package = PACKAGES.get(suite, suite)
    return f"{package} {importlib.metadata.version(package)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(worlds.__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one of each suite")
    parser.add_argument("--suites", nargs="+", choices=list(OWN), default=list(OWN))
    parser.add_argument("--only", nargs="+", help="environments, by their names")
    parser.add_argument("--no-timings", dest="timings", action="store_false")
    parser.add_argument("--no-checks", dest="checks", action="store_false")
    parser.add_argument("--again", action="store_true", help="what is done, too")
    parser.add_argument("--trace", action="store_true", help="print errors whole")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    quick = pathlib.Path("runs") / "worlds-quick"
    arguments.out = arguments.out or (quick if arguments.quick else RESULTS)
    return arguments


if __name__ == "__main__":
    main()
