"""Runs with a grid, at a small size: the same agents, whatever happens to them."""

import json
import os
import pathlib
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
from experiments.faults import differences
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.play.evaluate_run import choose, load

SIZES = ["--num-envs", "2", "--hidden", "4", "--eval-episodes", "2"]
STEPS = ["--steps", "400", "--updates-per-chunk", "2"]
GRID = ["--learning-rate", "0.01", "0.1", "--baseline", "none", "leave_one_out"]
CONSTANT = ["--anneal-learning-rate", "no"]
SWEEP = ["sweep", "reinforce", *SIZES, *STEPS, *GRID, *CONSTANT]
SWEEP += ["--seeds", "3", "--seed", "5"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "whole"
    command = [*SWEEP, "--agents-at-once", "3", "--out", str(out), "--quiet"]
    with quick_compilation.fused():  # as in what is compared with it
        assert main(command) == 0
    return out


def summary_of(sweep):
    summary = json.loads((sweep / "summary.json").read_text())
    apart = "seconds_to_solve"
    return [{k: x for k, x in row.items() if k != apart} for row in summary["agents"]]


def test_the_store_is_tidy(finished):
    assert {path.name for path in finished.iterdir()} == {
        "batches",
        "config.json",
        "metrics.csv",
        "params.npz",
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
    with np.load(finished / "params.npz") as arrays:  # two groups, of one baseline each
        assert {name[0] for name in arrays} == {"0", "1"}
        assert {len(x) for x in arrays.values()} == {6}


@pytest.mark.parametrize("agent", [(5, "none", 0.1), (7, "leave_one_out", 0.01)])
def test_an_agent_of_a_sweep_is_that_agent_trained_alone(finished, agent, tmp_path):
    seed, baseline, rate = agent
    one = ["--seeds", "1", "--seed", str(seed), "--baseline", baseline]
    one += ["--learning-rate", str(rate), "--out", str(tmp_path / "run"), "--quiet"]
    one += ["--no-anneal-learning-rate"]
    assert main(["train", "reinforce", *SIZES, *STEPS, *one]) == 0
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


@pytest.mark.same_bits
def test_a_sweep_killed_half_way_is_resumed_to_the_same_numbers(
    finished, tmp_path, capsys
):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "pgjax", *SWEEP, "--agents-at-once", "3"]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--quiet"], stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 200
    while (
        not (out / "batches" / "001" / "rows.json").exists() and time.time() < deadline
    ):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.parent.name for path in out.glob("batches/*/rows.json")}
    assert done >= {"000", "001"}
    assert not (out / "summary.json").exists()
    assert len(done) < 4
    assert main(["sweep", "--resume", str(out), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    ours, theirs = ((x / "metrics.csv").read_text() for x in (out, finished))
    assert ours == theirs
    assert summary_of(out) == summary_of(finished)


def test_what_cannot_be_resumed_is_told(finished, tmp_path, capsys):
    assert main(["sweep", "--resume", str(finished)]) == 2
    assert "is complete" in capsys.readouterr().err
    assert main(["sweep", "--resume", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_agents_of_a_grid_are_evaluated_and_exported(finished, tmp_path, capsys):
    assert main(["evaluate", str(finished), "--episodes", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("leave_one_out") == 6
    export = ["export", str(finished), "--out", str(tmp_path / "policy.jax")]
    assert main([*export, "--agent", "6"]) == 2
    told = capsys.readouterr().err
    assert "4 agents of seed 6: say which, such as --where learning_rate=0.01" in told
    where = ["--where", "learning_rate=0.1", "baseline=none"]
    assert main([*export, "--agent", "6", *where]) == 0
    assert main([*export, "--where", "gamma=0.9"]) == 2
    assert "its grid has learning_rate, baseline" in capsys.readouterr().err
    assert main([*export, "--where", "learning_rate=7"]) == 2
    told = capsys.readouterr().err
    assert "has learning_rate=7; there are learning_rate: 0.01, 0.1" in told
    group, seed, params = choose(
        load(finished), 6, {"learning_rate": 0.1, "baseline": "none"}
    )
    assert (seed, group.config.algorithm_options["baseline"]) == (6, "none")
    with np.load(finished / "params.npz") as arrays:
        kept = [x[4] for name, x in arrays.items() if name.startswith("0/")]
    for one, other in zip(jax.tree.leaves(params), kept, strict=True):
        np.testing.assert_array_equal(one, other)


# A run, what it is extended with, and what it is then; all by `pgjax sweep`. Where they
# can, they have the programs of other tests here.
RATES, RATE = ["--learning-rate", "0.01", "0.1"], ["--learning-rate", "0.01"]
MORE_RATES = ["--learning-rate", "0.03", "0.01", "0.1"]
LONG = "all, one after the other"
EXTENSIONS = {
    "one more seed": (
        [*RATE, "--seeds", "3"],
        [["--seeds", "4"]],
        [*RATE, "--seeds", "4"],
    ),
    "an axis": (
        [*RATE, "--seeds", "3"],
        [["--baseline", "none", "leave_one_out"]],
        [*RATE, "--seeds", "3", "--baseline", "none", "leave_one_out"],
    ),
    "steps, from less than a chunk": (
        [*RATE, "--seeds", "3", "--steps", "8", "--updates-per-chunk", "1000"],
        [["--steps", "900"]],
        [*RATE, "--seeds", "3", "--steps", "900", "--updates-per-chunk", "1000"],
    ),
    LONG: (
        [*RATES, "--seeds", "3"],
        [["--seeds", "4"], ["--steps", "900"], MORE_RATES, ["--hidden", "4", "5,5"]],
        [*MORE_RATES, "--seeds", "4", "--steps", "900", "--hidden", "4", "5,5"],
    ),
}


@pytest.mark.same_bits
@pytest.mark.parametrize("case", [slow(x) if x == LONG else x for x in EXTENSIONS])
def test_a_run_that_is_extended_is_the_run_made_at_once(case, tmp_path, capsys):
    before, extensions, at_once = EXTENSIONS[case]
    command = ["sweep", "reinforce", *SIZES, *STEPS, "--log-every", "3", "--quiet"]
    command += CONSTANT
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert main([*command, *before, "--out", str(ours)]) == 0
    for more in extensions:
        assert main(["sweep", "--resume", str(ours), *more, "--quiet"]) == 0
    assert main([*command, *at_once, "--out", str(theirs)]) == 0
    assert capsys.readouterr().err == ""
    assert differences(theirs, ours) == []
    assert summary_of(ours) == summary_of(theirs)
    ours, theirs = (json.loads((x / "config.json").read_text()) for x in (ours, theirs))
    assert ours["settings"] == theirs["settings"]
    assert ours["grid"] == theirs["grid"]


def test_where_an_extended_run_has_other_numbers_is_told(tmp_path, capsys):
    run = str(tmp_path / "run")
    constant = ["--no-anneal-learning-rate", "--quiet", "--seeds", "1"]
    arguments = ["train", "reinforce", *SIZES, *STEPS, *constant]
    assert main([*arguments, "--out", run]) == 0
    assert main(["train", "--resume", run, "--seeds", "3", "--quiet"]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert "agents are kept as they were trained, alone" in told


@pytest.mark.same_bits
@pytest.mark.parametrize(
    ("rule", "others"), [("budget", ["1000"]), slow("solved", ["7"])]
)
def test_the_length_of_a_chunk_changes_nothing(rule, others, tmp_path):
    """Each agent ends with the update that reaches its budget, or solves the task."""
    command = ["train", "reinforce", *SIZES, "--seeds", "3", "--quiet"]
    if rule == "solved":
        command += ["--steps", "40000", "--solved-return", "20", "--until-solved"]
    else:
        command += ["--steps", "400", "--no-anneal-learning-rate"]
    runs = {length: tmp_path / length for length in ("1", *others)}
    for length, run in runs.items():
        chunks = ["--updates-per-chunk", length, "--out", str(run)]
        assert main([*command, *chunks]) == 0
    for other in others:
        assert differences(runs["1"], runs[other]) == []
        assert summary_of(runs["1"]) == summary_of(runs[other])
    agents = pd.read_csv(runs["1"] / "metrics.csv").groupby("seed").env_steps
    if rule == "budget":
        assert (agents.nth(-1) >= 400).all()
        assert (agents.nth(-2) < 400).all()
    else:
        assert agents.last().nunique() > 1
        assert (agents.last() < 40000).all()


@pytest.mark.same_bits
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "trpo"])
def test_one_more_agent_trains_as_if_it_had_been_there(algorithm, tmp_path):
    """By itself it would be on one device, whose program rounds otherwise."""
    command = ["train", algorithm, *SIZES, "--num-steps", "8", "--steps", "480"]
    command += ["--preset", "general", "--no-anneal-learning-rate", "--quiet"]
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    assert main([*command, "--seeds", "3", "--out", ours]) == 0
    assert main(["train", "--resume", ours, "--seeds", "4", "--quiet"]) == 0
    assert main([*command, "--seeds", "4", "--out", theirs]) == 0
    assert differences(tmp_path / "theirs", tmp_path / "ours") == []


@pytest.mark.same_bits
@pytest.mark.parametrize(
    ("more", "number", "batch", "chunks"),
    [
        (["--steps", "20000"], signal.SIGKILL, "000", 10),
        slow(["--seeds", "40", "--steps", "40000"], signal.SIGKILL, "001", 2),
        slow(["--steps", "40000"], signal.SIGTERM, "000", 30),
    ],
)
def test_an_extension_that_is_stopped_goes_on(
    more, number, batch, chunks, tmp_path, capsys
):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    command = ["train", *SIZES, *STEPS, "--no-anneal-learning-rate", "--quiet"]
    assert main([*command, "--seeds", "3", "--out", str(ours)]) == 0
    extend = [*("train", "--resume", str(ours)), *more, "--checkpoint-every", "0"]
    process = subprocess.Popen([sys.executable, "-m", "pgjax", *extend, "--quiet"])
    deadline = time.time() + 200
    checkpoints = ours / "batches" / batch / "checkpoints"
    reached = 0
    while reached < chunks and time.time() < deadline:
        time.sleep(0.01)
        names = [x.name for x in checkpoints.glob("*") if x.name.isdigit()]
        reached = max(map(int, names), default=0)
    process.send_signal(number)
    process.wait()
    assert not (ours / "summary.json").exists()
    assert main(["train", "--resume", str(ours), "--quiet"]) == 0
    assert capsys.readouterr().err == ""  # nothing was set aside
    assert main([*command, "--seeds", "3", *more, "--out", str(theirs)]) == 0
    assert differences(theirs, ours) == []
    assert summary_of(ours) == summary_of(theirs)


def extended(run, **given):
    return pg.app.train(resume=run, quiet=True, **given)


@pytest.fixture
def small(small_runs, tmp_path):
    """A run of two seeds that is complete."""
    return shutil.copytree(small_runs / "run", tmp_path / "run")


def test_what_an_extension_cannot_be_is_told_before_anything_is_touched(
    small, tmp_path
):
    before = {x: x.read_bytes() for x in small.rglob("*") if x.is_file()}
    for given, says in (
        ({"num_steps": [32, 64]}, "num_steps would do nothing"),
        ({"seeds": True}, "seeds must be int, got True"),
        ({"steps": "500"}, "steps must be int, got '500'"),
        ({"foo": 3}, "no option foo of reinforce"),
        ({"env_arg": {"a": {1, 2}}}, "env_arg"),
        ({"agents_at_once": 2.5}, "agents_at_once must be an integer, got 2.5"),
    ):
        with pytest.raises(UsageError, match=says):
            extended(small, **given)
    assert {x: x.read_bytes() for x in small.rglob("*") if x.is_file()} == before


def test_a_batch_without_a_whole_checkpoint_keeps_a_complete_run_as_it_is(small):
    for path in small.glob("batches/*/checkpoints/*/_CHECKPOINT_METADATA"):
        path.write_text("{}")
    with pytest.raises(UsageError, match="has nothing whole to go on from; nothing"):
        extended(small, steps=900)
    assert (small / "summary.json").exists()
    run = extended(small, seeds=3)  # for which none is needed
    assert len(run.summary["agents"]) == 3


def test_batches_stay_as_large_as_was_allowed(tmp_path):
    out, settings = tmp_path / "run", {"hidden": (4,), "num_envs": 2, "steps": 60}
    settings |= {"eval_episodes": 2, "quiet": True, "anneal_learning_rate": False}
    pg.app.train(out=out, seeds=3, agents_at_once=2, **settings)
    extended(out, seeds=6)
    record = json.loads((out / "config.json").read_text())
    assert record["batches"] == ["0:2", "2:3", "3:5", "5:6"]
    extended(out, seeds=9, agents_at_once=3)
    record = json.loads((out / "config.json").read_text())
    assert record["batches"][4:] == ["6:9"]
    assert record["agents_at_once"] == 3


def test_a_run_that_gets_a_grid_has_nothing_left_of_before(small_runs, tmp_path):
    out = tmp_path / "run"
    settings = {"num_envs": 2, "steps": 60, "eval_episodes": 2, "quiet": True}
    settings |= {"log": "tensorboard", "seeds": 2, "anneal_learning_rate": False}
    pg.app.train(out=out, hidden=(4,), **settings)
    assert (out / "learning_curve.png").exists()
    extended(out, hidden=[(4,), (5,)])
    assert not (out / "learning_curve.png").exists()
    assert sorted(x.name for x in (out / "tensorboard").iterdir()) == [
        f"hidden={width},seed={seed}" for width in (4, 5) for seed in (0, 1)
    ]


def test_an_agent_that_diverged_has_the_rows_of_one_that_was_made_at_once(tmp_path):
    settings = {"learning_rate": 3e38, "log_every": 5, "updates_per_chunk": 1}
    settings |= {"num_steps": 8, "num_envs": 2, "seeds": 3, "eval_episodes": 2}
    settings |= {"preset": "general", "hidden": (4,), "quiet": True}
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    pg.app.train("a2c", out=ours, steps=16, **settings)
    extended(ours, steps=320)
    run = pg.app.train("a2c", out=theirs, steps=320, **settings)
    assert all(row["diverged"] for row in run.summary["agents"])
    assert differences(theirs, ours) == []


def test_what_a_version_before_wrote_is_read_and_not_resumed(tmp_path, capsys):
    results = pathlib.Path(__file__).parents[3] / "experiments" / "results"
    run = shutil.copytree(results / "cartpole", tmp_path / "run")
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0
    assert main(["compare", str(run)]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    assert "config.json is of a version before 0.2.0" in capsys.readouterr().err


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
