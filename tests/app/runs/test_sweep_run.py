"""Sweeps, run for real at a small size: the same agents, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from pgjax.app.cli import main

SIZES = ["--num-envs", "2", "--hidden", "4", "--eval-episodes", "2"]
STEPS = ["--steps", "400", "--updates-per-chunk", "2"]
GRID = ["--learning-rate", "0.01", "0.1", "--baseline", "none", "leave_one_out"]
SWEEP = ["sweep", "reinforce", *SIZES, *STEPS, *GRID, "--seeds", "3", "--seed", "5"]


def pgjax(*arguments):
    """The command in a process of its own, with the devices that it takes."""
    command = [sys.executable, "-m", "pgjax", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "whole"
    process = pgjax(*SWEEP, "--agents-at-once", "4", "--out", str(out), "--quiet")
    assert (process.returncode, process.stderr, process.stdout) == (0, "", "")
    return out


def summary_of(sweep):
    summary = json.loads((sweep / "summary.json").read_text())
    keep = ("seed", "baseline", "learning_rate", "env_steps", "greedy_return")
    return [{name: row[name] for name in keep} for row in summary["agents"]]


def test_the_store_is_tidy(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.json",
        "metrics.csv",
        "params",
        "summary.json",
    }
    metrics = pd.read_csv(finished / "metrics.csv")
    agents = metrics.groupby(["baseline", "learning_rate", "seed"])
    assert len(agents) == 12
    for _, agent in agents:
        assert list(agent["update"]) == list(range(1, len(agent) + 1))
        assert agent.env_steps.is_monotonic_increasing
        assert agent.env_steps.iloc[-1] >= 400
    rows = summary_of(finished)
    assert len(rows) == 12
    last = agents.env_steps.max()
    for row in rows:
        key = row["baseline"], row["learning_rate"], row["seed"]
        assert last[key] == row["env_steps"]


def test_parameters_are_kept_for_every_agent(finished):
    count = 0
    for path in sorted((finished / "params").iterdir()):
        with np.load(path) as arrays:
            (size,) = {len(x) for x in arrays.values()}
        count += size
    assert count == 12


@pytest.mark.parametrize("agent", [(5, "none", 0.1), (7, "leave_one_out", 0.01)])
def test_an_agent_of_a_sweep_is_that_agent_trained_alone(finished, agent, tmp_path):
    seed, baseline, rate = agent
    one = ["--seeds", "1", "--seed", str(seed), "--baseline", baseline]
    one += ["--learning-rate", str(rate), "--out", str(tmp_path / "run"), "--quiet"]
    assert pgjax("train", "reinforce", *SIZES, *STEPS, *one).returncode == 0
    alone = pd.read_csv(tmp_path / "run" / "metrics.csv")
    metrics = pd.read_csv(finished / "metrics.csv")
    among = metrics[
        (metrics.seed == seed)
        & (metrics.baseline == baseline)
        & (metrics.learning_rate == rate)
    ]
    assert (among.env_steps.values == alone.env_steps.values).all()
    for column in ("episode_return", "policy_loss", "gradient_norm", "entropy"):
        # A dozen updates' worth of float32 rounding.
        np.testing.assert_allclose(among[column], alone[column], rtol=2e-3, atol=1e-5)


def test_a_sweep_killed_half_way_is_resumed_to_the_same_numbers(finished, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "pgjax", *SWEEP, "--agents-at-once", "4"]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--quiet"], stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 200
    while not (out / "parts" / "001" / "rows.json").exists() and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.parent.name for path in out.glob("parts/*/rows.json")}
    assert done >= {"000", "001"}
    assert not (out / "summary.json").exists()
    assert len(done) < 4
    resumed = pgjax("sweep", "--resume", str(out), "--quiet")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    ours, theirs = ((x / "metrics.csv").read_text() for x in (out, finished))
    assert ours == theirs
    assert summary_of(out) == summary_of(finished)


def test_what_cannot_be_resumed_is_told(finished, tmp_path, capsys):
    assert main(["sweep", "--resume", str(finished)]) == 2
    assert "is complete" in capsys.readouterr().err
    assert main(["sweep", "--resume", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    assert main(["evaluate", str(finished)]) == 2
    assert "is a sweep" in capsys.readouterr().err


def test_settings_that_changed_are_not_mixed(finished, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    record = json.loads((finished / "config.json").read_text())
    record["groups"][0]["gamma"] = 0.5
    (other / "config.json").write_text(json.dumps(record))
    assert main(["sweep", "--resume", str(other)]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--agents-at-once", "0"], "--agents-at-once must be at least 1, got 0"),
        (["--gamma", "0.9", "2"], "--gamma must be in [0, 1], got 2.0"),
        (["--normalize-advantage", "maybe"], "invalid yes or no value: 'maybe'"),
        (["--hidden", "8,x"], "invalid int,... value: '8,x'"),
        (["--seeds", "3", "4"], "unrecognized arguments: 4"),
        (["--clip", "0.1"], "reinforce has no option --clip, which ppo has"),
    ],
)
def test_bad_input_is_one_line(arguments, says, tmp_path, capsys):
    out = tmp_path / "sweep"
    try:
        code = main(["sweep", "reinforce", *arguments, "--out", str(out)])
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
