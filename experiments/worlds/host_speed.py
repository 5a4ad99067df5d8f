"""How fast environments on the host are: `python -m experiments.worlds.host_speed`.

Steps per second with 8 and 64 of them: stepped with random actions, in the rollouts of
a policy (64-64), and in training with PPO (4 epochs of 4 minibatches, 128 steps). Each
is the median of some rounds; processor seconds tell what it costs where the machine is
shared.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import pgjax as pg
from pgjax.app.machine import about_this_machine
from pgjax.envs.check_host import steps_per_second_on_host

OUT = pathlib.Path(__file__).parents[1] / "results" / "worlds" / "host" / "speed.json"
NAMES = ["gymnasium:CartPole-v1", "gymnasium:Pendulum-v1", "envpool:CartPole-v1"]
NUM_STEPS = 128


def main() -> None:
    """Measures what is installed, and writes it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--num-envs", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names:
        try:
            env = pg.host_env(name)
        except ImportError as error:
            print(f"{name}: {error}")
            continue
        for num_envs in arguments.num_envs:
            rows.append(measured(env, num_envs, arguments.rounds))
            print(rows[-1], flush=True)
    command = "python -m experiments.worlds.host_speed"
    record = {"command": command, **about_this_machine(), "rows": rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


def measured(env: pg.HostEnv, num_envs: int, rounds: int) -> dict[str, Any]:
    """The speeds of an environment, in steps per second."""
    algorithm = pg.ppo(pg.actor_critic(env, (64, 64)), optax.adam(1e-3))
    rollout = pg.unroll(env, num_envs, NUM_STEPS)
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    states = [state]

    def train() -> Any:
        states[0], metrics = pg.train_step(states[0], rollout, algorithm)
        return metrics

    def collect() -> Any:
        learner, policy = states[0].learner, algorithm.policy
        after, *_ = rollout.collect(
            states[0].key, policy, learner.params, states[0].rollout_state
        )
        states[0] = states[0]._replace(rollout_state=after)

    steps = num_envs * NUM_STEPS
    row = {"env": env.name, "num_envs": num_envs}
    row["random_actions"] = round(steps_per_second_on_host(env, num_envs))
    for what, run in (("rollouts", collect), ("ppo", train)):
        wall, processor = _seconds(run, rounds)
        row[what] = round(steps / wall)
        row[f"{what}_per_processor_second"] = round(steps / processor)
    rollout.close()
    return row


def _seconds(run: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Of a call: the median on the clock, and of the processor's time."""
    jax.block_until_ready(run())
    times = []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(run())
        end = time.perf_counter(), time.process_time()
        times.append(np.subtract(end, start))
    wall, processor = np.median(times, axis=0)
    return float(wall), float(processor)


if __name__ == "__main__":
    main()
