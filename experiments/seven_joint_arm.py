"""The article's opening example: a robot arm with seven joints learns to reach.

    python -m experiments.seven_joint_arm            trains 10 seeds first, if need be
    python -m experiments.seven_joint_arm --quick    2 seeds and few steps: does it run?

The runs are those of `python -m experiments.family --only ppo-seven-joint-arm`. This
draws their curves between two landmarks, random play and a controller written by hand,
and the poses of the arm in a few episodes.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

import pgjax as pg
from experiments import family
from experiments.common import random_returns, read_curves, read_json, returns_of
from pgjax.app.analysis import intervals
from pgjax.app.analysis.learning_curve import BLUE, GREY, ORANGE
from pgjax.app.play import evaluate_run

ROW = next(row for row in family.ROWS if row.preset == "seven-joint-arm")
RESULTS = pathlib.Path("experiments/results/seven_joint_arm")
JOINTS = 7
GAINS = (1.0, 2.0)  # the best of 17 pairs tried by hand


def main() -> None:
    """Trains if need be; writes two pictures, a record and a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only to see it run")
    quick = parser.parse_args().quick
    out = pathlib.Path("runs/seven_joint_arm-quick") if quick else RESULTS
    run = (out if quick else family.RESULTS) / ROW.name
    if quick or not (run / "record.json").is_file():
        family.run(ROW, run, quick=quick)
    out.mkdir(parents=True, exist_ok=True)
    (trained,) = evaluate_run.load(run)
    experiment, params = trained.experiment, trained.params
    episodes = 100 if quick else 2000
    env, seed = experiment.env, family.FIRST_SEED
    record = {
        "random": _spread(random_returns(env, seed=seed, episodes=episodes)),
        "controller": _spread(
            returns_of(env, controller, seed=seed, episodes=episodes)
        ),
        "trained": intervals.mean(
            [
                row["greedy_return"]["mean"]
                for row in read_json(run / "summary.json")["agents"]
            ]
        )._asdict(),
        "run": str(run),
    }
    (out / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    draw_curves(out / "curves.png", run / "curves.csv", record)
    first = jax.tree.map(lambda x: x[0], params)
    draw_poses(out / "poses.png", experiment, first, seed=seed)
    print(json.dumps(record, indent=2), f"pictures in {out}", sep="\n")


def greedy_returns(run: pathlib.Path) -> np.ndarray:
    """Each seed's mean return, playing greedily after training."""
    seeds = read_json(run / "summary.json")["agents"]
    return np.array([seed["greedy_return"]["mean"] for seed in seeds])


def controller(_: None, obs: Any) -> pg.DiagGaussian:
    """Torque along the fingertip's error, through the Jacobian's transpose, damped."""
    cos, sin, velocity, goal = jnp.split(obs, [JOINTS, 2 * JOINTS, 3 * JOINTS], axis=-1)
    error = goal - fingertip(cos, sin)
    along = error[..., :1] * -sin + error[..., 1:] * cos
    torque = GAINS[0] * along - GAINS[1] * velocity
    return pg.DiagGaussian(torque, jnp.full(torque.shape, -10.0))


def fingertip(cos: Any, sin: Any) -> Any:
    """Where the chain of unit links ends; angles are those of the links in space."""
    return jnp.stack([cos.sum(-1), sin.sum(-1)], axis=-1)


def _spread(returns: np.ndarray) -> dict[str, float]:
    return intervals.mean(returns)._asdict()


def draw_curves(path: pathlib.Path, curves: pathlib.Path, record: dict) -> None:
    """Learning curves of all seeds, with random play and the controller."""
    steps, returns = read_curves(curves)
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for i, (x, y) in enumerate(zip(steps, returns, strict=True)):
        label = f"PPO, each of {len(steps)} seeds" if i == 0 else None
        axes.plot(x, y, color=BLUE, alpha=0.6, linewidth=1.0, label=label)
    for name, color, text in (
        ("controller", ORANGE, "controller written by hand"),
        ("random", GREY, "uniformly random actions"),
    ):
        level = record[name]["estimate"]
        axes.axhline(level, color=color, ls="--", lw=1.2, label=f"{text}: {level:.1f}")
    axes.set_title("Arm with seven joints (Reacher-misc, num_joints=7)", fontsize=11)
    axes.set_xlabel("environment steps per seed")
    axes.set_ylabel("mean return of the last 100 episodes\n(0 to 100)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.93), fontsize=8)
    figure.savefig(path)


def draw_poses(path: pathlib.Path, experiment: Any, params: Any, *, seed: int) -> None:
    """Four episodes of the greedy policy, the arm drawn every 20 steps."""
    env, algorithm = experiment.env, experiment.algorithm
    num_episodes = 4

    def step(carry: tuple, key: Any) -> tuple:
        obs, state = carry
        action = algorithm.policy(params, obs).mode()
        obs, state, reward, *_ = env.step(key, state, action)
        return (obs, state), (obs, reward)

    @jax.jit
    def play(key: Any) -> tuple[Any, Any]:
        start, *keys = jax.random.split(key, env.max_steps + 1)
        first = env.reset(start, num_episodes)
        _, (obs, reward) = jax.lax.scan(step, first, jnp.stack(keys))
        return jnp.concatenate([first[0][None], obs]), reward.sum(0)

    obs, returns = (np.asarray(x) for x in play(jax.random.key(seed)))
    figure = Figure(figsize=(9.6, 2.9), dpi=160, layout="constrained")
    for i, axes in enumerate(figure.subplots(1, num_episodes)):
        shown = range(0, len(obs), 20)
        for t in shown:
            angles = obs[t, i, : 2 * JOINTS].reshape(2, JOINTS)
            joints = np.concatenate([np.zeros((2, 1)), angles.cumsum(1)], axis=1)
            late = t / (len(obs) - 1)
            axes.plot(*joints, "-o", ms=2, lw=1.2, color=BLUE, alpha=0.15 + 0.85 * late)
        axes.plot(*obs[0, i, -2:], "*", ms=12, color=ORANGE)
        axes.set_title(f"return {returns[i]:.0f}", fontsize=9)
        axes.set_aspect("equal")
        axes.set_xlim(-7.5, 7.5)
        axes.set_ylim(-7.5, 7.5)
        axes.tick_params(labelsize=7)
    figure.suptitle(
        f"Seed {seed}, greedy: poses every 20 steps (1 s), from pale to dark; the star "
        "is the goal",
        fontsize=10,
    )
    figure.savefig(path)


if __name__ == "__main__":
    main()
