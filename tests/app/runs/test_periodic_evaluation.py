"""Runs that are evaluated while they train: no bit of training changes, the best stays.

Their sizes are tiny, so that episodes are short and their returns differ.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest
import quick_compilation
from turns import slow

import pgjax as pg
from experiments.faults import differences, newest
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import periodic_evaluation
from pgjax.app.runs.compiled_programs import WHILE_TRAINING
from pgjax.app.runs.signals import Terminated

SIZES = ["--num-envs", "2", "--hidden", "4", "--eval-episodes", "3", "--quiet"]
CONSTANT = ["--no-anneal-learning-rate", "--updates-per-chunk", "2"]
CASES = {
    "reinforce": ["train", "reinforce", *SIZES, *CONSTANT, "--steps", "900"],
    "ppo": [
        *["train", "ppo", *SIZES, *CONSTANT, "--steps", "300", "--num-steps", "8"],
        *["--preset", "general", "--learning-rate", "0.05"],
    ],
}
EVERY = ["--eval-every", "70"]
SAME = "params.npz", "metrics.csv"


def run_of(case, out, *more, seeds=3):
    assert main([*CASES[case], "--seeds", str(seeds), *more, "--out", str(out)]) == 0
    return out


def rows_of(run):
    summary = json.loads((run / "summary.json").read_text())
    apart = "seconds_to_solve"
    return [{k: x for k, x in row.items() if k != apart} for row in summary["agents"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of each case, one with evaluations and one without."""
    folder = tmp_path_factory.mktemp("evaluated")
    with quick_compilation.fused():  # as in what is compared with them
        for case in CASES:
            run_of(case, folder / case, *EVERY)
            run_of(case, folder / f"{case} without")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_no_bit_of_training_changes(case, runs):
    for name in SAME:
        with_, without = (runs / x / name for x in (case, f"{case} without"))
        assert with_.read_bytes() == without.read_bytes()
    assert not (runs / f"{case} without" / "evaluations.csv").exists()
    assert not (runs / f"{case} without" / "params_best.npz").exists()
    rows = rows_of(runs / case)
    for row in rows:
        for name in ("best_evaluation", "best_greedy_return", "best_sampled_return"):
            del row[name]
        del row["steps_to_threshold"]
    assert rows == rows_of(runs / f"{case} without")


@pytest.mark.parametrize("case", CASES)
def test_agents_are_evaluated_where_they_pass_a_multiple_and_at_their_end(case, runs):
    table = pd.read_csv(runs / case / "evaluations.csv")
    metrics = pd.read_csv(runs / case / "metrics.csv")
    assert list(table.columns) == [
        *["seed", "update", "env_steps", "mean_return", "std_return", "min_return"],
        *["max_return", "mean_length", "num_episodes", "num_truncated"],
    ]
    assert (table.num_episodes == 3).all()
    for seed, agent in metrics.groupby("seed"):
        passed = agent.env_steps // 70 > agent.env_steps.shift(fill_value=0) // 70
        expected = agent[passed | (agent["update"] == agent["update"].max())]
        found = table[table.seed == seed]
        assert found["update"].tolist() == expected["update"].tolist()
        assert found.env_steps.tolist() == expected.env_steps.tolist()


@pytest.mark.same_bits
@pytest.mark.parametrize("case", ["reinforce", slow("ppo")])
def test_when_does_not_depend_on_chunks(case, runs, tmp_path):
    other = run_of(case, tmp_path / "other", *EVERY, "--updates-per-chunk", "20")
    assert differences(runs / case, other) == []
    assert rows_of(runs / case) == rows_of(other)


@pytest.mark.same_bits
def test_the_best_are_the_parameters_of_the_best_evaluation(runs):
    run = runs / "ppo"
    table = pd.read_csv(run / "evaluations.csv")
    (group,) = pg.app.train_command.Run(run).best
    last = pg.app.train_command.Run(run).trained[0].params
    differing = 0
    for i, row in enumerate(rows_of(run)):
        own = table[table.seed == row["seed"]]
        best = own.loc[own.mean_return.idxmax()]  # the first of equal ones
        assert row["best_evaluation"]["env_steps"] == best.env_steps
        key = jax.random.fold_in(jax.random.key(row["seed"]), WHILE_TRAINING)
        key = jax.random.fold_in(key, int(best["update"]))
        params = jax.tree.map(lambda x, i=i: x[i], group.params)
        returns, _ = pg.evaluate(
            *(key, group.experiment.env, group.experiment.algorithm.policy, params),
            num_episodes=3,
        )
        np.testing.assert_allclose(np.mean(returns), best.mean_return, rtol=1e-6)
        then, now = (jax.tree.leaves(x)[0][i] for x in (group.params, last))
        differing += not np.array_equal(then, now)
    assert differing  # or this test could not fail


def test_the_best_and_the_last_are_evaluated_and_exported(runs, tmp_path, capsys):
    run = str(runs / "ppo")
    told = {}
    for which in ("last", "best"):
        assert main(["evaluate", run, "--episodes", "5", "--which", which]) == 0
        told[which] = capsys.readouterr().out
        out = str(tmp_path / f"{which}.jax")
        assert main(["export", run, "--which", which, "--out", out]) == 0
        capsys.readouterr()
    assert "best policies" in told["best"]
    assert told["best"].splitlines()[3:] != told["last"].splitlines()[3:]
    files = [(tmp_path / f"{x}.jax").read_bytes() for x in ("last", "best")]
    assert files[0] != files[1]
    assert main(["evaluate", f"{run} without", "--which", "best"]) == 2
    assert (
        "has not kept the best: train it with --eval-every" in capsys.readouterr().err
    )


