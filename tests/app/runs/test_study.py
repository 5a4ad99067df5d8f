"""Studies at a small size: several algorithms on several environments."""

import contextlib
import io
import json
import os
import shutil
import signal

import pandas as pd
import pytest

import pgjax as pg
from experiments.faults import differences
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import host_loop, session, start_and_resume, study
from pgjax.app.settings.cells import make_asked
from pgjax.app.settings.execution import Execution

ENVS = ["CartPole-v1", "Pendulum-v1"]
SETTINGS = {"num_envs": 2, "num_steps": 8, "steps": 32, "hidden": (4,)}
SETTINGS |= {"eval_episodes": 2, "preset": "general"}
SMALL = ["--num-envs", "2", "--num-steps", "8", "--steps", "32", "--hidden", "4"]
SMALL += ["--eval-episodes", "2", "--preset", "general"]
WHOLE = ["sweep", "ppo", "a2c", "--env", *ENVS, *SMALL, "--seeds", "2"]
WHOLE += ["--clip", "0.1", "0.3", "--log-std", "-0.5"]
NAMES = [f"{algorithm}-{env}" for env in ENVS for algorithm in ("ppo", "a2c")]
PAIR = ["sweep", "a2c", "--env", *ENVS, *SMALL, "--seeds", "1"]


