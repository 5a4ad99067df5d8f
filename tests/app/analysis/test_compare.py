"""Runs side by side, on run directories made by hand."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pgjax.app.analysis import intervals
from pgjax.app.analysis.samples import load_samples
from pgjax.app.cli import main
from pgjax.app.runs.files import checksum

RNG = np.random.default_rng(0)


def write_run(directory, agents, *, grid=(), env="CartPole-v1", level=475.0, **config):
    """A run, or a sweep; agents are (settings, seed, greedy return, steps to solve)."""
    directory.mkdir()
    points = list(zip(*(point for point, *_ in agents), strict=True))
    record = {
        "format": 2,
        "algorithm": "ppo",
        "preset": "general",
        "settings": {"env": env, "seeds": len(agents), **config},
        "grid": {name: list(x) for name, x in zip(grid, points, strict=True)},
        "log": [],
        "batches": [],
        "agents_at_once": None,
    }
    (directory / "config.json").write_text(json.dumps(record))
    rows = [
        {"seed": seed, **dict(zip(grid, point, strict=True)), "env_steps": 1000}
        | {"greedy_return": {"mean": greedy}, "steps_to_solve": solved}
        for point, seed, greedy, solved in agents
    ]
    summary = {"solved_return": level, "agents": rows}
    (directory / "summary.json").write_text(json.dumps(summary))
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*grid, "seed", "env_steps", "recent_return"])
        for point, seed, greedy, _ in agents:
            for steps in (200, 600, 1000):
                returns = "" if steps == 200 else greedy * steps / 1000
                writer.writerow([*point, seed, steps, returns])
    return directory


@pytest.fixture
def slow_and_fast(tmp_path):
    slow = [((), s, 300.0 + s, None if s % 3 == 0 else 700 + s) for s in range(9)]
    fast = [((), s, 480.0 + s, 300 + 10 * s) for s in range(9)]
    return write_run(tmp_path / "slow", slow), write_run(tmp_path / "fast", fast)


def test_a_run_is_one_sample(slow_and_fast):
    (sample,) = load_samples(slow_and_fast[0])
    assert (sample.name, sample.env) == ("slow", "CartPole-v1")
    assert sample.seeds.tolist() == list(range(9))
    assert sample.greedy.tolist() == [300.0 + s for s in range(9)]
    assert np.isnan(sample.steps_to_solve).sum() == 3
    steps, returns = sample.curves[:2]
    assert (steps[0], steps[-1]) == (600, 1000)  # before, no episode had ended
    np.testing.assert_allclose(returns[:, -1], sample.greedy)
    np.testing.assert_allclose(returns[:, 0], 0.6 * sample.greedy)


def test_a_sweep_is_a_sample_per_combination_in_order_of_seeds(tmp_path):
    agents = [
        ((rate, baseline), seed, 10.0 * seed, None)
        for rate in (0.01, 0.1)
        for baseline in ("none", "value")
        for seed in (6, 5)
    ]
    grid = ("learning_rate", "baseline")
    samples = load_samples(write_run(tmp_path / "sweep", agents, grid=grid))
    assert [sample.name for sample in samples] == [
        "learning rate 0.01, baseline none",
        "learning rate 0.01, baseline value",
        "learning rate 0.1, baseline none",
        "learning rate 0.1, baseline value",
    ]
    for sample in samples:
        assert sample.seeds.tolist() == [5, 6]
        assert sample.greedy.tolist() == [50.0, 60.0]
        assert sample.curves.recent_return[:, -1].tolist() == [50.0, 60.0]


def test_compare_prints_what_the_statistics_say(slow_and_fast, capsys):
    assert main(["compare", *map(str, slow_and_fast)]) == 0
    out = capsys.readouterr().out
    assert "304.0" in out  # the IQM of 300 to 308
    assert "Lowest: the worst agent." in out
    assert "484.0" in out
    assert "1.00" in out  # every fast agent is better than every slow one
    assert "Best: fast (highest IQM 484.0)" in out


def test_figures_are_pictures(slow_and_fast, tmp_path, capsys):
    out = tmp_path / "figures"
    assert main(["compare", *map(str, slow_and_fast), "--out", str(out)]) == 0
    names = {"learning_curves.png", "profile.png", "time_to_solve.png"}
    assert {path.name for path in out.iterdir()} == names
    for path in out.iterdir():
        with Image.open(path) as image:
            colours = image.convert("RGB").getcolors(maxcolors=2**24)
            assert {(0, 114, 178), (213, 94, 0)} <= {colour for _, colour in colours}


SLOW = intervals.interquartile_mean(300.0 + np.arange(9))
ENDS = f"[{SLOW.low:.1f}, {SLOW.high:.1f}]"


def test_every_width_shows_every_number(slow_and_fast, capsys, monkeypatch):
    for width in ("60", "80", "120", "240"):
        monkeypatch.setenv("COLUMNS", width)
        assert main(["compare", *map(str, slow_and_fast)]) == 0
        out = capsys.readouterr().out
        assert "…" not in out
        for text in ("304.0", ENDS, "484.0", "fast", "slow", "[66%, 100%]"):
            assert text in out, (width, text)
        table = [line for line in out.splitlines() if "[482" in line or "──" in line]
        assert max(map(len, table)) <= int(width)


def test_other_programs_get_exact_numbers_and_nothing_else(slow_and_fast, capsys):
    runs = list(map(str, slow_and_fast))
    assert main(["compare", *runs, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    content = json.loads(printed.out)
    assert content["best"] == "fast"
    assert content["rerun"].startswith("pgjax train --config")
    slow, fast = content["scores"]
    assert (slow["run"], slow["agents"], slow["iqm"]) == ("slow", 9, 304.0)
    assert slow["iqm_low"] < 304.0 < slow["iqm_high"]
    assert fast["steps_to_solve"] == 340.0
    assert slow["steps_to_solve_beyond"] is None  # the median was reached
    (against,) = content["against"]
    assert against["p_better"] == 1.0
    assert 0.7 < against["p_better_low"] < 0.9
    assert against["p_holm"] == against["p"]  # one comparison
    assert main(["compare", *runs, "--format", "csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["run"].tolist() == ["slow", "fast"]
    assert table["iqm_low"].tolist() == [slow["iqm_low"], fast["iqm_low"]]
    assert main(["compare", *runs, "--format", "latex"]) == 0
    out = capsys.readouterr().out
    assert out.count(r"\begin{tabular}") == out.count(r"\bottomrule") == 2
    assert f"304.0 {ENDS}" in out
    assert r"67\% [30\%, 93\%]" in out


def test_curves_are_aligned(slow_and_fast, tmp_path, capsys):
    path = tmp_path / "deep" / "curves.csv"
    runs = list(map(str, slow_and_fast))
    assert main(["compare", *runs, "--curves", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    table = pd.read_csv(path)
    assert list(table.columns) == [
        *("run", "env", "algorithm", "seed", "env_steps", "recent_return", "training")
    ]
    steps = [of["env_steps"].tolist() for _, of in table.groupby(["run", "seed"])]
    assert len(steps) == 18
    assert all(of == steps[0] for of in steps)
    assert (steps[0][0], steps[0][-1]) == (600, 1000)
    columns = (table[name] for name in ("run", "seed", "env_steps"))
    expected = [
        ((300.0 if run.endswith("slow") else 480.0) + seed) * step / 1000
        for run, seed, step in zip(*columns, strict=True)
    ]
    np.testing.assert_allclose(table["recent_return"], expected)
    assert set(table["training"]) == {"yes"}


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path, capsys):
    agents = [((), seed, 100.0, None) for seed in range(3)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name / "run", agents)
    paths = [str(tmp_path / name / "run") for name in ("a", "b")]
    assert main(["compare", *paths]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "a/run" in out
    assert "b/run" in out


def test_what_was_not_reached_is_beyond_the_budget(tmp_path, capsys):
    agents = [((), seed, 100.0 + seed, None) for seed in range(8)]
    run = write_run(tmp_path / "run", agents)
    assert main(["compare", str(run)]) == 0
    out = capsys.readouterr().out
    assert "median steps to solve > 1,000." in out
    assert "solved 0% [0%, 37%]" in out  # of none of 8
    agents = [((), s, 100.0 + s, 900 + s if s < 5 else None) for s in range(8)]
    run = write_run(tmp_path / "half", agents)
    assert main(["compare", str(run)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "median steps to solve 903 [900, > 1,000]" in out


def test_a_few_agents_have_no_intervals(tmp_path, capsys):
    agents = [((), seed, 100.0 + seed, 500 + seed) for seed in range(4)]
    run = write_run(tmp_path / "run", agents)
    assert main(["compare", str(run)]) == 0
    out = capsys.readouterr().out
    assert "Fewer than 6 agents, without diverged ones, are too few" in out
    assert "101.5" in out
    assert "[101" not in out
    assert "median steps to solve 501." in out
    assert main(["compare", str(run), "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["warning"].startswith("Fewer than 6 agents")
    assert content["scores"][0]["steps_to_solve_beyond"] is None
    assert main(["compare", str(run), "--format", "csv"]) == 0
    assert "Fewer than 6 agents" in capsys.readouterr().err
    assert "solved 100% [40%, 100%]" in out


def test_an_environment_without_a_level_has_no_times(tmp_path, capsys):
    agents = [((), seed, -200.0 + seed, None) for seed in range(3)]
    run = write_run(tmp_path / "run", agents, env="Pendulum-v1", level=None)
    out = tmp_path / "figures"
    assert main(["compare", str(run), "--out", str(out)]) == 0
    assert "solve" not in capsys.readouterr().out.replace("steps to solve", "", 1)
    assert not (out / "time_to_solve.png").exists()


def test_what_cannot_be_compared_is_told(slow_and_fast, tmp_path, capsys):
    other = write_run(tmp_path / "p", [((), 0, 1.0, None)], env="Pendulum-v1")
    assert main(["compare", str(slow_and_fast[0]), str(other)]) == 2
    assert "no random and reference score of Pendulum-v1" in capsys.readouterr().err
    (other / "summary.json").unlink()
    assert main(["compare", str(other)]) == 2
    assert "has not finished" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "nothing")]) == 2
    assert "is not a run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"time_limit": 50}, {"time_limit": None}, "time limit (50: a; the env"),
        (
            {"env_arg": {"n": 7}},
            {"env_arg": {}},
            "env arg (n=7: a; none: b)",
        ),
        ({"steps": 1000}, {"steps": 3000}, "steps (1,000: a; 3,000: b)"),
        ({"until_solved": True}, {}, "until solved (yes: a; no: b)"),
    ],
)
def test_other_tasks_and_budgets_are_told_above_the_table(
    one, other, told, tmp_path, capsys
):
    agents = [((), seed, 100.0 + seed, None) for seed in range(3)]
    runs = [
        str(write_run(tmp_path / name, agents, **config))
        for name, config in (("a", one), ("b", other))
    ]
    assert main(["compare", *runs]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Not the same task or budget")
    assert told in first
    report = tmp_path / "report.html"
    assert main(["report", *runs, "--out", str(report)]) == 0
    assert told in report.read_text()
    capsys.readouterr()
    # Other programs are told, too, each where it is no part of a table.
    assert main(["compare", *runs, "--format", "json"]) == 0
    assert told in json.loads(capsys.readouterr().out)["warning"]
    assert main(["compare", *runs, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(pd.read_csv(io.StringIO(printed.out))) == 2
    assert main(["compare", *runs, "--format", "latex"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("% Not the same task")
    assert told in first


def test_the_same_task_is_told_nothing(slow_and_fast, capsys):
    assert main(["compare", *map(str, slow_and_fast)]) == 0
    assert "Not the same task" not in capsys.readouterr().out


def test_a_swept_time_limit_is_a_column(tmp_path, capsys):
    agents = [((x,), seed, 100.0, None) for x in (50, 500) for seed in range(3)]
    run = write_run(tmp_path / "sweep", agents, grid=("time_limit",))
    assert main(["compare", str(run)]) == 0
    told = capsys.readouterr().out
    assert "Not the same task" not in told
    assert re.search(r"^ +50 .*\n +500 ", told, re.M)


def test_swept_numbers_are_numbers_for_programs_and_as_before_for_people(
    tmp_path, capsys
):
    agents = [((x, n), s, 1.0, None) for x in (1e-05, 0.001) for n in (64, 128)
              for s in range(2)]  # fmt: skip
    run = write_run(tmp_path / "s", agents, grid=("learning_rate", "num_envs"))
    assert main(["compare", str(run), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["scores"]
    assert [(row["learning_rate"], row["num_envs"]) for row in rows] == [
        (1e-05, 64), (1e-05, 128), (0.001, 64), (0.001, 128)
    ]  # fmt: skip
    assert main(["compare", str(run)]) == 0
    out = capsys.readouterr().out
    assert "1e-05" in out
    assert "0.001" in out


def test_a_single_test_has_no_adjusted_p_for_people(slow_and_fast, tmp_path, capsys):
    runs = list(map(str, slow_and_fast))
    assert main(["compare", *runs]) == 0
    assert "Holm" not in capsys.readouterr().out
    agents = [((), s, 400.0 + s, 500 + s) for s in range(9)]
    assert main(["compare", *runs, str(write_run(tmp_path / "c", agents))]) == 0
    assert "Holm" in capsys.readouterr().out


def test_curves_without_agents_that_diverged_say_so(tmp_path, capsys):
    agents = [((), s, 100.0 + s, None) for s in range(3)]
    run = write_run(tmp_path / "run", agents)
    summary = json.loads((run / "summary.json").read_text())
    summary["agents"][1]["greedy_return"]["mean"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    words = ["compare", str(run), "--curves", str(tmp_path / "curves.csv")]
    assert main([*words, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert "1 of 3 agents diverged and are left out" in printed.err
    json.loads(printed.out)
    assert set(pd.read_csv(tmp_path / "curves.csv")["seed"]) == {0, 2}


def test_notes_count_agents_that_have_not_diverged(tmp_path, capsys):
    agents = [((), s, 100.0 + s, None) for s in range(10)]
    run = write_run(tmp_path / "run", agents)
    for diverged, told in ((0, ""), (1, "fewer than 10"), (5, "Fewer than 6")):
        summary = json.loads((run / "summary.json").read_text())
        for row in summary["agents"][:diverged]:
            row["greedy_return"]["mean"] = None
        (run / "summary.json").write_text(json.dumps(summary))
        assert main(["compare", str(run)]) == 0
        out = capsys.readouterr().out
        for note in ("fewer than 10", "Fewer than 6"):
            assert (note in out) == (note == told), (diverged, note)


def test_no_spread_is_not_too_few(tmp_path, capsys):
    runs = []
    for name, n in (("a", 64), ("b", 64), ("c", 3)):
        agents = [((), s, 500.0, None) for s in range(n)]
        runs.append(str(write_run(tmp_path / name, agents)))
    assert main(["compare", *runs[:2]]) == 0
    out = capsys.readouterr().out
    assert "[no spread]" in out
    assert "too few" not in out
    assert main(["compare", runs[0], runs[2]]) == 0
    _, _, against = capsys.readouterr().out.partition("Against a")
    assert "Fewer than 6 agents" in against


@pytest.mark.parametrize("command", ["compare", "report"])
def test_a_scale_of_one_environment_is_refused(command, slow_and_fast, capsys):
    words = [command, *map(str, slow_and_fast), "--normalize", "nothing.toml"]
    assert main(words) == 2
    assert "--normalize nothing.toml: all runs are of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--where", "lam=0.9", "lam=0.95"],
        ["--where", "lam=0.9", "--where", "lam=0.9"],
    ],
)
def test_a_name_has_one_value(words, slow_and_fast, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(slow_and_fast[0]), *words])
    assert "--where takes one value of each name" in capsys.readouterr().err


def test_intervals_are_those_of_the_rows_that_are_shown(tmp_path, capsys, monkeypatch):
    agents = [((x,), s, 1.0 * x + s, None) for x in range(60) for s in range(6)]
    run = write_run(tmp_path / "s", agents, grid=("lam",))
    found, of = [], intervals.bootstrapped_mean
    monkeypatch.setattr(
        intervals, "bootstrapped_mean", lambda x: (found.append(1), of(x))[1]
    )
    assert main(["compare", str(run)]) == 0
    assert "and 24 more rows" in capsys.readouterr().out
    assert len(found) == 36


def test_what_is_a_column_or_of_another_environment_is_not_told(tmp_path, capsys):
    agents = [((x,), s, 100.0 + s, None) for x in (1.0, 2.0) for s in range(3)]
    swept = write_run(tmp_path / "a", agents, grid=["env_param.length"], steps=9)
    record = json.loads((swept / "config.json").read_text())
    record["grid"] = {"env_param.length": [1.0, 2.0]}
    (swept / "config.json").write_text(json.dumps(record))
    assert main(["compare", str(swept)]) == 0
    assert "Not the same" not in capsys.readouterr().out
    other = [((), s, -100.0 - s, None) for s in range(3)]
    acrobot = write_run(tmp_path / "b", other, env="Acrobot-v1", steps=5)
    cartpole = write_run(tmp_path / "c", other, steps=9)
    assert main(["compare", str(cartpole), str(acrobot)]) == 0
    assert "Not the same" not in capsys.readouterr().out


def test_scores_in_gymnasium_are_read_if_they_are_of_the_same_policies(
    tmp_path, capsys
):
    agents = [((x,), s, 100.0 + s, None) for x in (1, 2) for s in range(7)]
    run = write_run(tmp_path / "a", agents, grid=["n"])
    record = json.loads((run / "config.json").read_text())
    record["grid"] = {"n": [1, 2]}
    (run / "config.json").write_text(json.dumps(record))
    (run / "params.npz").write_bytes(b"parameters")
    (run / "scores").mkdir()

    def keep(name, mean, **other):
        rows = [
            {"n": n, "seed": s, "greedy_return": {"mean": mean + s}}
            for n in (1, 2)
            for s in range(7)
        ]
        content = {"which": "last", "episodes": 5, "agents": rows}
        content |= {"params": checksum(run / "params.npz"), **other}
        path = run / "scores" / f"gymnasium-{name}-episodes-seed-0.json"
        path.write_text(json.dumps(content))

    def means():
        assert main(["compare", str(run), "--format", "csv"]) == 0
        table = pd.read_csv(io.StringIO(capsys.readouterr().out.split("\n\n")[0]))
        name = "gymnasium_mean"
        return table[name].tolist() if name in table else None

    keep("5", 200.0)
    assert means() is None  # the summary does not say which parameters there are
    names = "config.json", "metrics.csv", "params.npz"
    summary = json.loads((run / "summary.json").read_text())
    summary["files"] = {name: checksum(run / name) for name in names}
    (run / "summary.json").write_text(json.dumps(summary))
    assert means() == [203.0, 203.0]
    keep("9", 300.0, episodes=9)
    keep("99", 400.0, episodes=99, params={"bytes": 1, "sha256": "of others"})
    (run / "scores" / "gymnasium-7-episodes-seed-0.json").write_text("[1")
    assert means() == [303.0, 303.0]
    assert main(["compare", str(run)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "in 9 episodes there, as `pgjax evaluate --backend gymnasium` found" in told