@pytest.mark.same_bits
def test_a_run_that_is_killed_has_the_same_evaluations_and_best(runs, tmp_path):
    out = tmp_path / "killed"
    every = ["--checkpoint-every", "0"]
    command = [*CASES["reinforce"], *EVERY, "--seeds", "3", *every, "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "pgjax", *command])
    deadline = time.time() + 200
    while newest(out) < 4 and time.time() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "summary.json").exists()
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    assert differences(runs / "reinforce", out) == []
    assert rows_of(out) == rows_of(runs / "reinforce")


@pytest.mark.same_bits
@pytest.mark.parametrize("which", [1, slow(3), "the last"])
def test_an_evaluation_that_a_signal_interrupts_is_made_again(
    which, runs, tmp_path, monkeypatch, capfd
):
    out, calls = tmp_path / "run", []
    number = len(set(pd.read_csv(runs / "ppo" / "evaluations.csv")["update"]))
    first = {"the last": number}.get(which, which)

    def interrupted(play, received):
        calls.append(play)
        if len(calls) != first:
            return play()
        received.append(signal.SIGTERM)
        raise Terminated(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(periodic_evaluation, "unless_stopped", interrupted)
        code = main([*CASES["ppo"], *EVERY, "--seeds", "3", "--out", str(out)])
    assert code == 128 + signal.SIGTERM
    assert (out / "params_best.npz").exists()
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    assert differences(runs / "ppo", out) == []
    assert rows_of(out) == rows_of(runs / "ppo")


@pytest.mark.same_bits
@pytest.mark.slow
def test_a_run_that_is_given_more_is_the_run_made_at_once(tmp_path, capsys):
    command = ["sweep", "reinforce", *SIZES, *CONSTANT[1:], *EVERY]
    command += ["--anneal-learning-rate", "no"]
    rates = ["--learning-rate", "0.01", "0.1"]
    more = ["--learning-rate", "0.03", "0.01", "0.1"]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    before = [*rates, "--steps", "300", "--seeds", "2", "--out", str(ours)]
    assert main([*command, *before]) == 0
    for extension in (["--seeds", "3"], ["--steps", "750"], more):
        assert main(["sweep", "--resume", str(ours), *extension, "--quiet"]) == 0
    at_once = [*more, "--steps", "750", "--seeds", "3", "--out", str(theirs)]
    assert main([*command, *at_once]) == 0
    assert capsys.readouterr().err == ""
    assert differences(theirs, ours) == []
    assert rows_of(ours) == rows_of(theirs)
    table = pd.read_csv(ours / "evaluations.csv")
    assert table.columns[:2].tolist() == ["learning_rate", "seed"]
    assert len(table.groupby(["learning_rate", "seed"])) == 9


def test_more_than_the_steps_is_one_evaluation_at_the_end(tmp_path, capsys):
    out = tmp_path / "run"
    command = [x for x in CASES["ppo"] if x != "--quiet"]
    assert (
        main([*command, "--seeds", "2", "--eval-every", "9e9", "--out", str(out)]) == 0
    )
    table = pd.read_csv(out / "evaluations.csv")
    assert table.env_steps.tolist() == [304, 304]
    with np.load(out / "params.npz") as last, np.load(out / "params_best.npz") as best:
        assert all(np.array_equal(last[name], best[name]) for name in last)
    told = capsys.readouterr()
    assert "once, at the end (--eval-every 9000000000 is not below" in told.err
    assert "> 304" in told.out
    assert max(map(len, told.out.splitlines()[:-7])) <= 80


def test_an_agent_that_diverges_before_it_is_evaluated_has_no_best(tmp_path, capsys):
    out = tmp_path / "run"
    command = [x for x in CASES["ppo"] if x != "--quiet"]
    wild = ["--learning-rate", "3e38", *EVERY, "--out", str(out)]
    assert main([*command, "--seeds", "2", *wild]) == 1
    assert "diverged" in capsys.readouterr().out
    for row in rows_of(out):
        assert row["best_evaluation"] is None
        assert row["best_greedy_return"]["mean"] is None
        assert row["steps_to_threshold"] == {"after": 0, "by": None}
    with np.load(out / "params.npz") as last, np.load(out / "params_best.npz") as best:
        assert all(np.array_equal(last[name], best[name]) for name in last)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0, "eval.every must be at least 1, got 0"),
        (-5, "eval.every must be at least 1, got -5"),
        (2.5, "eval.every must be int or none, got 2.5"),
        (float("nan"), "eval.every must be int or none, got nan"),
        ("often", "eval.every must be int or none, got 'often'"),
        (True, "eval.every must be int or none, got True"),
        ([10, 20], r"eval.every has one value in a run, got \[10, 20\]"),
    ],
)
def test_how_often_must_be_a_number_of_steps(value, says, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UsageError, match=says):
        pg.app.train("ppo", eval_every=value, out=out, quiet=True)
    assert not out.exists()


def test_a_run_is_not_evaluated_otherwise_when_it_goes_on(runs, tmp_path):
    run = shutil.copytree(runs / "ppo", tmp_path / "run")
    with pytest.raises(UsageError, match=r"eval_every=50 \(the run: 70\)"):
        pg.app.train(resume=run, eval_every=50, steps=900)


def test_a_run_that_was_recorded_before_there_was_the_setting_goes_on(
    small_runs, tmp_path
):
    run = shutil.copytree(small_runs / "run", tmp_path / "run")
    record = json.loads((run / "config.json").read_text())
    del record["settings"]["eval_every"]
    (run / "config.json").write_text(json.dumps(record))
    pg.app.train(resume=run, seeds=3, quiet=True)
    record = json.loads((run / "config.json").read_text())
    assert record["settings"]["eval_every"] is None
