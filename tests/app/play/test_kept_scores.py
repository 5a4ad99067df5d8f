"""Scores of `pgjax evaluate`: kept, shown, of some agents or of the best."""

import io
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pgjax.app.cli import main
from pgjax.app.play import evaluate_run, export, kept_scores
from pgjax.app.runs.results import load_summary


@pytest.fixture
def sweep(small_runs, tmp_path):
    """A sweep of two gammas and two seeds, the second of which is the best."""
    shutil.copytree(small_runs / "sweep", tmp_path / "sweep")
    path = tmp_path / "sweep" / "summary.json"
    summary = json.loads(path.read_text())
    for row in summary["agents"]:
        row["greedy_return"]["mean"] = 100.0 * row["gamma"] + row["seed"]
    del summary["sha256"], summary["files"]
    path.write_text(json.dumps(summary))
    return tmp_path / "sweep"


@pytest.fixture
def quick(monkeypatch):
    """Returns tell of the parameters, and nothing is played."""

    def play(group, episodes, seed, *, greedy):
        size = len(group.agents.seeds)
        first = np.asarray(jax.tree.leaves(group.params)[0]).reshape(size, -1)[:, :1]
        return first + np.arange(episodes) + 10 * greedy

    monkeypatch.setattr(evaluate_run, "_play_as_trained", play)
    monkeypatch.setattr(evaluate_run, "_play_gymnasium", play)


def kept(run, name):
    return json.loads((run / "scores" / f"{name}.json").read_text())


def test_scores_are_kept_and_grow(sweep, quick, capsys):
    words = ["evaluate", str(sweep), "--backend", "gymnasium", "--episodes", "3"]
    assert main([*words, "--where", "gamma=0.9"]) == 0
    name = "gymnasium-3-episodes-seed-0"
    assert f"{name}.json" in capsys.readouterr().out
    first = kept(sweep, name)
    assert (first["backend"], first["episodes"], first["seed"]) == ("gymnasium", 3, 0)
    assert [(row["gamma"], row["seed"]) for row in first["agents"]] == [
        (0.9, 0),
        (0.9, 1),
    ]
    assert main([*words, "--where", "gamma=0.99"]) == 0
    both = kept(sweep, name)["agents"]
    assert both[:2] == first["agents"]
    assert [row["gamma"] for row in both] == [0.9, 0.9, 0.99, 0.99]
    assert main(["evaluate", str(sweep), "--episodes", "3", "--seed", "4"]) == 0
    assert len(kept(sweep, "trained-3-episodes-seed-4")["agents"]) == 4


def test_scores_of_other_parameters_are_not_kept(sweep, quick):
    words = ["evaluate", str(sweep), "--episodes", "2"]
    assert main([*words, "--where", "gamma=0.9"]) == 0
    path = sweep / "scores" / "trained-2-episodes-seed-0.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"params": {"bytes": 1, "sha256": "other"}}))
    assert main([*words, "--where", "gamma=0.99"]) == 0
    assert [row["gamma"] for row in json.loads(path.read_text())["agents"]] == [
        0.99
    ] * 2
    path.write_text("{")
    assert main(words) == 0
    assert len(json.loads(path.read_text())["agents"]) == 4


def test_the_best_is_that_of_compare(sweep, quick, capsys, tmp_path, monkeypatch):
    def serialize(experiment, params, *, sampled):
        return b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(params))

    monkeypatch.setattr(export, "serialize", serialize)
    assert main(["compare", str(sweep), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == "gamma 0.99"
    assert main(["evaluate", str(sweep), "--best-combination", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert table["gamma"].tolist() == [0.99, 0.99]
    assert table["seed"].tolist() == [0, 1]
    assert "played in" in err
    assert (
        main(["export", str(sweep), "--best-combination", "--out", str(tmp_path / "p")])
        == 0
    )
    best = (tmp_path / "p").read_bytes()
    given = ["--where", "gamma=0.99", "--out", str(tmp_path / "q")]
    assert main(["export", str(sweep), *given]) == 0
    other = ["--where", "gamma=0.9", "--best-combination", "--out", str(tmp_path / "r")]
    assert main(["export", str(sweep), *other]) == 0
    assert best == (tmp_path / "q").read_bytes() != (tmp_path / "r").read_bytes()


def test_render_takes_the_best(sweep, tmp_path, monkeypatch):
    gif = tmp_path / "a.gif"
    assert main(["render", str(sweep), "--best-combination", "--out", str(gif)]) == 0
    with Image.open(gif) as image:
        assert image.n_frames > 1


def test_the_best_of_what_has_not_finished_is_told(sweep, capsys):
    (sweep / "summary.json").unlink()
    assert main(["evaluate", str(sweep), "--best-combination"]) == 2
    assert "has not finished" in capsys.readouterr().err


def test_formats_have_exact_numbers(sweep, quick, capsys):
    words = ["evaluate", str(sweep), "--episodes", "3"]
    assert main([*words, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["episodes"] == 3
    rows = kept(sweep, "trained-3-episodes-seed-0")["agents"]
    assert [row["greedy_mean"] for row in content["agents"]] == [
        row["greedy_return"]["mean"] for row in rows
    ]
    assert main([*words, "--format", "latex"]) == 0
    assert capsys.readouterr().out.count(r"\\") == 1 + 4


def test_a_directory_that_cannot_be_written_is_told(sweep, quick, capsys):
    (sweep / "scores").write_text("a file")
    assert main(["evaluate", str(sweep)]) == 0
    out, err = capsys.readouterr()
    assert "was not written" in err
    assert "greedy" in out
    assert "scores are in" not in out


def test_of_many_agents_there_is_a_row_for_each_combination():
    rows = [
        {
            "gamma": gamma,
            "seed": seed,
            "greedy_return": {"mean": 10.0 * gamma + seed, "std": 1.0, "min": 0.0},
            "sampled_return": {"mean": None, "std": None, "min": None},
        }
        for gamma in (0, 1)
        for seed in range(9)
    ]
    table = kept_scores.combinations_table("t", rows, ["gamma"])
    assert [row[:2] for row in table.rows] == [["0", 9], ["1", 9]]
    assert [row[2].estimate for row in table.rows] == [4.0, 14.0]  # the IQM
    assert [row[5:] for row in table.rows] == [[None] * 3] * 2  # none is known


def test_evaluating_leaves_the_run_as_it_was(sweep, quick):
    before = load_summary(sweep, ["gamma"])
    assert main(["evaluate", str(sweep)]) == 0
    assert load_summary(sweep, ["gamma"]) == before
    assert main(["compare", str(sweep)]) == 0