def printed(arguments):
    """What a command prints, at 80 columns."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(arguments) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study, and what was printed at its end."""
    out = tmp_path_factory.mktemp("studies") / "whole"
    return out, printed([*WHOLE, "--out", str(out)])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A study of two runs, that nobody stopped."""
    out = tmp_path_factory.mktemp("studies") / "pair"
    assert main([*PAIR, "--quiet", "--out", str(out)]) == 0
    return out


def settings_of(directory):
    record = json.loads((directory / "config.json").read_text())
    return record["settings"], record["grid"]


def test_each_pair_is_a_run_with_the_settings_it_takes(whole):
    out, _ = whole
    assert {path.name for path in out.iterdir()} == {"study.json", *NAMES}
    asked = json.loads((out / "study.json").read_text())
    assert (asked["algorithm"], asked["env"]) == (["ppo", "a2c"], ENVS)
    for name in NAMES:
        settings, grid = settings_of(out / name)
        assert grid == ({"clip": [0.1, 0.3]} if name.startswith("ppo") else {})
        # It would do nothing where actions are discrete.
        assert settings["log_std"] == (-0.5 if "Pendulum" in name else 0.0)
        assert len(pd.read_csv(out / name / "metrics.csv")) > 0


def test_a_run_of_a_study_is_the_run_made_alone(whole, tmp_path):
    out, alone = whole[0], tmp_path / "alone"
    arguments = ["sweep", "ppo", "--env", "Pendulum-v1", *SMALL, "--seeds", "2"]
    arguments += ["--clip", "0.1", "0.3", "--log-std", "-0.5", "--quiet"]
    assert main([*arguments, "--out", str(alone)]) == 0
    assert differences(out / "ppo-Pendulum-v1", alone) == []
    assert settings_of(out / "ppo-Pendulum-v1") == settings_of(alone)


def test_one_table_is_printed_at_the_end(whole):
    out, told = whole
    table = told[: told.index("Brackets")]
    assert max(map(len, table.splitlines())) <= 80
    assert table.count("CartPole-v1") == 3  # rows: ppo with two clips, and a2c
    assert table.count("Pendulum-v1") == 3
    assert "no random and reference score of Pendulum-v1 is known" in told
    assert f"next: pgjax report {out}" in told


def test_a_cell_has_its_own_preset_unless_a_setting_is_given(monkeypatch, tmp_path):
    plans = []

    def begin(plan, execution, *, out, part):
        plans.append(plan)
        return None, 130

    monkeypatch.setattr(start_and_resume, "begin", begin)
    envs = ["CartPole-v1", "Acrobot-v1"]
    for settings, expected in (({}, [150_000, 400_000]), ({"steps": 64}, [64, 64])):
        plans.clear()
        for i, env in enumerate(envs):  # the first of a study
            asked = make_asked(
                ["ppo"], [env, *envs[:i], *envs[i + 1 :]], "default", settings
            )
            out = tmp_path / f"{env}{len(settings)}"
            study.start(asked, Execution(quiet=True), out=str(out))
        configs = [plan.groups[0].config for plan in plans]
        assert [config.steps for config in configs] == expected
        assert [config.preset for config in configs] == envs
        assert [config.solved_return for config in configs] == [475.0, -100.0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["ppo", "a2c", "--env", "CartPole-v1", "Foo-v1"],
            "ppo on Foo-v1: unknown env",
        ),
        (["ppo", "ppo"], "--algorithm has ppo twice: give it once"),
        (["ppo", "--env", *ENVS, ENVS[0]], "--env has CartPole-v1 twice"),
        (["ppo", "dqn", "--env", *ENVS], "unknown algorithm 'dqn'"),
        (["ppo", "a2c", "--preset", "article"], "unknown preset 'article' of ppo"),
        (
            ["ppo", "a2c", "--env", ENVS[0], "Acrobot-v1", "--log-std", "1"],
            "--log-std would do nothing: CartPole-v1 has discrete actions",
        ),
        (["a2c", "ppo", "--lam", "2"], "a2c on CartPole-v1: --lam must be in"),
        (
            ["a2c", "ppo", "--damping", "2"],
            "a2c and ppo have no option --damping, which",
        ),
    ],
)
def test_bad_names_and_settings_are_told_before_any_work(
    arguments, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(SystemExit):
        assert main(["sweep", *arguments]) == 2
    out, errors = capsys.readouterr()
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert not out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ppo", "a2c"], "`pgjax sweep` takes several algorithms"),
        (["ppo", "--env", *ENVS], "`pgjax sweep` takes several environments"),
    ],
)
def test_train_takes_one(arguments, says, capsys):
    with pytest.raises(SystemExit):
        main(["train", *arguments])
    assert says in capsys.readouterr().err


def sent(number, function, call):
    """A function that is sent a signal at one of its calls."""
    calls = []

    def act(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    return act


@pytest.mark.parametrize(
    ("number", "where", "name", "call"),
    [
        (signal.SIGINT, session, "compile_programs", 1),
        (signal.SIGINT, session, "print_line", 1),  # the first run is complete
        (signal.SIGTERM, session, "compile_programs", 2),
        (signal.SIGHUP, host_loop, "evaluate_agents", 2),
        (signal.SIGTERM, study, "begin_again", 2),  # between runs
    ],
)
def test_a_study_that_is_stopped_goes_on(
    number, where, name, call, pair, tmp_path, monkeypatch, capfd
):
    out = tmp_path / "my study"
    with monkeypatch.context() as patch:
        patch.setattr(where, name, sent(number, getattr(where, name), call))
        assert main([*PAIR, "--out", str(out)]) == 128 + number
    told = capfd.readouterr().err
    assert f"to go on:\n    pgjax train --resume '{out}'\n" in told
    assert not (out / "a2c-Pendulum-v1" / "summary.json").exists()
    assert main(["compare", str(out)]) == 2
    assert "has not finished: " in capfd.readouterr().err
    assert main(["sweep", "--resume", str(out)]) == 0
    assert "Pendulum-v1" in capfd.readouterr().out
    for each in ("a2c-CartPole-v1", "a2c-Pendulum-v1"):
        assert differences(pair / each, out / each) == []


def test_what_a_kill_leaves_goes_on(pair, tmp_path, capsys):
    """A directory that was just made, and a run that is gone."""
    for killed in ("made", "gone"):
        out = tmp_path / killed
        shutil.copytree(pair, out)
        shutil.rmtree(out / "a2c-Pendulum-v1")
        if killed == "made":
            (out / "a2c-Pendulum-v1").mkdir()
            (out / "a2c-Pendulum-v1" / "config.json.partial").touch()
        assert main(["train", "--resume", str(out), "--quiet"]) == 0
        assert differences(pair / "a2c-Pendulum-v1", out / "a2c-Pendulum-v1") == []
    (tmp_path / "gone" / "a2c-Pendulum-v1" / "config.json").unlink()
    assert main(["train", "--resume", str(tmp_path / "gone")]) == 2
    assert "is in the way: it has no config.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_gets_more(pair, tmp_path, monkeypatch, capsys):
    """Seeds, environments and algorithms; also where that is stopped on its way."""
    whole, out = tmp_path / "whole", tmp_path / "more"
    more = ["a2c", "trpo", "--env", *ENVS, "Acrobot-v1", "--seeds", "2", "--quiet"]
    assert main(["sweep", *SMALL, *more, "--out", str(whole)]) == 0
    shutil.copytree(pair, out)
    with monkeypatch.context() as patch:
        patch.setattr(session, "print_line", None)
        compiles = sent(signal.SIGTERM, session.compile_programs, 3)
        patch.setattr(session, "compile_programs", compiles)
        assert main(["sweep", "--resume", str(out), *more]) == 143
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert len(names) == 7
    for name in set(names) - {"study.json"}:
        rows = json.loads((out / name / "summary.json").read_text())["agents"]
        assert [row["seed"] for row in rows] == [0, 1]
        if name.startswith("trpo"):  # a2c's first seeds were trained alone
            assert differences(whole / name, out / name) == []


def test_a_preset_of_ones_own_is_read_once(tmp_path, monkeypatch):
    """What it said then is what a study goes on with, wherever that is started."""
    monkeypatch.chdir(tmp_path)
    own, out = tmp_path / "mine.toml", tmp_path / "out"
    own.write_text(
        "[a2c]\nnum-envs = 2\nnum_steps = 8\nsteps = 32\nhidden = [4]\n"
        "eval_episodes = 2\n[ppo]\nhidden = [3]\n"
    )
    command = ["sweep", "a2c", "--env", *ENVS, "--preset", own.name, "--seeds", "1"]
    with monkeypatch.context() as patch:
        begins = sent(signal.SIGTERM, study.begin_again, 2)
        patch.setattr(study, "begin_again", begins)
        assert main([*command, "--quiet", "--out", "out"]) == 143
    own.write_text("[a2c]\nhidden = [8]\n")
    made = []

    def begin(plan, execution, **_):
        made.append(plan.groups[0].config)
        return out, 130

    monkeypatch.setattr(start_and_resume, "begin", begin)
    for change in (lambda: None, own.unlink, lambda: monkeypatch.chdir("/")):
        change()
        assert main(["train", "--resume", str(out), "--quiet"]) == 130
        command = ["sweep", "--config", str(out / "study.json"), "--quiet"]
        assert main([*command, "--out", str(tmp_path / f"again{len(made)}")]) == 130
    assert [config.hidden for config in made] == [(4,)] * 6
    # Of the study, the first run had finished; of the one made again, none.
    assert [config.env for config in made] == ["Pendulum-v1", "CartPole-v1"] * 3
    more = ["a2c", "ppo", "--preset", own.name, "--quiet"]
    assert main(["sweep", "--resume", str(out), *more]) == 130


def test_a_study_in_which_all_diverged_says_so_also_when_it_went_on(
    pair, tmp_path, capsys
):
    """Its exit code and its table are of what each run came to."""
    out = tmp_path / "out"
    shutil.copytree(pair, out)
    for name in ("a2c-CartPole-v1", "a2c-Pendulum-v1"):
        summary = out / name / "summary.json"
        content = json.loads(summary.read_text())
        for row in content["agents"]:
            row["diverged"] = {"update": 2, "quantity": "loss"}
            row["env_steps"] = 16  # of a budget of 32
            row["greedy_return"]["mean"] = None
        del content["sha256"], content["files"]
        summary.write_text(json.dumps(content))
    asked = study.load_asked(out / "study.json")
    planned = study._planned(asked, Execution(quiet=True))
    assert study._carry_out(out, asked, planned, Execution()) == 1
    assert "env steps at most 16" in capsys.readouterr().out
    assert study._carry_out(pair, asked, planned, Execution(quiet=True)) == 0


def test_a_directory_of_a_study_that_is_there_is_told(pair, tmp_path, capsys):
    """How it goes on, if it is unfinished; of one that is damaged, that it is there."""
    out = tmp_path / "my study"
    shutil.copytree(pair, out)
    command = [*PAIR, "--quiet", "--out", str(out)]
    there = f"{out} exists already; pass another --out"
    assert main(command) == 2
    assert there in capsys.readouterr().err
    (out / "a2c-Pendulum-v1" / "summary.json").unlink()
    assert main(command) == 2
    told = f"{out} is unfinished: `pgjax train --resume '{out}'`"
    assert told in capsys.readouterr().err
    (out / "study.json").write_text("{}")
    assert main(command) == 2
    assert there in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"agents_at_once": 0}, ": agents_at_once must be at least 1, got 0"),
        ({"settings": {"env": "Acrobot-v1"}}, "settings has env, too"),
        ({"settings": {"gamma": 2.0}}, ": a2c on CartPole-v1: gamma must be in"),
        ({"settings": {"xyz": 2.0}}, ": no option xyz of a2c"),
        ({"env": []}, "env has no names"),
        ({"env": [""]}, ": env has an empty name, ''"),
        ({"preset": "mine.toml"}, "it lacks what mine.toml said"),
        ({"preset_tables": {"a2c": 3}}, ": a2c must be a table of settings"),
        ({"preset_tables": {"a2c": {"env": []}}}, ": env must be str, got []"),
        ({"preset_tables": 3}, "preset_tables is not an object"),
    ],
)
def test_a_damaged_record_is_told_with_its_name(change, says, pair, tmp_path, capsys):
    path = tmp_path / "study.json"
    content = json.loads((pair / "study.json").read_text())
    path.write_text(json.dumps(content | change))
    for command in (["train", "--resume", str(tmp_path)], ["sweep", "--config", path]):
        assert main([*map(str, command), "--quiet"]) == 2
        told = capsys.readouterr().err
        assert f"{path}" in told
        assert says in told
        assert len(told.splitlines()) == 1


def test_what_cannot_be_more_is_told(pair, capsys):
    before = (pair / "study.json").read_bytes()
    for given, says in (
        ([], "is complete: there is nothing to resume"),
        (["--gamma", "0.5"], "a2c-CartPole-v1 has other settings: --gamma 0.5"),
        (["--env", "Acrobot-v1"], "to add, CartPole-v1 Pendulum-v1 too"),
        (["--env", *ENVS, "Foo-v1"], "a2c on Foo-v1: unknown environment"),
    ):
        assert main(["sweep", "--resume", str(pair), *given]) == 2
        assert says in capsys.readouterr().err
    assert (pair / "study.json").read_bytes() == before
    with study.run_record.locked(pair):
        assert main(["train", "--resume", str(pair)]) == 2
    assert "is being written by another process" in capsys.readouterr().err


def test_a_study_is_compared_evaluated_and_reported(whole, tmp_path, capsys):
    out = str(whole[0])
    one = ["--where", "env=CartPole-v1"]
    told = printed(["compare", out, *one, "--format", "csv"])
    assert "ppo-CartPole-v1" in told
    assert "Pendulum" not in told
    told = printed(["compare", out, *one, "--where", "algorithm=a2c"])
    assert "1 agents" not in told
    scales = tmp_path / "scales.toml"
    scales.write_text('["Pendulum-v1"]\nrandom = -1200.0\nreference = -150.0')
    told = printed(["compare", out, "--normalize", str(scales)])
    assert "optimality" in told
    assert "pgjax train --config" in told  # the best, on other seeds
    assert f"{out}/a2c-Pendulum-v1/config.json" in told or "ppo-Pendulum-v1" in told
    told = printed(["evaluate", out, "--episodes", "2", "--format", "csv"])
    table = pd.read_csv(io.StringIO(told))
    assert table.groupby(["algorithm", "env"]).size().to_dict() == {
        ("a2c", "CartPole-v1"): 2,
        ("a2c", "Pendulum-v1"): 2,
        ("ppo", "CartPole-v1"): 4,
        ("ppo", "Pendulum-v1"): 4,
    }
    where = ["--where", "env=Pendulum-v1", "clip=0.3"]
    told = printed(["evaluate", out, "--episodes", "2", "--format", "csv", *where])
    table = pd.read_csv(io.StringIO(told))
    assert table.algorithm.tolist() == ["ppo", "ppo"]
    assert main(["evaluate", out, "--where", "env=Foo-v1"]) == 2
    assert "--where env=Foo-v1: no run of" in capsys.readouterr().err
    page = tmp_path / "report.html"
    arguments = ["report", out, "--normalize", str(scales), "--out", str(page)]
    assert main(arguments) == 0
    assert "ppo-Pendulum-v1" in page.read_text()


@pytest.mark.parametrize("command", ["render", "export"])
def test_one_run_is_asked_for_where_one_is_played(command, pair, capsys):
    assert main([command, str(pair)]) == 2
    told = capsys.readouterr().err
    assert "is a study: name one of its runs, a2c-CartPole-v1, a2c-Pendulum-v1" in told


def test_a_file_and_python_say_the_same(pair, tmp_path):
    toml = tmp_path / "study.toml"
    toml.write_text(
        'algorithm = ["a2c"]\nenv = ["CartPole-v1", "Pendulum-v1"]\nseeds = 1\n'
        'num_envs = 2\nnum_steps = 8\nsteps = 32\nhidden = [4]\npreset = "general"\n'
        "eval_episodes = 2\n"
    )
    options = {"seeds": 1, "quiet": True, **SETTINGS}
    for i, given in enumerate(
        [
            {"config": toml, "quiet": True},
            {"config": pair / "study.json", "quiet": True},
            {"algorithm": ["a2c"], "env": ENVS, **options},
        ]
    ):
        found = pg.app.train(out=tmp_path / str(i), **given)
        assert isinstance(found, pg.app.Study)
        assert list(found.runs) == [("a2c", env) for env in ENVS]
        assert [row["env"] for row in found.summary["agents"]] == ENVS
        for name in ("a2c-CartPole-v1", "a2c-Pendulum-v1"):
            assert differences(pair / name, found.directory / name) == []
    with pytest.raises(UsageError, match=r"clips .*of a2c"):
        pg.app.train(["a2c"], clips=2)
    record = pair / "a2c-CartPole-v1" / "config.json"
    with pytest.raises(UsageError, match="is of one run: leave out"):
        pg.app.train(config=record, env=ENVS)
