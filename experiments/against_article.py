"""Steps to solve under the article's presets, against the article's own PyTorch code.

    pgjax train reinforce --preset article --seeds 32 --out PLAIN
    pgjax train reinforce --preset article-baseline --seeds 32 --out BASELINE
    python -m experiments.against_article PLAIN BASELINE

The article's code was run with 31 and 39 seeds; its results, one row per seed, are in
experiments/reference/article_torch.json. An agent that has not solved the task by
400,000 steps is a censored observation: the log-rank test takes it as such, and the
rank-sum test as the largest.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
from scipy import stats

from pgjax.lab import statistics

REFERENCE = pathlib.Path(__file__).parent / "reference" / "article_torch.json"
CAP = 400_000  # environment steps


def main() -> None:
    """Prints, for each of the two runs, both medians and two tests."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("plain", type=pathlib.Path, help="run of --preset article")
    parser.add_argument("baseline", type=pathlib.Path, help="of article-baseline")
    runs = parser.parse_args()
    variants = json.loads(REFERENCE.read_text())["variants"]
    pairs = {
        "plain": (runs.plain, variants["plain"]),
        "mean baseline": (runs.baseline, variants["mean_baseline"]),
    }
    for name, (run, reference) in pairs.items():
        rows = json.loads((run / "summary.json").read_text())["agents"]
        print(name, *compare(steps_to_solve(rows), steps_to_solve(reference)), sep="\n")


def steps_to_solve(rows: list[dict]) -> np.ndarray:
    """Steps to solve, one per seed; infinite for those that did not within the cap."""
    steps = [row["steps_to_solve"] for row in rows]
    return np.array([s if s is not None and s <= CAP else np.inf for s in steps])


def compare(ours: np.ndarray, article: np.ndarray) -> list[str]:
    """Lines with medians, intervals and two-sample tests."""
    rank_sum = stats.mannwhitneyu(ours, article)
    caps = (np.full(len(steps), CAP) for steps in (ours, article))
    log_rank = statistics.log_rank(ours, next(caps), article, next(caps))
    return [
        f"  pgjax:         {_describe(ours)}",
        f"  article's code: {_describe(article)}",
        f"  rank-sum test p = {rank_sum.pvalue:.2f}, log-rank test p = {log_rank:.2f}",
    ]


def _describe(steps: np.ndarray) -> str:
    median, low, high = (
        f"{x:,.0f}" if np.isfinite(x) else "-" for x in statistics.median(steps)
    )
    return (
        f"median {median} [{low}, {high}], {np.isfinite(steps).sum()} of {len(steps)} "
        "seeds solved"
    )


if __name__ == "__main__":
    main()
