"""Loggers of each agent, told of two chunks by hand, and of what the agents came to."""

import json
import sys
import types

import numpy as np
import pytest

from pgjax.app.runs import agent_loggers, loggers
from pgjax.app.runs.agent_loggers import Agent

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
NAMES = ["rate=0.1,seed=3", "rate=0.1,seed=4", "rate=0.2,seed=3"]
SHARED = {"hidden": [4, 4], "clip": None, "steps": 60, "env_options": {"size": 5}}
AGENTS = [
    Agent(name, {**SHARED, "rate": rate, "seed": seed})
    for name, rate, seed in zip(NAMES, (0.1, 0.1, 0.2), (3, 4, 3), strict=True)
]
ENDS = [
    {
        "env_steps": 70 + 10 * i,
        "greedy_return": {"mean": mean},
        "sampled_return": {"mean": mean},
        "steps_to_solve": solved,
    }
    for i, (mean, solved) in enumerate([(5.0, 60.0), (None, None), (7.0, None)])
]


def opened(names, directory, agents=AGENTS, **where):
    return loggers.open_loggers(names, directory, run=directory, agents=agents, **where)


def write(names, directory, agents=AGENTS, **where):
    with opened(names, directory, agents, **where) as logger:
        for chunk in CHUNKS:
            logger.write(chunk)
        logger.end(ENDS)


def events_of(file):
    from tensorboardX.proto.event_pb2 import Event

    data, events = file.read_bytes(), []
    while data:  # length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def scalars(directory, agent):
    (file,) = (directory / "tensorboard" / agent).iterdir()
    return [
        (v.tag, event.step, v.simple_value)
        for event in events_of(file)
        for v in event.summary.value
        if not v.tag.startswith("_hparams_")
    ]


def test_tensorboard_has_a_directory_per_agent(tmp_path):
    write(["tensorboard"], tmp_path)
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == NAMES
    assert ("episode_return", 40, 20.0) in scalars(tmp_path, NAMES[2])
    assert ("loss", 90, 0.125) in scalars(tmp_path, NAMES[2])
    tags = {tag for tag, *_ in scalars(tmp_path, NAMES[1])}
    assert tags == {"loss"}  # what is NaN is no point of a curve


