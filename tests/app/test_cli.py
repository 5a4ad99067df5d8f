"""The command, run for real at a small size."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pgjax.app.cli import main
from pgjax.app.prepare_jax import prepare_jax
from pgjax.app.runs import start_and_resume as runs

SMALL = ["--seeds", "2", "--num-envs", "4", "--hidden", "8", "--eval-episodes", "5"]
FILES = {
    "batches",
    "config.json",
    "metrics.csv",
    "params.npz",
    "summary.json",
    "learning_curve.png",
}


def pgjax(*arguments, **options):
    command = [sys.executable, "-m", "pgjax.app.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, made the way a user makes one, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "small"
    process = pgjax("train", *SMALL, "--steps", 4000, "--seed", 3, "--out", run)
    assert process.returncode == 0, process.stderr
    return run, process


def test_train_leaves_the_documented_files(finished):
    run, _ = finished
    assert {path.name for path in run.iterdir()} == FILES


def test_train_prints_a_table_and_the_next_command(finished):
    run, process = finished
    assert "env steps to solve" in process.stdout
    assert f"pgjax evaluate {run}" in process.stdout


def test_progress_without_a_terminal_is_plain_lines_on_stderr(finished):
    _, process = finished
    lines = process.stderr.splitlines()
    assert any(line.startswith("compiled in ") for line in lines)
    assert lines[-1].startswith("100% · ")
    assert "steps/s" in lines[-1]
    assert "\x1b" not in process.stderr


def test_metrics_are_tidy_totals(finished):
    run, _ = finished
    metrics = pd.read_csv(run / "metrics.csv")
    assert set(metrics.seed) == {3, 4}
    for _, agent in metrics.groupby("seed"):
        assert list(agent["update"]) == list(range(1, len(agent) + 1))
        assert (agent.episodes == 4 * agent["update"]).all()
        # Each update adds the lengths of its 4 episodes.
        steps = agent.env_steps.diff().fillna(agent.env_steps.iloc[0])
        assert np.allclose(steps, 4 * agent.episode_length)
        assert agent.env_steps.iloc[-1] >= 4000


def test_summary_agrees_with_metrics(finished):
    run, _ = finished
    summary = json.loads((run / "summary.json").read_text())
    last = pd.read_csv(run / "metrics.csv").groupby("seed").env_steps.max()
    assert {row["seed"]: row["env_steps"] for row in summary["agents"]} == dict(last)
    assert not summary["wall_seconds"] < summary["train_seconds"]


def test_config_records_what_is_needed_to_reproduce(finished):
    run, _ = finished
    record = json.loads((run / "config.json").read_text())
    assert record["settings"]["seed"] == 3
    assert record["settings"]["baseline"] == "leave_one_out"
    assert record["versions"]["jax"]
    assert record["devices"]


def test_the_same_command_gives_the_same_run(finished, tmp_path):
    run, _ = finished
    again = tmp_path / "again"
    arguments = [*SMALL, "--steps", "4000", "--seed", "3", "--out", str(again)]
    process = pgjax("train", *arguments)
    assert process.returncode == 0
    assert (again / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_learning_curve_is_a_picture(finished):
    run, _ = finished
    with Image.open(run / "learning_curve.png") as image:
        assert min(image.size) > 400
        assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 10


@pytest.mark.parametrize(
    ("backend", "told"),
    [("trained", "where it was trained"), ("gymnasium", "in Gymnasium")],
)
def test_evaluate_plays_on_either_backend(finished, backend, told, capsys):
    run, _ = finished
    assert main(["evaluate", str(run), "--backend", backend, "--episodes", "3"]) == 0
    assert f"CartPole-v1, {told}, last policies" in capsys.readouterr().out


def test_render_writes_an_animation(finished, tmp_path):
    run, _ = finished
    path = tmp_path / "policy.gif"
    assert main(["render", str(run), "--agent", "4", "--out", str(path)]) == 0
    with Image.open(path) as image:
        assert image.is_animated


def test_quiet_prints_nothing(tmp_path, capfd):
    out = str(tmp_path / "run")
    assert main(["train", *SMALL, "--steps", "100", "--quiet", "--out", out]) == 0
    assert capfd.readouterr() == ("", "")


def test_interrupt_while_compiling_leaves_nothing_behind(tmp_path):
    run = tmp_path / "run"
    command = ["train", *SMALL, "--hidden", "9", "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pgjax.app.cli", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    assert process.stderr.readline().startswith("reinforce")  # compiling begins
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    told = "stopped before anything was trained; nothing was saved"
    assert errors == f"pgjax: {told}\n"
    assert not run.exists()


def test_stopping_when_solved_freezes_each_agent_at_its_own_update(tmp_path):
    out = tmp_path / "run"
    rule = ["--solved-return", "25", "--until-solved"]
    arguments = ["train", *SMALL, *rule, "--steps", "50000", "--out", str(out)]
    assert main([*arguments, "--quiet"]) == 0
    metrics = pd.read_csv(out / "metrics.csv")
    for row in json.loads((out / "summary.json").read_text())["agents"]:
        agent = metrics[metrics.seed == row["seed"]]
        solved = agent[(agent.recent_return > 25) & (agent.episodes >= 100)]
        assert len(solved) == 1  # the last row, and no row after it
        assert solved.env_steps.item() == row["steps_to_solve"] == row["env_steps"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--env", "CartPol-v1"], "did you mean CartPole-v1"),
        (["ppo", "--num-minibatches", "3"], "--num-minibatches must divide"),
        (["ppo", "--num-epochs", "0"], "--num-epochs must be at least 1, got 0"),
        (["ppo", "--clip", "0"], "--clip must be positive, got 0.0"),
        (["ppo", "--steps", "1e13"], "updates are counted up to 2**32 - 1"),
        (["trpo", "--shared-torso"], "--shared-torso does not go with trpo"),
        (["reinforce", "--shared-torso"], "--shared-torso needs a critic"),
        (["a2c", "--n-step", "64"], "--n-step 64 is more than --num-steps 16"),
        (["ppo", "--preset", "arm"], "choose from general, Acrobot-v1"),
        (["--env-arg", "joints"], "takes NAME=VALUE, got 'joints'"),
        (["--env-arg", "time_limit=5"], "cannot set time_limit, which has a flag"),
        (["--env-arg", "wings=2"], "cannot make CartPole-v1 with wings=2"),
        (
            ["ppo", "--env", "Reacher-misc", "--env-arg", "num_joints=0"],
            "cannot make Reacher-misc with num_joints=0",
        ),
        (["--gamma", "1.5"], "--gamma must be in [0, 1], got 1.5"),
        (["--gamma", "nan"], "--gamma must be in [0, 1], got nan"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--env-devices", "0"], "--env-devices must be at least 1, got 0"),
        (["--env-devices", "64"], "--env-devices 64 must divide the number of devices"),
        (
            ["a2c", "--no-anneal-learning-rate", "--steps", "1e12"],
            "--steps 1000000000000 makes 15625000000: take --steps 274877906880 at",
        ),
        (["ppo", "--log-std", "1"], "--log-std would do nothing: CartPole-v1 has"),
        (["--num-steps", "8"], "--num-steps would do nothing: reinforce plays"),
        (
            ["ppo", "--num-minibatches", "256"],
            "nothing would be learned: a single advantage, scaled to mean 0, is 0",
        ),
        (["--num-envs", "16777216"], "--num-envs 4200000 at most (now 16777216)"),
        (["--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["--steps", "-5"], "--steps must be at least 1, got -5"),
        (["--num-envs", "0"], "--num-envs must be at least 1, got 0"),
        (["--num-envs", "1"], "--num-envs must be at least 2 to leave one out"),
        (["--num-envs", "100000000"], "--num-envs must be at most"),
        (["--steps", "9" * 400], "invalid int value"),
        (["--steps", "1.5"], "invalid int value: '1.5'"),
        (["--solved-return", "nan"], "--solved-return must be finite, got nan"),
        (["--time-limit", "0"], "--time-limit must be at least 1, got 0"),
        (["--learning-rate", "0"], "--learning-rate must be"),
        (["--learning-rate", "inf"], "--learning-rate must be"),
        (["--learning-rate", "fast"], "invalid float value: 'fast'"),
        (["--hidden", "64,0"], "--hidden must be at least 1, got 0"),
        (["--entropy-coefficient", "-1"], "--entropy-coefficient must be 0 or more"),
        (["--baseline", "best"], "invalid choice: 'best'"),
        (["--reduction", "max"], "invalid choice: 'max'"),
        (["--preset", "book"], "unknown preset 'book'"),
        (["--sneeds", "3"], "unrecognized arguments: --sneeds"),
        (["reinforced"], "unknown algorithm 'reinforced'"),
        (["trpo", "--clip", "0.1"], "trpo has no option --clip, which ppo has"),
        (["--no-clip"], "reinforce has no option --no-clip, which ppo has"),
        (
            ["--env", "FourRooms-misc", "--until-solved"],
            "needs --solved-return: FourRooms-misc has no usual one",
        ),
    ],
)
def test_bad_training_input_is_one_line_and_code_2(arguments, says, tmp_path, capsys):
    run = tmp_path / "run"
    assert _exit_code(["train", *arguments, "--out", str(run)]) == 2
    out, errors = capsys.readouterr()
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert out == ""
    assert not run.exists()


def test_out_in_something_that_is_no_directory_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert _exit_code(["train", "--out", str(tmp_path / "file" / "run")]) == 2
    assert "is not a writable directory" in capsys.readouterr().err


def test_a_wrong_algorithm_is_told_before_help(capsys):
    assert _exit_code(["train", "ppoo", "--help"]) == 2
    assert "unknown algorithm 'ppoo'" in capsys.readouterr().err


def test_counts_may_be_written_with_an_exponent():
    from pgjax.app.argument_types import count

    assert [count(text) for text in ("12", "1e5", "300_000", "-3")] == [
        12,
        100_000,
        300_000,
        -3,
    ]


def test_existing_out_is_refused(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert _exit_code(["train", "--out", str(tmp_path)]) == 2
    assert "exists already; pass another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("command", ["evaluate", "render"])
def test_a_directory_that_is_no_run_is_refused(command, tmp_path, capsys):
    assert _exit_code([command, str(tmp_path)]) == 2
    assert "is not a run directory: it has no config.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "--episodes", "0"], "--episodes must be at least 1, got 0"),
        (["render", "--agent", "9"], "the run has no seed 9; it has 3 to 4"),
        (["render", "--out", "a.png"], "--out must end in .gif"),
        (["render", "--out", "no/such/a.gif"], "which is no directory"),
        (["render", "--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["evaluate", "--seed", str(10**20)], "--seed must be at most 2147483647"),
    ],
)
def test_bad_input_on_a_run(finished, arguments, says, capsys):
    run, _ = finished
    command, *rest = arguments
    assert _exit_code([command, str(run), *rest]) == 2
    assert says in capsys.readouterr().err


def test_a_run_is_safe_to_open_when_damaged(finished, tmp_path, capsys):
    run, _ = finished
    record = json.loads((run / "config.json").read_text())
    params = (run / "params.npz").read_bytes()

    def changed(**options):
        return json.dumps(record | {"settings": record["settings"] | options})

    damages = {
        "{": "is damaged",
        json.dumps(record | {"format": 99}): "has format 99",
        json.dumps(record | {"settings": {"hidden": [8]}}): "how many seeds",
        json.dumps(record | {"grid": {"gamma": []}}): "gamma is no list of values",
        changed(baseline="xyz"): "--baseline must be one of",
        changed(gamma="0.9"): "--gamma must be float, got '0.9'",
        changed(surprise=1): "no option --surprise",
    }
    for number, (text, says) in enumerate(damages.items()):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / "config.json").write_text(text)
        (copy / "params.npz").write_bytes(params)
        assert _exit_code(["evaluate", str(copy)]) == 2
        assert says in capsys.readouterr().err
    for number, data in enumerate([params[: len(params) // 2], b"", None]):
        copy = tmp_path / f"params-{number}"
        copy.mkdir()
        (copy / "config.json").write_text(json.dumps(record))
        if data is not None:
            (copy / "params.npz").write_bytes(data)
        assert _exit_code(["evaluate", str(copy)]) == 2
        assert "params.npz is " in capsys.readouterr().err


def test_help_teaches(capsys):
    assert _exit_code(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    # An option's help comes from the factory's own docstring.
    assert "discount, in [0, 1] (default: 0.99)" in " ".join(out.split())


def test_envs_lists_the_names(capsys):
    assert main(["envs"]) == 0
    assert "CartPole-v1" in capsys.readouterr().out.split()


def test_the_users_xla_flags_come_first():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        "JAX_PLATFORMS": "cpu",
    }
    code = (
        "import jax; from pgjax.app.cli import main; "
        "main(['envs']); print(jax.device_count())"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert process.stdout.split()[-1] == "3"


def _exit_code(arguments):
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    "arguments",
    [
        ["ppo", "--lam", "0.5", "--hidden", "8,8"],
        ["--lam", "0.5", "--hidden", "8,8", "ppo"],
        ["--hidden", "8,8", "--lam", "0.5", "ppo", "--env", "CartPole-v1"],
    ],
)
def test_the_algorithm_may_stand_anywhere(arguments, monkeypatch):
    seen = []
    monkeypatch.setattr(
        runs, "start", lambda *given, **__: seen.append(given) or (None, 0)
    )
    assert main(["train", *arguments]) == 0
    ((algorithm, _, given, _),) = seen
    assert (algorithm, given["hidden"], given["lam"]) == ("ppo", (8, 8), 0.5)


def test_no_arguments_are_told_what_is_missing(capsys):
    assert _exit_code([]) == 2
    assert "arguments are required: COMMAND" in capsys.readouterr().err


def test_the_package_is_a_command_too():
    process = subprocess.run(
        [sys.executable, "-m", "pgjax", "--version"], capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_a_fixed_horizon_stops_at_its_steps_and_not_at_the_chunk(tmp_path):
    out = tmp_path / "run"
    sizes = ["--num-envs", "2", "--num-steps", "8", "--updates-per-chunk", "5"]
    arguments = ["a2c", *SMALL, *sizes, "--steps", "100", "--out", str(out)]
    assert main(["train", *arguments, "--quiet"]) == 0
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics.groupby("seed").env_steps.max().tolist() == [112, 112]
    assert metrics.groupby("seed")["update"].max().tolist() == [7, 7]


LOOPS = "--xla_gpu_enable_command_buffer="


@pytest.mark.parametrize(
    ("version", "before", "expected"),
    [
        ((0, 10, 2), "", None),
        ((0, 11, 0), "", LOOPS + "+WHILE,+CONDITIONAL"),
        ((0, 12, 1), "--xla_dump_to=x", LOOPS + "+WHILE,+CONDITIONAL"),
        ((0, 11, 2), LOOPS, LOOPS),  # as the user has it
    ],
)
def test_gpus_run_whole_loops(monkeypatch, version, before, expected):
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr("jaxlib.version.__version_info__", version)
    prepare_jax()
    flags = os.environ["XLA_FLAGS"].split()
    assert [flag for flag in flags if flag.startswith(LOOPS)] == (
        [expected] if expected else []
    )
    assert set(before.split()) <= set(flags)
