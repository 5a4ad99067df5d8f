"""Loggers, told of two chunks by hand; the command's use of them at the end."""

import json

import numpy as np
import pandas as pd
import pytest

from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import loggers
from pgjax.app.runs.metrics_writer import COLUMNS, PLACE

CHUNKS = [
    {
        "agent": np.array([0, 1, 2]),
        "update": np.array([1, 1, 1]),
        "env_steps": np.array([20, 30, 40]),
        "episodes": np.array([2, 2, 2]),
        "episode_return": np.array([10.0, np.nan, 20.0]),
        "recent_return": np.array([10.0, np.nan, 20.0]),
        "loss": np.array([0.5, 0.25, 0.125], np.float32),
    },
]
CHUNKS.append({**CHUNKS[0], "env_steps": CHUNKS[0]["env_steps"] + 50})
TINY = ["--num-envs", "2", "--hidden", "4", "--eval-episodes", "2", "--steps", "60"]


def opened(names, directory, **where):
    return loggers.open_loggers(names, directory, run=directory, agents=[], **where)


def write(names, directory):
    with opened(names, directory) as logger:
        for chunk in CHUNKS:
            logger.write(chunk)


def test_the_table_is_always_there_unless_nothing_is_wanted(tmp_path):
    write([], tmp_path)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == [PLACE, *COLUMNS, "loss"]
    assert table.env_steps.tolist() == [20, 30, 40, 70, 80, 90]
    assert table.episode_return.isna().tolist() == [False, True, False] * 2
    (tmp_path / "other").mkdir()
    write(["none"], tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_table_goes_on_where_the_checkpoint_was(tmp_path):
    with opened([], tmp_path) as logger:
        logger.write(CHUNKS[0])
        position = logger.position()
        logger.write(CHUNKS[1])  # after the checkpoint, and lost
    whole = (tmp_path / "metrics.csv").read_bytes()
    with opened([], tmp_path, position=position) as logger:
        assert (tmp_path / "metrics.csv").stat().st_size == position
        logger.write(CHUNKS[1])
    assert (tmp_path / "metrics.csv").read_bytes() == whole
    (tmp_path / "metrics.csv").write_bytes(whole[: position - 1])
    with (
        pytest.raises(UsageError, match="is damaged: it has"),
        opened([], tmp_path, position=position),
    ):
        pass


def test_a_table_that_was_damaged_is_never_signed_as_whole(tmp_path):
    path = tmp_path / "metrics.csv"
    with opened([], tmp_path) as logger:
        logger.write(CHUNKS[0])
        position, sha256 = logger.position(), logger.sha256()
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    for _ in range(2):  # resumed, and resumed again
        told = []
        where = {"position": position, "sha256": sha256, "warn": told.append}
        with opened([], tmp_path, **where) as logger:
            logger.write(CHUNKS[1])
            position, sha256 = logger.position(), logger.sha256()
        assert ["is damaged: its first" in line for line in told] == [True]


def test_no_logger_goes_with_others():
    with pytest.raises(UsageError, match="none means no metrics at all"):
        loggers.check_loggers(["none", "parquet"])


def test_the_command_writes_and_tells_what_it_is_told_to(tmp_path, capsys):
    train = ["train", *TINY, "--seeds", "2"]
    out = tmp_path / "run"
    assert main([*train, "--log", "parquet", "tensorboard", "--out", str(out)]) == 0
    told = "(learning_curve.png, metrics.csv, metrics.parquet, summary.json, params.npz"
    assert f"{told}, tensorboard)" in capsys.readouterr().out
    table = pd.read_parquet(out / "metrics.parquet")
    assert len(table) == len(pd.read_csv(out / "metrics.csv"))
    agents = {path.name for path in (out / "tensorboard").iterdir()}
    assert agents == {"seed=0", "seed=1"}
    bare = tmp_path / "bare"
    assert main([*train, "--log", "none", "--out", str(bare)]) == 0
    assert f"results in {bare} (summary.json, params.npz)" in capsys.readouterr().out
    assert {path.name for path in bare.iterdir()} == {
        "batches",
        "config.json",
        "params.npz",
        "summary.json",
    }
    assert main(["compare", str(bare)]) == 0
    assert json.loads((bare / "summary.json").read_text())["agents"]


def test_evaluations_have_a_table_of_their_own(tmp_path):
    rows = {PLACE: np.array([0, 2]), "update": np.array([3, 4])}
    rows |= {"env_steps": np.array([30, 40]), "mean_return": np.array([1.5, 2.5])}
    names = set(loggers.EVALUATION_COLUMNS) - set(rows)
    rows |= dict.fromkeys(names, np.array([1.0, 2.0]))
    with opened([], tmp_path, evaluations=loggers.Kept()) as logger:
        logger.write_evaluations(rows)
        kept = logger.kept_of_evaluations()
    path = tmp_path / "evaluations.csv"
    table = pd.read_csv(path)
    assert list(table.columns) == [PLACE, *loggers.EVALUATION_COLUMNS]
    assert table.mean_return.tolist() == [1.5, 2.5]
    # What came after the checkpoint is written anew.
    path.write_bytes(path.read_bytes() + b"0,5,50\r\n")
    with opened([], tmp_path, evaluations=kept) as logger:
        logger.write_evaluations(rows)
    assert len(pd.read_csv(path)) == 4
    (tmp_path / "none").mkdir()
    with opened(["none"], tmp_path / "none", evaluations=kept) as logger:
        logger.write_evaluations(rows)
    assert list((tmp_path / "none").iterdir()) == []
