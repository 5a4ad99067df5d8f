"""Errors of the system name the file; noise around them is kept off."""

import os
import sys

import numpy as np
import pytest

from pgjax.app.analysis import learning_curve
from pgjax.app.errors import naming, say_nothing_of_closed_loops, told
from pgjax.app.runs.files import write_json, write_whole
from pgjax.app.runs.metrics_writer import CsvLogger
from pgjax.app.runs.params import save_params

FULL = "/dev/full: No space left on device"


def test_a_full_disk_is_told_with_the_file():
    with (
        pytest.raises(OSError, match="No space") as raised,
        naming("/dev/full"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")
    assert told(raised.value) == FULL


def test_a_file_that_the_system_names_is_left():
    with pytest.raises(OSError, match="No such") as raised, naming("other"):
        open("/no/such/file")  # noqa: SIM115
    assert told(raised.value) == "/no/such/file: No such file or directory"


def write_metrics(path):
    path.unlink()  # which may be cut, as the device may not
    logger = CsvLogger(path)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), logger._file.fileno())
    logger.write({"agent": np.arange(3)} | dict.fromkeys(COLUMNS, np.ones(3)))


COLUMNS = "update", "env_steps", "episodes", "episode_return", "recent_return"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("config.json", lambda path: write_json(path, {"a": 1})),
        (
            "params.npz",
            lambda path: save_params(path, {"a": np.ones(3)}),
        ),
        ("metrics.csv", write_metrics),
        ("curve.png", lambda path: draw(path)),
    ],
)
def test_every_file_of_a_run_is_named(name, write, tmp_path):
    path = tmp_path / name
    for there in (path, path.with_name(name + ".partial")):
        there.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as raised:
        write(path)
    assert told(raised.value) == f"{path}: No space left on device"


def draw(path):
    one = [np.arange(3.0)]
    write_whole(
        path,
        lambda file: learning_curve.learning_curve(
            file, one, one, title="x", solved_return=None
        ),
    )


def test_a_closed_loop_is_not_spoken_of(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *about: seen.append(about[1]))
    say_nothing_of_closed_loops()
    others = [RuntimeError("another"), ValueError("Event loop is closed")]
    for error in [RuntimeError("Event loop is closed"), *others]:
        sys.excepthook(type(error), error, None)
    assert seen == others
