"""Loggers, told of two chunks by hand; the command's use of them at the end."""

import json
import sys
import types

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


AGENTS = ["rate=0.1,seed=3", "rate=0.1,seed=4", "rate=0.2,seed=3"]


def opened(names, directory, **where):
    return loggers.open_loggers(names, directory, run=directory, agents=AGENTS, **where)


def write(names, directory):
    with opened(names, directory) as logger:
        for chunk in CHUNKS:
            logger.write(chunk)


def events_of(file):
    from tensorboardX.proto.event_pb2 import Event

    data, events = file.read_bytes(), []
    while data:  # length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def test_the_table_is_always_there_unless_nothing_is_wanted(tmp_path):
    write([], tmp_path)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == [PLACE, *COLUMNS, "loss"]
    assert table.env_steps.tolist() == [20, 30, 40, 70, 80, 90]
    assert table.episode_return.isna().tolist() == [False, True, False] * 2
    (tmp_path / "other").mkdir()
    write(["none"], tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_parquet_is_the_same_table(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("rate,seed,update,loss\n0.10,3,1,0.5\nnone,4,1,\n")
    loggers.copy_to_parquet(tmp_path, ["rate"])
    table, same = pd.read_csv(path), pd.read_parquet(tmp_path / "metrics.parquet")
    assert list(same.columns) == list(table.columns)
    assert same.rate.tolist() == ["0.10", "none"]  # as it was written
    for name in set(table.columns) - {"rate"}:
        np.testing.assert_allclose(same[name], table[name])


def test_tensorboard_has_a_directory_per_agent(tmp_path):
    write(["tensorboard"], tmp_path)
    agents = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert agents == ["rate=0.1,seed=3", "rate=0.1,seed=4", "rate=0.2,seed=3"]

    def scalars(agent):
        (file,) = (tmp_path / "tensorboard" / agent).iterdir()
        return [
            (v.tag, event.step, v.simple_value)
            for event in events_of(file)
            for v in event.summary.value
        ]

    assert ("episode_return", 40, 20.0) in scalars("rate=0.2,seed=3")
    assert ("loss", 90, 0.125) in scalars("rate=0.2,seed=3")
    tags = {tag for tag, *_ in scalars("rate=0.1,seed=4")}
    assert tags == {"loss"}  # what is NaN is no point of a curve


def test_an_agent_that_is_written_again_does_not_stand_there_twice(tmp_path):
    for _ in range(2):
        write(["tensorboard"], tmp_path)
    for agent in (tmp_path / "tensorboard").iterdir():
        assert len(list(agent.iterdir())) == 1


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


def test_curves_that_go_on_drop_what_came_after_the_checkpoint(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    write(["tensorboard"], tmp_path)
    with opened(["tensorboard"], tmp_path, position=1) as logger:
        logger.write(CHUNKS[1])
    files = sorted((tmp_path / "tensorboard" / "rate=0.1,seed=3").iterdir())
    assert [file.suffix for file in files][1:] == [".70"]
    starts = [e for e in events_of(files[1]) if e.HasField("session_log")]
    assert [(e.step, e.session_log.status) for e in starts] == [(70, SessionLog.START)]


def test_weights_and_biases_has_a_run_per_agent_in_a_group(tmp_path, monkeypatch):
    runs = []

    class Run:
        def __init__(self, **options):
            self.options, self.points, self.finished = options, [], False
            runs.append(self)

        def log(self, values, step):
            self.points.append((step, values))

        def finish(self):
            self.finished = True

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Run))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write(["wandb"], tmp_path)
    assert [run.options["name"] for run in runs] == [
        "rate=0.1,seed=3",
        "rate=0.1,seed=4",
        "rate=0.2,seed=3",
    ]
    assert {run.options["group"] for run in runs} == {tmp_path.name}
    assert {run.options["mode"] for run in runs} == {"offline"}
    assert all(run.finished for run in runs)
    step, values = runs[2].points[1]
    assert (step, values["loss"], values["env_steps"]) == (90, 0.125, 90)


def test_no_logger_goes_with_others():
    with pytest.raises(UsageError, match="none means no metrics at all"):
        loggers.check_loggers(["none", "parquet"])


def test_the_command_writes_what_it_is_told_to(tmp_path):
    train = ["train", *TINY, "--seeds", "2", "--quiet"]
    out = tmp_path / "run"
    assert main([*train, "--log", "parquet", "tensorboard", "--out", str(out)]) == 0
    table = pd.read_parquet(out / "metrics.parquet")
    assert len(table) == len(pd.read_csv(out / "metrics.csv"))
    agents = {path.name for path in (out / "tensorboard").iterdir()}
    assert agents == {"seed=0", "seed=1"}
    bare = tmp_path / "bare"
    assert main([*train, "--log", "none", "--out", str(bare)]) == 0
    assert {path.name for path in bare.iterdir()} == {
        "batches",
        "config.json",
        "params.npz",
        "summary.json",
    }
    assert main(["compare", str(bare)]) == 0
    assert json.loads((bare / "summary.json").read_text())["agents"]
