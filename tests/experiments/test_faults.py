"""Runs that are killed, interrupted or go wrong lose nothing."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from turns import slow

from experiments import faults
from pgjax.app.cli import main

TINY = ["--seeds", "2", "--num-envs", "4", "--hidden", "8", "--eval-episodes", "2"]
CONSTANT = ["--no-anneal-learning-rate"]  # or more steps would be another run
CHUNKED = ["--updates-per-chunk", "2", "--checkpoint-every", "0", "--quiet"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ppo", "sweep"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(case, tmp_path):
    command = faults.arguments_of(case, chunks=40)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    faults.straight(command, whole)
    reached = faults.killed(command, broken, kills=2, seed=7)
    assert len(reached) == 2
    assert faults.differences(whole, broken) == []


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pgjax.app.cli", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path):
    deadline = time.time() + 120
    while not (path.exists() and path.stat().st_size) and time.time() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, slow(signal.SIGINT), slow(signal.SIGHUP)]
)
def test_signals_save_and_say_how_to_go_on(number, tmp_path):
    run = tmp_path / "run"
    process = start("train", *TINY, "--steps", 10**8, "--out", run)
    wait_for(run / "batches" / "000" / "metrics.csv")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "finishing this chunk" in errors
    assert f"pgjax train --resume {run}" in errors
    assert faults.newest(run) > 0
    assert not (run / "summary.json").exists()
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0  # as far as it came


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", *TINY, "--steps", "4000", *CHUNKED, *CONSTANT]
    arguments += ["--out", str(run)]
    assert main(arguments) == 0
    return run


@pytest.fixture
def copy(finished, tmp_path):
    run = tmp_path / "copy"
    subprocess.run(["cp", "-r", finished, run], check=True)
    return run


def test_more_steps_train_further(copy, tmp_path):
    before = faults.newest(copy)
    assert main(["train", "--resume", str(copy), "--steps", "6000", *CHUNKED[2:]]) == 0
    assert faults.newest(copy) > before
    longer = tmp_path / "longer"
    arguments = ["train", *TINY, "--steps", "6000", *CHUNKED, *CONSTANT]
    arguments += ["--out", str(longer)]
    assert main(arguments) == 0
    assert faults.differences(longer, copy) == []
    record = json.loads((copy / "config.json").read_text())
    assert record["settings"]["steps"] == 6000
    assert len(record["resumed"]) == 1


def test_steps_shrink_on_from_where_they_were(tmp_path):
    run = tmp_path / "run"
    arguments = ["train", *TINY, "--steps", "3000", *CHUNKED, "--out", str(run)]
    assert main(arguments) == 0
    config = json.loads((run / "config.json").read_text())["settings"]
    assert config["anneal_learning_rate"]  # as the preset has it
    names = "metrics.csv", "params.npz"
    before = [(run / name).read_bytes() for name in names]
    for name in ("params.npz", "summary.json"):
        (run / name).unlink()
    last = run / "batches" / "000" / "checkpoints" / str(faults.newest(run))
    subprocess.run(["rm", "-r", last, run / "batches" / "000" / "rows.json"])
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert [(run / name).read_bytes() for name in names] == before


def resume(run, *arguments, capsys):
    code = main(["train", "--resume", str(run), *arguments])
    return code, capsys.readouterr().err


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(copy, capsys):
    last = faults.newest(copy)
    (copy / "summary.json").unlink()
    batch = copy / "batches" / "000"
    (batch / "rows.json").unlink()
    for file in (batch / "checkpoints" / str(last)).glob("**/d/*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    before = (copy / "metrics.csv").read_bytes()
    code, errors = resume(copy, capsys=capsys)
    assert code == 0
    assert f"checkpoints/{last} is damaged" in errors
    assert (batch / "checkpoints" / f"damaged-{last}").is_dir()
    assert faults.newest(copy) == last  # it was made again
    assert (copy / "metrics.csv").read_bytes() == before


def test_numbers_that_go_wrong_stop_the_run_and_are_named(tmp_path, capsys):
    run = tmp_path / "run"
    rate = ["--learning-rate", "1e30", "--max-gradient-norm", "none"]
    arguments = ["train", "a2c", *TINY, *rate, "--preset", "general", *CHUNKED[:4]]
    code = main([*arguments, "--steps", "4000", "--out", str(run)])
    assert code == 1
    told = capsys.readouterr().err
    summary = json.loads((run / "summary.json").read_text())
    metrics = pd.read_csv(run / "metrics.csv")
    for row in summary["agents"]:
        update, quantity = row["diverged"]["update"], row["diverged"]["quantity"]
        assert f"seed {row['seed']} diverged: at update {update} its {quantity}" in told
        agent = metrics[metrics.seed == row["seed"]]
        assert agent["update"].max() == update - 1 if update > 1 else agent.empty
        assert row["greedy_return"]["mean"] is None
    for x in np.load(run / "params.npz").values():
        assert np.isfinite(x).all()  # those before


def test_in_a_sweep_only_the_agent_that_diverged_is_frozen(tmp_path):
    out = tmp_path / "sweep"
    arguments = ["sweep", "a2c", *TINY, "--num-steps", "16", *CHUNKED]
    rates = ["--learning-rate", "0.001", "1e30", "--preset", "general"]
    assert main([*arguments, *rates, "--steps", "1280", "--out", str(out)]) == 0
    rows = json.loads((out / "summary.json").read_text())["agents"]
    assert [row["diverged"] is None for row in rows] == [True] * 2 + [False] * 2
    assert {row["env_steps"] for row in rows[:2]} == {1280}
    assert all(row["greedy_return"]["mean"] is not None for row in rows[:2])
    metrics = pd.read_csv(out / "metrics.csv")
    assert set(metrics[metrics.learning_rate == 0.001].groupby("seed").size()) == {
        1280 // (4 * 16)
    }
