"""Training from Python, and from a file: the same bits as by the command."""

import json
import os
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from experiments.faults import differences
from pgjax.app.cli import main
from pgjax.app.command_line import read
from pgjax.app.errors import UsageError
from pgjax.app.runs import start_and_resume as runs
from pgjax.app.settings.config_file import read_config
from pgjax.app.settings.request import split
from pgjax.app.training_words import Named

TINY = {"seeds": 2, "num_envs": 4, "steps": 200, "eval_episodes": 2}
GRID = {"learning_rate": [0.01, 0.1], "hidden": [(4,), (5, 5)]}
COMMAND = ["sweep", "reinforce", "--seeds", "2", "--num-envs", "4", "--steps", "200"]
COMMAND += ["--eval-episodes", "2", "--learning-rate", "0.01", "0.1"]
COMMAND += ["--hidden", "4", "5,5", "--quiet"]
TOML = """
algorithm = "reinforce"
seeds = 2
num-envs = 4  # as the flag is written
steps = 2e2
eval_episodes = 2
learning_rate = [0.01, 0.1]
hidden = [[4], [5, 5]]
max_gradient_norm = "none"
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "run"
    assert main([*COMMAND, "--out", str(out)]) == 0
    return out


@pytest.mark.same_bits
def test_python_gives_the_same_bits(swept, tmp_path):
    """In a process that has not used JAX before."""
    out = tmp_path / "run"
    code = "import pgjax as pg\n"
    code += f"run = pg.app.train(out={str(out)!r}, quiet=True, **{TINY | GRID!r})\n"
    code += "print(len(run.summary['agents']), len(run.trained), run.metrics.name)\n"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
    )
    assert (process.stdout, process.stderr) == ("8 2 metrics.csv\n", "")
    assert differences(swept, out) == []


def test_a_run_goes_on_from_python(tmp_path):
    out = str(tmp_path / "run")
    run = pg.app.train(out=out, quiet=True, hidden=(4,), **TINY)
    assert [row["seed"] for row in run.summary["agents"]] == [0, 1]
    assert run.trained[0].config.hidden == (4,)
    again = pg.app.train(resume=out, seeds=3, quiet=True)
    assert [row["seed"] for row in again.summary["agents"]] == [0, 1, 2]
    with pytest.raises(UsageError, match="is complete: there is nothing to resume"):
        pg.app.train(resume=out, quiet=True)
    with pytest.raises(UsageError, match=r"algorithm ppo \(the run: reinforce\)"):
        pg.app.train("ppo", resume=out)
    with pytest.raises(UsageError, match="was started, without config"):
        pg.app.train(resume=out, config="a.toml")


def test_what_was_stopped_is_an_interrupt_in_python(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "start", lambda *_, **__: (tmp_path / "run", 130))
    with pytest.raises(KeyboardInterrupt, match=r"pgjax.app.train\(resume='"):
        pg.app.train(**TINY)


@pytest.mark.same_bits
def test_a_file_says_what_flags_do(swept, tmp_path):
    file, out = tmp_path / "run.toml", tmp_path / "run"
    file.write_text(TOML)
    assert main(["train", "--config", str(file), "--quiet", "--out", str(out)]) == 0
    assert differences(swept, out) == []


@pytest.mark.same_bits
def test_the_record_of_a_run_makes_it_again(swept, tmp_path):
    out, record = tmp_path / "run", str(swept / "config.json")
    assert main(["train", "--config", record, "--quiet", "--out", str(out)]) == 0
    assert differences(swept, out) == []
    ours, theirs = (json.loads((x / "config.json").read_text()) for x in (out, swept))
    for name in ("algorithm", "preset", "settings", "grid", "log"):
        assert ours[name] == theirs[name]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What a run is started with, in place of a run."""
    seen = {}

    def start(algorithm, preset, given, execution, *, recorded, **own):
        names = {"algorithm": algorithm, "preset": preset, "log": execution.log}
        seen.update(names | dict(recorded) | dict(given) | own)
        return tmp_path, 0

    monkeypatch.setattr(runs, "start", start)
    return seen


