"""`python -m experiments.proof`."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from typing import Any

import numpy as np

from experiments import proof
from experiments.proof.broken_variants import VICTIMS, broken_families
from experiments.proof.case import RANDOM
from experiments.proof.families import families
from experiments.proof.measure import LIMIT, best_constant, exact, measure
from experiments.proof.report import draw, line, table
from pgjax.app.machine import about_this_machine

RESULTS = pathlib.Path(__file__).parents[1] / "results" / "proof"
BATCHES = 2**20  # of one to four episodes, or of as many unrolls
FEW = 2**16  # of broken variants
FAR = 0.01  # from the exact gradient, by its length


def main() -> None:
    """Proves, prints, and writes."""
    parser = argparse.ArgumentParser(description=(proof.__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    quick = pathlib.Path("runs") / "proof-quick"
    out = arguments.out or (quick if arguments.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    num_batches = 2**14 if arguments.quick else BATCHES
    outcomes, truths = [], {}
    for family in families():
        truths |= {case.name: exact(family, case) for case in family.cases}
        known = [truths[case.name] for case in family.cases]
        found = measure(family, known, num_batches=num_batches)
        outcomes += found
        print(*map(line, found), sep="\n", flush=True)
    broken, missed = {}, []
    for family in broken_families():
        known = [truths[VICTIMS[case.name]] for case in family.cases]
        for outcome in measure(family, known, num_batches=FEW):
            name, z = outcome.name, outcome.z
            victim = VICTIMS[name]
            broken[name] = {"case": victim, "batches": outcome.batches, "z": z}
            missed += [name] if z < LIMIT else []
            print(f"broken: {name} ({victim}): z {z:.0f}", flush=True)
    best, share = best_constant(RANDOM)
    record = {
        "command": "python -m experiments.proof",
        **about_this_machine(),
        "seed": 0,
        "estimators": [
            {
                name: x.tolist() if isinstance(x, np.ndarray) else _known(x)
                for name, x in outcome._asdict().items()
            }
            for outcome in outcomes
        ],
        "broken": broken,
        "best constant baseline": {"baseline": best, "variance by none's": share},
    }
    (out / "proof.json").write_text(
        json.dumps(record, indent=1, allow_nan=False) + "\n"
    )
    (out / "proof.md").write_text(table(outcomes, broken))
    draw(out / "proof.png", outcomes, broken)
    far = 1.0 if arguments.quick else FAR
    failed = [x.name for x in outcomes if not x.passes or x.relative > far]
    print(f"failed: {failed or 'none'}; broken variants not caught: {missed or 'none'}")
    sys.exit(bool(failed or missed))


def _known(x: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(x, float) and math.isnan(x) else x


if __name__ == "__main__":
    main()
