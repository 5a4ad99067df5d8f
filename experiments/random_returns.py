"""What random actions earn: one end of the scale of normalised scores.

    python -m experiments.random_returns            a minute on 2 cores
    python -m experiments.random_returns --quick    does it run?

Prints pgjax/app/analysis/reference_scores.toml: the other end is the mean return from
which a task counts as solved.
"""

from __future__ import annotations

import sys

import numpy as np

import pgjax as pg
from experiments.common import random_returns

EPISODES = 10_000
# Above which the environment counts as solved, and who says so.
GYMNASIUM = "reward_threshold of Gymnasium's registry"
REFERENCES = {
    "CartPole-v1": (475.0, GYMNASIUM),
    "Acrobot-v1": (-100.0, GYMNASIUM),
    "MountainCar-v0": (-110.0, GYMNASIUM),
    "MountainCarContinuous-v0": (90.0, GYMNASIUM),
    "Catch-bsuite": (0.95, "pgjax's solved_return; the ball is caught 39 times of 40"),
}


def main() -> None:
    """Measures and prints."""
    episodes = 50 if "--quick" in sys.argv[1:] else EPISODES
    print("# Ends of the scale of normalised scores. Made, and measured, by")
    print("# `python -m experiments.random_returns`: uniformly random actions.")
    for name, (reference, source) in REFERENCES.items():
        returns = random_returns(pg.make_env(name), seed=0, episodes=episodes)
        error = returns.std(ddof=1) / np.sqrt(len(returns))
        print(
            f'\n["{name}"]\n'
            f"random = {returns.mean():.2f}  # standard error {error:.2f}, of "
            f"{episodes:,} episodes\n"
            f"reference = {reference}\n"
            f'source = "{source}"'
        )


if __name__ == "__main__":
    main()
