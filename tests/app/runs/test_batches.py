"""The batches of a run: each is what was written, or is set aside and trained again."""

import contextlib
import json
import random
import shutil

import numpy as np
import pytest

from pgjax.app.cli import main
from pgjax.app.errors import DamagedFileError
from pgjax.app.runs import batches
from pgjax.app.runs.session import Session

ALL = ("metrics.csv", "params.npz")


@pytest.fixture
def sweep(small_runs, tmp_path):
    """One whose batches are all finished, and not put together yet."""
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
        one, other = (sweep / "batches" / x / name for x in ("000", "001"))
        held = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(held)


def edited(change):
    """What changes a record, and takes its checksum away."""

    def edit(path):
        record = json.loads(path.read_text())
        change(record)
        record.pop("sha256")
        path.write_text(json.dumps(record))

    return edit


without_an_agent = edited(lambda record: record["rows"].pop())
of_another_sweep = edited(
    lambda record: record["settings"]["config"].update(learning_rate=0.5)
)
with_another_seed = edited(lambda record: record["rows"][0].update(seed=7))


PART = "batches/001"
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
        "rows.json is damaged: it has 2 agents, and not the 2 of this batch",
    ),
    "rows of another sweep": (
        lambda sweep: of_another_sweep(sweep / PART / "rows.json"),
        "rows.json is damaged: it is of other settings",
    ),
    "parts swapped": (
        lambda sweep: swap(sweep, "rows.json", "metrics.csv", "params.npz"),
        "rows.json is damaged: it is of other settings",
    ),
    "metrics swapped": (
        lambda sweep: swap(sweep, "metrics.csv"),
        "metrics.csv is damaged: it ",
    ),
}


@pytest.fixture
def session(sweep, monkeypatch):
    """One that goes on with the sweep, as far as before it does anything."""
    sessions = []
    with monkeypatch.context() as patch:
        patch.setattr(
            Session, "run", lambda session, begin: sessions.append(session) or 0
        )
        assert main(["train", "--resume", str(sweep), "--quiet"]) == 0
    return sessions[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_is_set_aside(damage, sweep, session, capsys):
    change, says = DAMAGES[damage]
    change(sweep)
    found = [session._found(store) for store in session._stores]
    assert found[1] is None
    assert (found[0] is None) == damage.endswith("swapped")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == found.count(None)
    assert any(says in line for line in told)
    assert all(f"{sweep / 'batches'}" in line for line in told)
    assert all("it is set aside as" in line for line in told)
    assert (sweep / "batches" / "damaged-001").is_dir()


@pytest.mark.parametrize("damage", ["params flipped", "parts swapped"])
def test_what_is_set_aside_is_trained_again(damage, sweep, small_runs, capsys):
    DAMAGES[damage][0](sweep)
    assert main(["train", "--resume", str(sweep), "--quiet"]) == 0
    assert "and trained again" in capsys.readouterr().err
    for name in ALL:
        assert (sweep / name).read_bytes() == (small_runs / "sweep" / name).read_bytes()


def test_whole_batches_are_put_together_without_training(sweep, small_runs, capsys):
    assert main(["train", "--resume", str(sweep), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    for name in ALL:
        assert (sweep / name).read_bytes() == (small_runs / "sweep" / name).read_bytes()


def test_any_flipped_bit_of_a_batch_is_seen_or_of_no_matter(session):
    rng, seen = random.Random(0), 0
    store = session._stores[1]
    finished = batches.load_finished(store)
    for path in (store.directory / batches.ROWS, store.metrics, store.params):
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            with contextlib.suppress(DamagedFileError):
                assert batches.load_finished(store) == finished
                seen -= 1
            seen += 1
        path.write_bytes(whole)
    assert seen > 80  # all but blanks and the name of the checksum


def test_batches_of_one_size_train_each_their_own_agents(small_runs):
    with np.load(small_runs / "sweep" / "params.npz") as arrays:
        assert any((x[:2] != x[2:]).any() for x in arrays.values())


def test_parameters_of_a_run_are_those_of_its_batches(small_runs):
    sweep = small_runs / "sweep"
    for number in range(2):
        kept = dict(np.load(sweep / "batches" / f"00{number}" / "params.npz"))
        for name, x in np.load(sweep / "params.npz").items():
            np.testing.assert_array_equal(x[2 * number :][:2], kept[name])


def test_a_finished_batch_is_to_train_further_when_it_is_given_more_steps(sweep):
    path = sweep / "batches" / "000"
    record = json.loads((path / "rows.json").read_text())
    seeds = [row["seed"] for row in record["rows"]]
    store = batches.Store(path, record["settings"], seeds)
    assert len(batches.load_finished(store).rows) == 2
    more = record["settings"]["config"] | {"steps": 10**6}
    longer = batches.Store(path, record["settings"] | {"config": more}, seeds)
    assert batches.load_finished(longer) is None
