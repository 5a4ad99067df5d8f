"""The parts of a sweep that is put together: each is what was written, or is told."""

import contextlib
import json
import random
import shutil

import numpy as np
import pytest

from pgjax.app.cli import main
from pgjax.app.runs import sweep_parts
from pgjax.app.runs.sweep_run import _Session

ALL = ("config.json", "metrics.csv", "params/000.npz", "params/001.npz")


@pytest.fixture
def sweep(small_runs, tmp_path):
    """One whose parts are all finished, and not put together yet."""
    return shutil.copytree(small_runs / "parts", tmp_path / "sweep")


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(sweep, *names):
    for name in names:
        one, other = (sweep / "parts" / x / name for x in ("000", "001"))
        held = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(held)


def without_an_agent(path):
    record = json.loads(path.read_text())
    record["rows"].pop()
    record.pop("sha256")
    path.write_text(json.dumps(record))


def of_another_sweep(path):
    record = json.loads(path.read_text())
    record["settings"]["learning_rate"] = 0.5
    record.pop("sha256")
    path.write_text(json.dumps(record))


def with_another_seed(path):
    record = json.loads(path.read_text())
    record["rows"][0]["seed"] = 7
    record.pop("sha256")
    path.write_text(json.dumps(record))


PART = "parts/001"
# What happens to a sweep; what is said, and of which file.
DAMAGES = {
    "metrics missing": (
        lambda sweep: (sweep / PART / "metrics.csv").unlink(),
        "metrics.csv is damaged: it is missing",
    ),
    "metrics cut": (
        lambda sweep: cut(sweep / PART / "metrics.csv"),
        "metrics.csv is damaged: it has",
    ),
    "metrics flipped": (
        lambda sweep: flip(sweep / PART / "metrics.csv"),
        "metrics.csv is damaged: it was changed",
    ),
    "params missing": (
        lambda sweep: (sweep / PART / "params.npz").unlink(),
        "params.npz is damaged: it is missing",
    ),
    "params cut": (
        lambda sweep: cut(sweep / PART / "params.npz"),
        "params.npz is damaged: it has",
    ),
    "params flipped": (
        lambda sweep: flip(sweep / PART / "params.npz"),
        "params.npz is damaged: it was changed",
    ),
    "rows empty": (
        lambda sweep: (sweep / PART / "rows.json").write_text(""),
        "rows.json is damaged",
    ),
    "rows no rows": (
        lambda sweep: (sweep / PART / "rows.json").write_text("[]"),
        "rows.json is damaged: its content is not an object",
    ),
    "rows cut": (lambda sweep: cut(sweep / PART / "rows.json"), "rows.json is damaged"),
    "rows one short": (
        lambda sweep: without_an_agent(sweep / PART / "rows.json"),
        "rows.json is damaged: it has 1 agents",
    ),
    "rows of other seeds": (
        lambda sweep: with_another_seed(sweep / PART / "rows.json"),
        "rows.json is damaged: it has 2 agents, and not the 2 of this part",
    ),
    "rows of another sweep": (
        lambda sweep: of_another_sweep(sweep / PART / "rows.json"),
        "rows.json is damaged: it is of other settings",
    ),
    "parts swapped": (
        lambda sweep: swap(sweep, "rows.json", "metrics.csv", "params.npz"),
        "rows.json is damaged: it has 2 agents, and not the 2 of this part",
    ),
    "metrics swapped": (
        lambda sweep: swap(sweep, "metrics.csv"),
        "metrics.csv is damaged: it ",
    ),
}


def contents(directory):
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory): path.read_bytes() for path in paths}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_told_and_nothing_is_removed(
    damage, sweep, monkeypatch, capsys
):
    change, says = DAMAGES[damage]
    change(sweep)
    before = contents(sweep)

    def finish(session):  # damaged after it was looked at
        listed = list(map(session._part, session._plan.batches))
        sweep_parts.put_together(listed, sweep)

    monkeypatch.setattr(_Session, "_rows", lambda *_: [])
    monkeypatch.setattr(_Session, "_finish", finish)
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert says in told
    assert str(sweep / "parts") in told
    assert f"`pgjax sweep --resume {sweep}` trains that part again" in told
    before.pop(next(path for path in before if path.name == "config.json"))
    after = contents(sweep)  # config.json tells that it was resumed
    assert {path: after.get(path) for path in before} == before


def test_every_part_is_told_before_anything_is_written(sweep, monkeypatch):
    flip(sweep / "parts" / "001" / "params.npz")
    monkeypatch.setattr(_Session, "_rows", lambda *_: [])
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 2
    assert {path.name for path in sweep.iterdir()} == {"config.json", "parts"}


def test_whole_parts_are_put_together_without_training(sweep, small_runs, capsys):
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    for name in ALL[1:]:
        assert (sweep / name).read_bytes() == (small_runs / "sweep" / name).read_bytes()
    assert not (sweep / "parts").exists()


@pytest.mark.parametrize("damage", ["params flipped", "parts swapped"])
def test_a_damaged_part_is_trained_again_by_the_next_process(
    damage, sweep, small_runs, capsys
):
    change, says = DAMAGES[damage]
    change(sweep)
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == (2 if "swapped" in damage else 1)
    assert says in told[0]
    assert "it is set aside as" in told[0]
    for name in ALL[1:]:
        assert (sweep / name).read_bytes() == (small_runs / "sweep" / name).read_bytes()


def test_any_flipped_bit_of_a_part_is_seen_or_of_no_matter(sweep, monkeypatch):
    rng, seen = random.Random(0), 0
    sessions = []
    monkeypatch.setattr(_Session, "run", lambda session: sessions.append(session) or 0)
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 0
    part = sessions[0]._part(sessions[0]._plan.batches[1])
    rows = sweep_parts.load_rows(part)
    for path in sorted(part.directory.iterdir()):
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            with contextlib.suppress(sweep_parts.DamagedFileError):
                assert sweep_parts.load_rows(part) == rows
                seen -= 1
            seen += 1
        path.write_bytes(whole)
    assert seen > 80  # all but blanks and the name of the checksum


def test_batches_of_one_size_train_each_their_own_agents(small_runs):
    first, second = (
        np.load(small_runs / "sweep" / "params" / f"{i:03d}.npz") for i in range(2)
    )
    assert any((first[name] != second[name]).any() for name in first)


def test_parameters_of_a_sweep_are_those_of_its_parts(sweep):
    kept = dict(np.load(sweep / "parts" / "001" / "params.npz"))
    assert main(["sweep", "--resume", str(sweep), "--quiet"]) == 0
    for name, x in np.load(sweep / "params" / "001.npz").items():
        np.testing.assert_array_equal(x, kept[name])