def test_tensorboard_has_hyperparameters_and_what_came_of_them(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    write(["tensorboard"], tmp_path)
    assert ("eval/greedy_return", 70, 5.0) in scalars(tmp_path, NAMES[0])
    assert ("steps_to_solve", 70, 60.0) in scalars(tmp_path, NAMES[0])
    (file,) = (tmp_path / "tensorboard" / NAMES[2]).iterdir()
    told = {
        v.tag: HParamsPluginData.FromString(v.metadata.plugin_data.content)
        for event in events_of(file)
        for v in event.summary.value
        if v.tag.startswith("_hparams_")
    }
    experiment = told["_hparams_/experiment"].experiment
    assert [x.name.tag for x in experiment.metric_infos] == list(agent_loggers.RESULTS)
    start = told["_hparams_/session_start_info"].session_start_info.hparams
    assert start["rate"].number_value == 0.2
    assert start["hidden"].string_value == "4-4"
    assert start["clip"].string_value == "none"
    assert start["env_options.size"].number_value == 5
    assert "_hparams_/session_end_info" in told


def test_an_agent_that_is_written_again_does_not_stand_there_twice(tmp_path):
    for _ in range(2):
        write(["tensorboard"], tmp_path)
    for agent in (tmp_path / "tensorboard").iterdir():
        assert len(list(agent.iterdir())) == 1


def test_curves_that_go_on_drop_what_came_after_the_checkpoint(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    write(["tensorboard"], tmp_path)
    with opened(["tensorboard"], tmp_path, position=1) as logger:
        logger.write(CHUNKS[1])
    files = sorted((tmp_path / "tensorboard" / NAMES[0]).iterdir())
    assert [file.suffix for file in files][1:] == [".70"]
    starts = [e for e in events_of(files[1]) if e.HasField("session_log")]
    assert [(e.step, e.session_log.status) for e in starts] == [(70, SessionLog.START)]


def test_an_evaluation_after_a_resume_drops_no_point(tmp_path):
    write(["tensorboard"], tmp_path)
    with opened(["tensorboard"], tmp_path, position=1) as logger:
        logger.end(ENDS)
    files = sorted((tmp_path / "tensorboard" / NAMES[0]).iterdir())
    (start,) = (e for e in events_of(files[1]) if e.HasField("session_log"))
    assert start.step == 71  # the last point is of step 70


def test_evaluations_while_training_stand_beside_the_curves(tmp_path):
    rows = {"agent": np.array([0, 2]), "update": np.array([1, 1])}
    rows |= {"env_steps": np.array([70, 90]), "mean_return": np.array([1.5, np.nan])}
    rows |= {"num_episodes": np.array([3, 3])}
    best = [{**end, "best_greedy_return": {"mean": 9.0}} for end in ENDS]
    with opened(["tensorboard"], tmp_path) as logger:
        logger.write(CHUNKS[1])
        logger.write_evaluations(rows)
        logger.end(best)
    found = scalars(tmp_path, NAMES[0])
    assert ("evaluations/mean_return", 70, 1.5) in found
    assert ("eval/best_greedy_return", 70, 9.0) in found
    assert "evaluations/mean_return" not in {x for x, *_ in scalars(tmp_path, NAMES[2])}
    with opened(["tensorboard"], tmp_path, position=1) as logger:  # one that goes on
        logger.write_evaluations(rows)
    files = sorted((tmp_path / "tensorboard" / NAMES[0]).iterdir())
    (start,) = (e for e in events_of(files[1]) if e.HasField("session_log"))
    assert start.step == 71  # the point of step 70 stays


@pytest.fixture
def wandb_runs(monkeypatch):
    """The runs that a stub of W&B was asked for."""
    runs = []

    class Run:
        def __init__(self, **options):
            self.options, self.points, self.finished = options, [], False
            self.summary = {}
            self.project_url = "where" if options["mode"] == "online" else None
            runs.append(self)

        def log(self, values, step):
            self.points.append((step, values))

        def finish(self):
            self.finished = True

    stub = types.SimpleNamespace(init=Run, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return runs


def test_weights_and_biases_has_a_run_per_agent_in_a_group(tmp_path, wandb_runs):
    write(["wandb"], tmp_path)
    assert [run.options["name"] for run in wandb_runs] == NAMES
    assert {run.options["group"] for run in wandb_runs} == {tmp_path.name}
    assert {run.options["mode"] for run in wandb_runs} == {"offline"}
    assert all(run.options["settings"]["silent"] for run in wandb_runs)
    assert all(run.finished for run in wandb_runs)
    step, values = wandb_runs[2].points[1]
    assert (step, values["loss"], values["env_steps"]) == (90, 0.125, 90)


def test_weights_and_biases_has_all_settings_and_what_came_of_them(
    tmp_path, wandb_runs
):
    write(["wandb"], tmp_path)
    config = wandb_runs[2].options["config"]
    assert AGENTS[2].settings.items() <= config.items()
    assert config["git"].keys() <= {"pgjax", "directory"}
    assert [run.summary for run in wandb_runs] == [
        {
            "eval/greedy_return": 5.0,
            "eval/sampled_return": 5.0,
            "steps_to_solve": 60.0,
        },
        {},  # it diverged
        {"eval/greedy_return": 7.0, "eval/sampled_return": 7.0},
    ]


def test_a_run_keeps_its_id_and_gets_the_name_that_it_has_now(tmp_path, wandb_runs):
    (tmp_path / "config.json").write_text(json.dumps({"started": "now"}))
    write(["wandb"], tmp_path)
    ids = [run.options["id"] for run in wandb_runs]
    assert len(set(ids)) == 3
    longer = AGENTS[1]._replace(
        name="hidden=4-4,rate=0.1,seed=4", settings=AGENTS[1].settings | {"steps": 90}
    )
    wandb_runs.clear()
    agent_loggers.rename_curves(tmp_path, ["wandb"], {NAMES[1]: longer})
    (run,) = wandb_runs
    assert (run.options["id"], run.options["name"]) == (ids[1], longer.name)
    assert run.options["resume"] == "allow"
    assert (run.points, run.finished) == ([], True)
    (tmp_path / "config.json").write_text(json.dumps({"started": "later"}))
    write(["wandb"], tmp_path)
    assert not {run.options["id"] for run in wandb_runs[1:]} & set(ids)


def test_where_runs_are_that_are_sent_is_told_once(tmp_path, wandb_runs, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    told = []
    write(["wandb"], tmp_path, tell=told.append)
    assert told == [f"W&B: group {tmp_path.name} of where"]


def records_of(path):
    """What an offline run of the real W&B has on disk: a log in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:  # no room for a header: zeros up to the next
            place += 2**15 - place % 2**15
            continue
        size, kind = (
            int.from_bytes(data[place + 4 : place + 6], "little"),
            data[place + 6],
        )
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def test_the_real_weights_and_biases_writes_and_says_nothing(
    tmp_path, monkeypatch, capfd
):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write(["wandb"], tmp_path)
    assert capfd.readouterr() == ("", "")
    runs = [list(records_of(x)) for x in tmp_path.glob("wandb/offline-run-*/*.wandb")]
    names = {record.run.display_name: of for of in runs for record in of}
    assert names.keys() - {""} == set(NAMES)
    records = names[NAMES[0]]
    config = {
        update.key: json.loads(update.value_json)
        for record in records
        for update in record.run.config.update
    }
    assert AGENTS[0].settings.items() <= config.items()
    summary = {
        update.key or ".".join(update.nested_key): json.loads(update.value_json)
        for record in records
        for update in record.summary.update
    }
    assert summary["eval/greedy_return"] == 5.0
    assert summary["loss"] == 0.5
