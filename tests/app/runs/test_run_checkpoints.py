"""The checkpoints of a run: a damaged one is set aside, wherever the damage is."""

import json
import random
import shutil

import numpy as np
import pytest

from pgjax.app.errors import UsageError
from pgjax.app.runs.checkpoint_metadata import about, check_settings
from pgjax.app.runs.run_checkpoints import Checkpoints
from pgjax.checkpoints import CheckpointError

CONFIG = {"steps": 9, "seed": 0, "anneal_learning_rate": False}
CONFIG |= {"algorithm_options": {"gamma": 0.5}}
SETTINGS = {"config": CONFIG, "log": []}
METADATA = "_CHECKPOINT_METADATA"
# What Orbax leaves behind of reading that was given up, which would be on stderr.
pytestmark = pytest.mark.filterwarnings(
    "error::pytest.PytestUnraisableExceptionWarning"
)


def state(number):
    return {"w": np.full((3, 4), number, np.float32), "count": np.int64(number)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(directory, settings=SETTINGS)
    for number in (1, 2, 3):
        checkpoints.save(number, state(number), {"note": number})
    checkpoints.close()
    return directory


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def latest(directory, settings=SETTINGS):
    told = []
    checkpoints = Checkpoints(directory, settings=settings, tell=told.append)
    found = checkpoints.latest(state(0))
    checkpoints.close()
    return int(found["count"]), found["w"], told, checkpoints.notes


def files_of(directory):
    return sorted(x.relative_to(directory) for x in directory.rglob("*") if x.is_file())


def test_any_flipped_bit_of_any_file_is_set_aside_or_of_no_matter(copy, capfd):
    rng, aside = random.Random(0), 0
    for name in files_of(copy / "3"):
        whole = (copy / "3" / name).read_bytes()
        for _ in range(8):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (copy / "3" / name).write_bytes(data)
            number, w, told, notes = latest(copy)
            assert number == (2 if told else 3), (name, told)
            assert notes == {"note": number}
            np.testing.assert_array_equal(w, state(number)["w"])
            for path in copy.glob("damaged-*"):
                path.rename(copy / "3")
                aside += 1
        (copy / "3" / name).write_bytes(whole)
    assert aside > 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", ["1", "2", "3"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"[" * 10**5),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.unlink(),
        lambda path: path.write_text(path.read_text().replace("metrics", "metrIcs")),
    ],
)
def test_the_newest_that_is_whole_is_used_and_saving_goes_on(damage, number, copy):
    damage(copy / number / METADATA)
    found, _, told, _ = latest(copy)
    assert found == (2 if number == "3" else 3)
    assert (copy / f"damaged-{number}").is_dir()
    if number == "3":
        assert len(told) == 1
        assert f"checkpoints/{number} is damaged" in told[0]
    else:  # which a kill may have left half deleted
        assert told == []
    checkpoints = Checkpoints(copy, settings=SETTINGS)
    checkpoints.latest(state(0))
    checkpoints.save(7, state(7))
    checkpoints.close()
    assert latest(copy)[0] == 7


def test_when_none_is_whole_nothing_is_moved(copy):
    for path in copy.glob(f"*/{METADATA}"):
        path.write_text("{}")
    before = files_of(copy)
    with pytest.raises(UsageError, match="no whole checkpoint is left"):
        latest(copy)
    assert files_of(copy) == before


def test_a_list_of_arrays_that_was_changed_is_damage_not_another_run(copy):
    path = copy / "3" / "default" / "_METADATA"
    path.write_text(path.read_text().replace("count", "cound"))
    assert latest(copy)[0] == 2


def test_other_settings_are_named(copy):
    other = {**SETTINGS, "config": SETTINGS["config"] | {"seed": 5}}
    with pytest.raises(CheckpointError, match=r"seed 0 \(now 5\); restore config.json"):
        latest(copy, other)
    assert latest(copy, None)[0] == 3


@pytest.mark.parametrize(
    ("now", "then", "anneal", "fits"),
    [(9, 9, False, True), (12, 9, False, True), (9, 12, False, False)]
    + [(9, 9, True, True), (12, 9, True, False)],
)
def test_steps_may_grow_unless_something_is_annealed(now, then, anneal, fits, tmp_path):
    settings = [
        {"config": CONFIG | {"steps": x, "anneal_learning_rate": anneal}}
        for x in (now, then)
    ]
    told = {"format": 1, "settings": settings[1]}
    if fits:
        check_settings(tmp_path, told, settings[0])
        return
    with pytest.raises(CheckpointError, match=rf"steps {then} \(now {now}\)"):
        check_settings(tmp_path, told, settings[0])


def test_a_newer_format_is_refused_and_a_flipped_one_is_damage(copy):
    path = copy / "3" / METADATA
    record = json.loads(path.read_text())
    record["custom_metadata"]["format"] = 9
    path.write_text(json.dumps(record))
    assert latest(copy)[0] == 2
    assert about(copy / "2")["format"] == 1


def test_checkpoints_of_before_there_were_settings_are_read(copy):
    for path in copy.glob(f"*/{METADATA}"):
        record = json.loads(path.read_text())
        record["custom_metadata"] = {"format": 1}
        path.write_text(json.dumps(record))
    assert latest(copy)[::2] == (3, [])
