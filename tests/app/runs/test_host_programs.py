"""`pgjax train` where the environments live on the host."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.export
import numpy as np
import pandas as pd
import pytest

from pgjax.app.cli import main
from pgjax.app.play import evaluate_run

SIZES = ["--num-envs", "2", "--hidden", "4", "--eval-episodes", "2"]
PPO = ["train", "ppo", "--env", "gymnasium:CartPole-v1", *SIZES, "--num-steps", "16"]
PPO += ["--time-limit", "12", "--no-anneal-learning-rate", "--preset", "general"]
TESTS = pathlib.Path(__file__).parents[2]


def run(*arguments, out):
    assert main([*PPO, *arguments, "--quiet", "--out", str(out)]) == 0
    return out


def params_of(directory):
    with np.load(directory / "params.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds, evaluated while they train."""
    out = tmp_path_factory.mktemp("host") / "run"
    return run("--seeds", "2", "--steps", "96", "--eval-every", "64", out=out)


def test_a_run_is_as_any_other(trained):
    metrics = pd.read_csv(trained / "metrics.csv")
    assert metrics.groupby("seed").env_steps.max().tolist() == [96, 96]
    assert metrics.episodes.max() >= 8  # of at most 12 steps
    assert metrics.recent_return.notna().all()
    summary = json.loads((trained / "summary.json").read_text())
    for row in summary["agents"]:
        assert row["env_steps"] == 96
        assert 8 <= row["greedy_return"]["mean"] <= 12
    evaluations = pd.read_csv(trained / "evaluations.csv")
    assert evaluations.env_steps.tolist() == [64, 96] * 2
    assert (evaluations.num_truncated <= 2).all()
    assert (trained / "params_best.npz").exists()


def test_a_seed_is_the_same_alone_and_twice(trained, tmp_path):
    together = params_of(trained)
    alone = params_of(run("--seed", "1", "--steps", "96", out=tmp_path / "alone"))
    for name, x in alone.items():
        np.testing.assert_array_equal(x[0], together[name][1])
    first, second = (next(iter(together.values()))[i] for i in range(2))
    assert not np.array_equal(first, second)


def test_a_grid_of_numbers_is_one_program(tmp_path):
    out = tmp_path / "sweep"
    grid = ["--learning-rate", "0.001", "0.1", "--seeds", "1", "--steps", "32"]
    assert main(["sweep", *PPO[1:], *grid, "--quiet", "--out", str(out)]) == 0
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics.learning_rate.unique().tolist() == [0.001, 0.1]
    weights = max(params_of(out).values(), key=np.size)
    assert not np.allclose(weights[0], weights[1])


def test_a_complete_run_takes_more_steps_and_begins_new_episodes(tmp_path):
    out = run("--seeds", "2", "--steps", "32", out=tmp_path / "run")
    before = params_of(out)
    assert main(["train", "--resume", str(out), "--steps", "96", "--quiet"]) == 0
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics.env_steps.tolist() == [32, 64, 96] * 2
    assert any((params_of(out)[k] != x).any() for k, x in before.items())


def stopped(arguments, out, size):
    """Runs the command until its table has so many bytes; the run's table then."""
    command = [sys.executable, "-m", "pgjax", "train", *arguments, "--quiet"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE)
    table = out / "batches" / "000" / "metrics.csv"
    end = time.monotonic() + 300
    while not (table.exists() and table.stat().st_size > size):
        assert started.poll() is None, started.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.2)
    os.kill(started.pid, signal.SIGINT)
    assert started.wait(timeout=120) == 128 + signal.SIGINT
    assert list((out / "batches" / "000" / "checkpoints").glob("*"))
    return pd.read_csv(out / "metrics.csv"), table.stat().st_size


def test_a_stopped_run_is_saved_and_goes_on(tmp_path):
    out = tmp_path / "run"
    begin = [*PPO[1:], "--seeds", "1", "--steps", "1e8", "--out", str(out)]
    first, size = stopped(begin, out, 500)
    before = params_of(out)
    second, _ = stopped(["--resume", str(out)], out, size + 500)
    assert len(second) > len(first) > 0
    steps = second.env_steps.tolist()
    assert steps == list(range(32, 32 * len(steps) + 1, 32))
    pd.testing.assert_frame_equal(second[: len(first)], first)
    assert any((params_of(out)[name] != x).any() for name, x in before.items())


def test_evaluate_render_and_export_of_such_a_run(trained, capsys):
    assert main(["evaluate", str(trained), "--episodes", "2", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["backend"], report["episodes"]) == ("trained", 2)
    assert [row["seed"] for row in report["agents"]] == [0, 1]
    for row in report["agents"]:
        for kind in ("greedy", "sampled"):  # a step is 1, the time limit 12
            assert 5 <= row[f"{kind}_min"] <= row[f"{kind}_mean"] <= 12
    assert main(["render", str(trained)]) == 0
    assert (trained / "policy.gif").stat().st_size > 1000
    assert main(["export", str(trained)]) == 0
    data = (trained / "policy-seed0.jax").read_bytes()
    exported = jax.export.deserialize(bytearray(data))
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    group, _, params = evaluate_run.choose(evaluate_run.load(trained), 0, {})
    expected = group.experiment.algorithm.policy(params, obs).mode()
    np.testing.assert_array_equal(exported.call(obs), expected)
    assert set(np.unique(expected)) <= {0, 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([*PPO, "--env-devices", "2"], "leave out --env-devices"),
        ([*PPO, "--devices", "2"], "leave out --devices"),
        ([*PPO, "--time-limit-terminates"], "where a time limit truncates"),
        (
            ["sweep", *PPO[1:], "--env-param", "sutton_barto_reward", "0", "1"],
            "needs a run of its own",
        ),
        ([*PPO, "--resets", "fresh"], "leave out --resets fresh"),
        (
            [*PPO, "--env-arg", "max_episode_steps=7"],
            "time_limit=12 and max_episode_steps=7, which are the same thing",
        ),
        (
            ["check-env", "gymnasium:Blackjack-v1"],
            "cannot make gymnasium:Blackjack-v1: it has no time limit of its own",
        ),
        (["check-env", "gymnasium:"], "cannot make gymnasium:: Malformed"),
        ([*PPO, "--env-arg", "gravty=3"], "unexpected keyword argument 'gravty'"),
        ([*PPO, "--env", "gymnasium:CartPol-v1"], "did you mean gymnasium:CartPole"),
        (
            ["check-env", "gymnasium:No-v0"],
            "pgjax: unknown environment 'gymnasium:No-v0'",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    arguments, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("pgjax: ")
    assert told in message


def test_the_real_gymnasium_is_where_it_was_trained(trained, capsys):
    assert main(["evaluate", str(trained), "--backend", "gymnasium"]) == 2
    assert "leave out --backend gymnasium" in capsys.readouterr().err


def test_an_environment_that_fails_is_one_line_that_names_it(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "frail.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Frail(CartPoleEnv):\n"
        "    steps = 0\n"
        "    def step(self, action):\n"
        "        Frail.steps += 1\n"
        "        if Frail.steps > 50:\n"
        "            raise OSError('the cable is out')\n"
        "        return super().step(action)\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = [*PPO, "--env", "frail:Frail", "--steps", "96", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 1
    *_, message = capsys.readouterr().err.splitlines()
    assert message == "pgjax: frail:Frail failed in step: OSError: the cable is out"