def test_flags_come_before_the_file(asked, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(f'{TOML}\npreset = "general"\nlog = ["parquet"]')
    assert main(["train", "--config", str(file), "--seeds", "7", "--gamma", "0.5"]) == 0
    assert (asked["seeds"], asked["gamma"], asked["num_envs"]) == (7, 0.5, 4)
    assert (asked["preset"], asked["log"]) == ("general", ["parquet"])
    assert main(["train", "--config", str(file), "--log", "none"]) == 0
    assert asked["log"] == ["none"]


def test_a_record_of_before_is_such_a_file(asked):
    record = "experiments/results/cartpole/config.json"
    assert main(["train", "--config", record, "--seeds", "3"]) == 0
    assert (asked["algorithm"], asked["seeds"]) == ("reinforce", 3)
    assert asked["learning_rate"] == 0.025
    assert asked["solved_return"] == 475.0


def test_what_is_of_one_environment_is_not_taken_to_another(asked):
    record = "experiments/results/cartpole/config.json"
    assert main(["train", "--config", record, "--env", "Acrobot-v1"]) == 0
    assert (asked["preset"], asked["env"]) == ("general", "Acrobot-v1")
    assert "solved_return" not in asked  # but its own


def test_what_is_said_in_python_comes_before_the_file(asked, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "ppo"\nlog = "parquet"\npreset = "general"')
    pg.app.train("reinforce", config=file, log=(), preset="default")
    found = asked["algorithm"], asked["log"], asked["preset"]
    assert found == ("reinforce", (), "default")


def test_numbers_of_numpy_and_jax_are_numbers(asked, tmp_path):
    pg.app.train(
        seeds=np.int64(3),
        gamma=jnp.float32(0.5),
        learning_rate=np.array([0.1, 0.2]),
        num_envs=range(4, 6),
        hidden=(np.int32(8), 8),
        env_arg={"a": np.int64(3)},
        out=tmp_path / "run",
    )
    assert type(asked["seeds"]) is int
    assert (asked["gamma"], asked["learning_rate"]) == (0.5, [0.1, 0.2])
    assert (asked["num_envs"], asked["hidden"]) == ([4, 5], (8, 8))
    assert asked["env_arg"] == {"a": 3}
    assert asked["out"] == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"devices": "2"}, "devices must be an integer, got '2'"),
        ({"devices": 1.5}, "devices must be an integer, got 1.5"),
        ({"agents_at_once": "2"}, "agents_at_once must be an integer, got '2'"),
        ({"checkpoint_every": "a"}, "checkpoint_every must be int or float, got 'a'"),
        ({"log": "paper"}, "log must be one of none, parquet, .*, got 'paper'"),
        ({"log": 3}, "log must be tuple or list, got 3"),
        ({"out": 5}, "out must be str, got 5"),
        ({"quiet": "yes"}, "quiet must be bool, got 'yes'"),
        ({"preset": ["a"]}, "preset must be str"),
        ({"algorithm": 3}, "algorithm must be str or list or tuple, got 3"),
        ({"env_arg": {3: 4}}, "env_arg takes names and plain values, got 3"),
        ({"env_arg": {"a": {1, 2}}}, "env_arg takes names and plain"),
        ({"hidden": {4}}, "hidden must be ints"),
        ({"seeds": True}, "seeds must be int, got True"),
    ],
)
def test_what_python_cannot_ask_for_is_told(given, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        pg.app.train(**{"out": tmp_path / "run"} | given)
    assert not (tmp_path / "run").exists()


def test_help_has_the_defaults_of_the_file(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "ppo"\nenv = "Pendulum-v1"')
    with pytest.raises(SystemExit):
        main(["train", "--config", str(file), "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "the algorithm, ppo" in told
    assert "discount, in [0, 1] (default: 0.9)" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("gamma =", "run.toml is damaged: it is not TOML"),
        (b"\xff", "run.toml is damaged: it is not TOML"),
        ("gama = 0.5", "run.toml: no option gama of reinforce: perhaps gamma is meant"),
        ("gamma = 2.0", "run.toml: gamma must be in [0, 1], got 2.0"),
        ("gamma = '0.5'", "run.toml: gamma must be float, got '0.5'"),
        ("steps = [1, 2]", "run.toml: steps has one value in a run"),
        ("hidden = [4, [5], 4]", "run.toml: hidden has 4 twice: give it once"),
        ("env = ['CartPole-v1', 3]", "env must be a name, got ['CartPole-v1', 3]"),
        ("env_arg = {a = 2020-01-01}", "run.toml: env_arg takes names and plain"),
        ("devices = 2", "run.toml: --devices is a flag, and no setting of a file"),
        ("agents-at-once = 0", "run.toml: agents_at_once must be at least 1"),
        ("num_envs = 4\nnum-envs = 5", "run.toml has num_envs twice"),
        ("[ppo]\ngamma = 0.5", "run.toml has a table [ppo]: settings stand by"),
        ("algoritm = 'ppo'", "perhaps algorithm is meant"),
        ("lr = 0.1", "no option lr of reinforce: perhaps learning_rate is meant"),
        ("algorithm = 'best'", "unknown algorithm 'best'"),
        ("algorithm = 3", "algorithm must be a name, got 3"),
        ("preset = 'best'", "unknown preset 'best' of reinforce"),
        ("log = 3", "log must be names of loggers, got 3"),
        ("log = ['paper']", "run.toml: log must be one of none, parquet"),
        ("num_steps = 8", "run.toml: num_steps would do nothing"),
    ],
)
def test_a_file_that_cannot_be_is_told(content, says, tmp_path, capsys):
    file, out = tmp_path / "run.toml", tmp_path / "run"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["train", "--config", str(file), "--out", str(out)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert says in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("none.toml", "none.toml is missing"), ("run.yaml", "takes a .toml file or a")],
)
def test_a_file_that_is_none_is_told(name, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        read_config(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "algorithm", "rest"),
    [
        ([], "reinforce", []),
        (["ppo", "--lam", "0.5"], "ppo", ["--lam", "0.5"]),
        (["--hidden", "8", "8", "a2c"], "a2c", ["--hidden", "8", "8"]),
        (["--out", "ppo"], "reinforce", ["--out", "ppo"]),
        (["--out", "ppo", "ppo"], "ppo", ["--out", "ppo"]),
        (["ppo", "--preset", "ppo"], "ppo", ["--preset", "ppo"]),
    ],
)
def test_the_algorithm_is_found_wherever_it_stands(words, algorithm, rest):
    named = Named.of(words)
    assert (named.algorithms, named.rest) == ([algorithm], rest)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--sneeds", "3"], "--sneeds 3; perhaps --seeds is meant"),
        (["train", "ppo", "--clips", "3"], "perhaps --clip is meant"),
        (["train", "--learn", "1"], "--learn 1; perhaps --learning-rate is meant"),
        (["bench", "--qick"], "perhaps --quick is meant"),
        (["train", "--lr", "0.1"], "perhaps --learning-rate is meant"),
        (["train", "ppo", "--gae-lambda", "1"], "perhaps --lam is meant"),
        (["train", "--gae-lambda", "1"], "it is --lam, which a2c, ppo and trpo have"),
        (["train", "ppo", "--ent-coef", "1"], "perhaps --entropy-coefficient is meant"),
        (["train", "--total-timesteps", "1e6"], "perhaps --steps is meant"),
        (["sweep", "--n-envs", "4", "8"], "perhaps --num-envs is meant"),
        (["train", "--net-arch", "64"], "perhaps --hidden is meant"),
        (["train", "--clip-range", "0.1"], "it is --clip, which ppo has"),
        (
            ["train", "--hidden", "32", "32"],
            "one value here: layers are written as",
        ),
        (["train", "ppo", "--gae_lambda", "0.1"], "perhaps --lam is meant"),
        (["sweep", "ppo", "--seeds", "2", "4"], "4; --seeds has one value here"),
        (["train", "--gamma", "0.1", "0.2"], "0.2; --gamma has one value here"),
        (["evaluate", "run", "--episode", "3"], "perhaps --episodes is meant"),
        (["export", "run", "--xyzzy"], "unrecognized arguments: --xyzzy (see"),
        (["render"], "the following arguments are required: run"),
        (["evaluate", "run", "more"], "unrecognized arguments: more (see"),
        (["envs", "brax", "more"], "unrecognized arguments: more (see"),
        (["compare"], "the following arguments are required: RUN"),
        (["evaluate", "run", "--backend", "atari"], "invalid choice: 'atari'"),
    ],
)
def test_what_was_meant_is_told(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        read(words)
    assert stop.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert says in told


@pytest.mark.parametrize("words", [["--no-stages", "--quick"], ["--stages"], ["ppo"]])
def test_switches_are_named_by_their_function(words):
    _, given = read(["bench", *words])
    expected = {"--no-stages": {"stages": False, "quick": True}}
    expected |= {"--stages": {"stages": True}, "ppo": {"algorithms": ["ppo"]}}
    assert {k: x for k, x in given.items() if x != []} == expected[words[0]]


def test_widths_and_switches_are_written_alike_in_both_commands():
    _, given = read(["train", "--hidden", "32,16", "--no-shared-torso"])
    assert given == {"hidden": (32, 16), "shared_torso": False}
    assert split("reinforce", given)[0]["hidden"] == (32, 16)
    _, given = read(["sweep", "--hidden", "32,16", "--no-shared-torso"])
    assert given == {"hidden": [(32, 16)], "shared_torso": False}
    _, given = read(["sweep", "--hidden", "32", "16,16"])
    assert split("reinforce", given)[1]["hidden"] == [(32,), (16, 16)]
    _, given = read(["sweep", "--shared-torso", "yes", "no"])
    assert given == {"shared_torso": [True, False]}


def test_time_is_that_of_all_processes_and_of_one_call(tmp_path):
    given = {"hidden": (4,), "quiet": True, **TINY}
    first = pg.app.train(out=tmp_path / "a", **given).summary["wall_seconds"]
    start = time.perf_counter()
    second = pg.app.train(out=tmp_path / "b", **given).summary["wall_seconds"]
    taken = time.perf_counter() - start
    assert 0.3 * taken < second <= taken
    start = time.perf_counter()
    both = pg.app.train(resume=tmp_path / "a", seeds=4, quiet=True)
    taken = time.perf_counter() - start
    assert first + 0.3 * taken < both.summary["wall_seconds"] <= first + taken
