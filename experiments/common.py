"""What several experiments need."""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg
from pgjax._internal.spaces import batch_size


class RandomActions(NamedTuple):
    """A distribution in which all actions of a space are equally likely."""

    space: Any
    num: int

    def sample(self, key: Any) -> Any:
        """One action per environment."""
        if isinstance(self.space, pg.Discrete):
            return jax.random.randint(key, (self.num,), 0, self.space.n)
        shape = self.num, *self.space.shape
        return jax.random.uniform(
            key, shape, minval=self.space.low, maxval=self.space.high
        )

    def log_prob(self, action: Any) -> Any:
        """(num,) that of any action."""
        if isinstance(self.space, pg.Discrete):
            return jnp.full(self.num, -np.log(self.space.n))
        width = jnp.log(jnp.asarray(self.space.high) - jnp.asarray(self.space.low))
        volume = jnp.broadcast_to(width, self.space.shape).sum()
        return jnp.full(self.num, 1.0) * -volume

    def mode(self) -> Any:
        """There is no best action: any."""
        return self.sample(jax.random.key(0))


def returns_of(env: pg.Env, policy: Any, *, seed: int, episodes: int) -> np.ndarray:
    """Returns of complete episodes under a policy without parameters, sampled."""

    def play(key: Any) -> Any:
        return pg.evaluate(key, env, policy, None, num_episodes=episodes, greedy=False)[
            0
        ]

    return np.asarray(jax.jit(play)(jax.random.key(seed)))


def random_returns(env: pg.Env, *, seed: int, episodes: int = 1000) -> np.ndarray:
    """Returns of complete episodes of uniformly random actions."""

    def policy(_: None, obs: Any) -> RandomActions:
        return RandomActions(env.action_space, batch_size(obs))

    return returns_of(env, policy, seed=seed, episodes=episodes)


def thin_curves(metrics: pathlib.Path, curves: pathlib.Path, points: int = 50) -> None:
    """Keeps `points` rows per seed of a metrics.csv, and three columns."""
    columns = ("seed", "env_steps", "recent_return")
    seeds: dict[str, list[list[str]]] = {}
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            seeds.setdefault(row["seed"], []).append([row[name] for name in columns])
    with curves.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for rows in seeds.values():
            kept = np.unique(np.linspace(0, len(rows) - 1, points).round().astype(int))
            writer.writerows(rows[i] for i in kept)


def read_curves(path: pathlib.Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What `thin_curves` kept: env steps and returns, an array of each per seed."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    table = table[np.isfinite(table["recent_return"])]
    agents = [table[table["seed"] == seed] for seed in np.unique(table["seed"])]
    return [a["env_steps"] for a in agents], [a["recent_return"] for a in agents]


def quick_and_out(doc: str, results: pathlib.Path) -> tuple[bool, pathlib.Path]:
    """What an experiment is told: --quick, and where its results go."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    if arguments.out is None and arguments.quick:
        return True, pathlib.Path("runs") / f"{results.name}-quick"
    return arguments.quick, arguments.out or results


def read_json(path: pathlib.Path) -> Any:
    """The data in a JSON file."""
    return json.loads(path.read_text())
