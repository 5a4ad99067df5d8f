"""Drills: runs that are killed again and again end with the same bits.

For each algorithm and a sweep: 40 chunks straight, then the same command, killed with
SIGKILL at 20 random moments and resumed each time; parameters and metrics must be equal
byte for byte. Then what checkpoints cost: the throughput of stretches of 10 seconds
that begin with one, beside stretches that do not, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from pgjax.app.machine import about_this_machine
from pgjax.app.prepare_jax import prepare_jax
from pgjax.app.runs.compiled_programs import compile_programs
from pgjax.app.runs.devices import choose_mesh
from pgjax.app.runs.run_checkpoints import Checkpoints
from pgjax.app.settings.build import build
from pgjax.app.settings.grid import agents_of
from pgjax.app.settings.run_settings import make_config
from pgjax.checkpoints import to_arrays

RESULTS = pathlib.Path(__file__).parent / "results" / "faults"
CHUNKS, KILLS = 40, 20
_SMALL = ["--seeds", "3", "--hidden", "16", "--eval-episodes", "4"]
# Of every update, 4 environments x 8 steps, or 4 episodes; 2 updates are a chunk.
_UNROLLED = ["--num-envs", "4", "--num-steps", "8", "--updates-per-chunk", "2"]
CASES: dict[str, list[str]] = {
    "reinforce": ["train", "reinforce", *_SMALL, "--num-envs", "4", "--steps", "20000"],
    "a2c": ["train", "a2c", *_SMALL, *_UNROLLED, "--preset", "general"],
    "ppo": ["train", "ppo", *_SMALL, *_UNROLLED, "--preset", "general"],
    "trpo": ["train", "trpo", *_SMALL, *_UNROLLED, "--preset", "general"],
    "sweep": [
        *["sweep", "ppo", *_SMALL, *_UNROLLED, "--preset", "general"],
        *["--learning-rate", "0.001", "0.003"],
    ],
}


def arguments_of(case: str, chunks: int) -> list[str]:
    """The command of a case, which makes so many chunks (REINFORCE: about 40)."""
    if case == "reinforce":
        return [*CASES[case], "--updates-per-chunk", "2"]
    return [*CASES[case], "--steps", str(chunks * 2 * 4 * 8)]


def straight(arguments: Sequence[str], out: pathlib.Path) -> None:
    """Runs a command from beginning to end."""
    _pgjax([*arguments, "--out", str(out), "--quiet"]).wait()


def killed(
    arguments: Sequence[str], out: pathlib.Path, *, kills: int, seed: int
) -> list[int]:
    """Runs a command, killing it at random moments and resuming it.

    A moment is a random number of chunks, and then up to 0.2 s, so that some come
    while a checkpoint is being written.

    Returns:
      The number of chunks that the last checkpoint had at each kill.
    """
    rng = random.Random(seed)
    every = ["--checkpoint-every", "0", "--quiet"]
    resume = [arguments[0], "--resume", str(out), *every]
    process = _pgjax([*arguments, "--out", str(out), *every])
    moments, reached = sorted(rng.sample(range(1, CHUNKS - 1), kills)), []
    for moment in moments:
        while process.poll() is None and newest(out) < moment:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.2))
        if process.poll() is not None:
            break  # it was faster
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(newest(out))
        process = _pgjax(resume)
    code = process.wait()
    if code:
        raise RuntimeError(f"{' '.join(resume)} ended with {code}")
    return reached


def newest(out: pathlib.Path) -> int:
    """The number of the newest checkpoint of a run."""
    numbers = [path.name for path in out.glob("batches/*/checkpoints/*")]
    return max((int(name) for name in numbers if name.isdigit()), default=0)


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """The files of results that are not equal, byte for byte."""
    names = "params.npz", "metrics.csv", "params_best.npz", "evaluations.csv"
    there = [x for x in names if (one / x).exists() or (other / x).exists()]
    return [x for x in there if (one / x).read_bytes() != (other / x).read_bytes()]


def overhead(pairs: int, seconds: float = 10.0) -> dict[str, object]:
    """What a checkpoint every 10 seconds costs: stretches with one and without.

    One process trains 64 agents; every other stretch of 10 seconds begins with a
    checkpoint, which is written while training goes on.
    """
    config = make_config("reinforce", "general", {"seeds": 64, "num_envs": 16})
    agents, experiment = agents_of(config), build(config)
    mesh = choose_mesh(config, config.seeds, None)
    programs = compile_programs(config, experiment, agents, mesh, [])
    work = programs.fill(np.ones(config.seeds, np.int32))
    left = programs.fill(np.full(config.seeds, 2**31 - 1, np.int32))
    state, values = programs.init(*programs.inputs), programs.inputs[1]
    speeds: dict[str, list[float]] = {"with": [], "without": []}
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.closing(Checkpoints(pathlib.Path(directory) / "c")) as checkpoints,
    ):
        for i in range(2 * pairs + 2):  # the first two warm everything up
            name = "with" if i % 4 in (0, 3) else "without"  # ABBA
            steps, start = 0, time.perf_counter()
            if name == "with":
                checkpoints.save(i, programs.slots.real(state))
            while time.perf_counter() - start < seconds:
                state, metrics = programs.chunk(work, state, left, values)
                steps += int(np.asarray(metrics["env_steps"]).sum(dtype=np.int64))
            if i >= 2:
                speeds[name].append(steps / (time.perf_counter() - start))
    ratios = np.array(speeds["with"]) / np.array(speeds["without"])
    error = ratios.std(ddof=1) / np.sqrt(pairs)
    return {
        "steps per second": speeds,
        "ratio": [float(ratios.mean()), float(error)],  # and its standard error
        "bytes": sum(x.nbytes for x in to_arrays(state).values()),
    }


def _pgjax(arguments: Sequence[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "pgjax", *arguments])


def main() -> None:
    """Runs the drills and records what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=(*CASES, "overhead"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    record: dict[str, object] = {
        "command": "python -m experiments.faults",
        **about_this_machine(),
    }
    for case in arguments.only or (*CASES, "overhead"):
        if case == "overhead":
            record[case] = overhead(pairs=16)
        else:
            record[case] = _drill(case, arguments.seed)
        print(case, json.dumps(record[case]), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "faults.json").write_text(json.dumps(record, indent=1) + "\n")


def _drill(case: str, seed: int) -> dict[str, object]:
    command = arguments_of(case, CHUNKS)
    with tempfile.TemporaryDirectory() as directory:
        whole, broken = (pathlib.Path(directory) / name for name in ("whole", "broken"))
        straight(command, whole)
        reached = killed(command, broken, kills=KILLS, seed=seed)
        if len(reached) < KILLS:
            raise RuntimeError(f"{case} was over after {len(reached)} kills")
        return {
            "kills": len(reached),
            "chunks at each": reached,
            "files that differ": differences(whole, broken),
        }


if __name__ == "__main__":
    prepare_jax()
    main()
