"""A new run has a directory of its own before its long work, or none."""

import datetime
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgjax.app.errors import UsageError
from pgjax.app.runs.new_directory import new_directory


@pytest.fixture(autouse=True)
def one_second(tmp_path, monkeypatch):
    """All happens in the same second."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(datetime, "datetime", Clock)
    monkeypatch.chdir(tmp_path)


def made(out, barrier=None):
    if barrier is not None:
        barrier.wait()
    try:
        with new_directory(out, "ppo-CartPole-v1") as run:
            return str(run)
    except UsageError as error:
        return error


def test_commands_of_one_second_have_directories_of_their_own(tmp_path):
    barrier = threading.Barrier(16)
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: made(None, barrier), range(16)))
    stem = "runs/ppo-CartPole-v1-20300102-030405"
    assert sorted(runs) == sorted([stem, *(f"{stem}-{i}" for i in range(2, 17))])


def test_of_commands_with_one_out_one_has_it(tmp_path):
    barrier = threading.Barrier(16)
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: made("new/run", barrier), range(16)))
    assert runs.count("new/run") == 1
    others = [error for error in runs if error != "new/run"]
    assert {str(error) for error in others} == {
        "new/run exists already; pass another --out"
    }


@pytest.mark.parametrize("error", [UsageError("no"), KeyboardInterrupt(), OSError()])
@pytest.mark.parametrize("written", [[], ["config.json"], ["config.json.partial"]])
def test_an_early_error_leaves_nothing(error, written, tmp_path):
    with pytest.raises(type(error)):
        fail(error, ["batches/empty/", *written])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("written", ["metrics.csv", "batches/config", "checkpoints/1"])
def test_results_stay(written, tmp_path):
    with pytest.raises(UsageError, match="later"):
        fail(UsageError("later"), [written])
    assert (tmp_path / "run" / written).read_text() == "1"


def fail(error, written):
    with new_directory("run", "x") as run:
        for name in written:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (run / name).mkdir()
            else:
                (run / name).write_text("1")
        raise error


def test_what_was_there_is_never_taken_away(tmp_path):
    (tmp_path / "run").mkdir()
    assert "exists already" in str(made("run"))
    assert (tmp_path / "run").is_dir()


def test_slashes_in_a_name_make_no_directories(tmp_path):
    with new_directory(None, "ppo-mine/env") as run:
        assert run.parent.name == "runs"


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("file/run", "is not a writable directory"),
        ("file", "exists already"),
        ("\udcff", "must be text in UTF-8"),
        ("", "exists already"),
        ("there/unfinished run", "--resume 'there/unfinished run'`"),
    ],
)
def test_what_cannot_be_is_told(out, says, tmp_path):
    (tmp_path / "file").write_text("")
    unfinished = tmp_path / "there" / "unfinished run"
    unfinished.mkdir(parents=True)
    (unfinished / "config.json").write_text("{}")
    assert says in str(made(out))


def test_a_name_that_is_too_long_is_told():
    with (
        pytest.raises((UsageError, OSError), match="File name too long"),
        new_directory("x" * 300, "x"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_told(tmp_path):
    (tmp_path / "there").mkdir(mode=0o500)
    assert "is not a writable directory" in str(made("there/run"))
