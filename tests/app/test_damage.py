"""Files that a bit, a hand or a disk has changed: told in one line, or of no matter.

What a command does with a file is the same whatever it then computes; so that hundreds
of damages are quick, playing is a sum over parameters, and training is left out.
"""

import json
import os
import random
import shutil

import jax
import numpy as np
import pytest

from pgjax.app.analysis import figures, report
from pgjax.app.cli import main
from pgjax.app.play import evaluate_run
from pgjax.app.runs import start_and_resume as runs
from pgjax.app.runs.files import digest

DEEP = b"[" * 200_000 + b"]" * 200_000
VALUES = (None, True, -1, 1.5, "x", "", [], {}, [[]], 10**30, 1e308, "\ud800", {"a": 1})


@pytest.fixture
def here(small_runs, tmp_path, monkeypatch):
    """Copies of the runs; "stopped" has no summary, and a checkpoint."""
    for name in ("run", "sweep", "parts"):
        shutil.copytree(small_runs / name, tmp_path / name)
    shutil.copytree(small_runs / "run", tmp_path / "stopped")
    (tmp_path / "stopped" / "summary.json").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """Nothing is played, drawn or trained."""

    class Session:
        def __init__(self, run, plan, execution, part=None):
            print(plan.request, plan.batches, execution.log)

        def run(self, begin):
            return 0

    def play(group, episodes, seed, *, greedy):
        return np.full((2, episodes), sum(map(np.sum, jax.tree.leaves(group.params))))

    built = {}

    def load_once(run, which="last", load=evaluate_run.load, build=evaluate_run.build):
        def cached(config):
            key = repr(config)
            if key not in built:
                built[key] = build(config)
            return built[key]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate_run, "build", cached)
            return load(run, which)

    monkeypatch.setattr(runs, "Session", Session)
    monkeypatch.setattr(evaluate_run, "_play_as_trained", play)
    monkeypatch.setattr(evaluate_run, "load", load_once)
    monkeypatch.setattr(
        figures, "chosen", lambda samples, **_: {"settings": lambda: str(samples)}
    )
    monkeypatch.setattr(report, "_svg", lambda figure, name: figure)


CHECKPOINT = "batches/000/checkpoints/1/_CHECKPOINT_METADATA"
COMMANDS = {
    "evaluate": ["evaluate", "run", "--episodes", "1"],
    "compare": ["compare", "run", "sweep"],
    "report": ["report", "sweep", "--out", "report.html"],
    "resume": ["train", "--resume", "stopped"],
    "resume a sweep": ["train", "--resume", "parts"],
}
READ = {
    "evaluate": ["run/config.json", "run/params.npz", "run/summary.json"],
    "compare": [
        *(f"run/{name}" for name in ("config.json", "summary.json", "metrics.csv")),
        *(f"sweep/{name}" for name in ("config.json", "summary.json", "metrics.csv")),
    ],
    "report": [
        f"sweep/{name}" for name in ("config.json", "summary.json", "metrics.csv")
    ],
    "resume": [
        "stopped/config.json",
        f"stopped/{CHECKPOINT}",
    ],
    "resume a sweep": ["parts/config.json"],
}


def done(command, capsys):
    """The exit code, what was printed or written, and what was complained of."""
    try:
        code = main(list(COMMANDS[command]))
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    out = printed.out
    if command == "report" and code == 0:
        with open("report.html") as file:
            out = file.read()
    return code, out, printed.err


def names(told, path):
    """Whether a complaint names a file, or the directory of the checkpoint it is of."""
    return str(path) in told or os.path.dirname(path) in told


def changed(data, rng):
    """Bytes with one thing changed: a bit, a byte, an end, or all of it."""
    i = rng.randrange(len(data))
    return rng.choice(
        [
            data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :],
            data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :],
            data[:i],
            data[:i] + b"\0" + data[i + 1 :],
            data[:i] + b"\xff" + data[i:],
            data[:i] + b"9" + data[i + 1 :],
            data[: i // 2] + data[i:],
            rng.choice([b"", b"null", b"{}", b"[]", b"NaN", b"\n", DEEP]),
        ]
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_file_is_told_or_of_no_matter(command, here, quick, capsys):
    rng = random.Random(command)
    expected = done(command, capsys)
    assert expected[0] == 0, expected
    refused = 0
    for path in READ[command]:
        whole = (here / path).read_bytes()
        for _ in range(30):
            data = changed(whole, rng)
            (here / path).write_bytes(data)
            code, out, told = done(command, capsys)
            if code == 0:
                assert (out, told) == expected[1:], (path, data)
                continue
            refused += 1
            assert code == 2, (path, data)
            assert len(told.splitlines()) == 1, told
            assert told.startswith("pgjax: "), told
            assert names(told, path), (path, told)
        (here / path).write_bytes(whole)
    assert refused > 10 * len(READ[command])


def replaced(data, rng):
    """JSON data with another value, or none, at some place."""
    places = []

    def walk(x):
        for key in x if isinstance(x, dict) else range(len(x)):
            places.append((x, key))
            if isinstance(x[key], dict | list):
                walk(x[key])

    walk(data)
    x, key = rng.choice(places)
    if rng.random() < 0.2:
        del x[key]
    else:
        x[key] = rng.choice(VALUES)
    return data


@pytest.mark.parametrize("command", COMMANDS)
def test_other_values_and_types_are_told_or_taken(command, here, quick, capsys):
    rng = random.Random(command)
    for path in READ[command]:
        if not path.endswith("n"):  # JSON
            continue
        whole = json.loads((here / path).read_text())
        summary = (here / path).with_name("summary.json")
        for name in ("sha256", "files"):  # as someone does who edits it
            whole.pop(name, None)
        if summary.exists():
            loose = json.loads(summary.read_text())
            kept = {k: x for k, x in loose.items() if k not in ("sha256", "files")}
            summary.write_text(json.dumps(kept))
        for _ in range(40):
            data = replaced(json.loads(json.dumps(whole)), rng)
            (here / path).write_text(json.dumps(data))
            code, _, told = done(command, capsys)
            if code != 0:
                assert code == 2, (path, data)
                assert len(told.splitlines()) == 1, told
                assert told.startswith("pgjax: "), told
                assert names(told, path), (path, told)
        (here / path).write_text(json.dumps(whole))


def directory(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def loop(path):
    path.unlink()
    path.symlink_to(path)


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("strange", [directory, pipe, loop, device])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_told(command, strange, here, quick, capsys):
    for path in READ[command]:
        saved = (here / path).read_bytes()
        strange(here / path)
        code, _, told = done(command, capsys)
        if "_CHECKPOINT" not in path:  # without it, there is no checkpoint to look at
            assert code == 2, (path, told)
            assert names(told, path), told
        if (here / path).is_dir():
            (here / path).rmdir()
        else:
            (here / path).unlink()
        (here / path).write_bytes(saved)


def test_what_is_too_long_is_not_read(here, quick, capsys):
    with (here / "run" / "config.json").open("ab") as file:
        file.truncate(2**40)  # all but its beginning takes no room
    code, _, told = done("compare", capsys)
    assert code == 2
    assert "run/config.json is damaged: it is longer than" in told


def test_a_digit_is_enough(here, quick, capsys):
    for path in ("run/summary.json", "run/metrics.csv", "run/config.json"):
        data = (here / path).read_bytes()
        i = max(i for i, x in enumerate(data) if x in b"12345678")
        (here / path).write_bytes(data[:i] + b"9" + data[i + 1 :])
        code, _, told = done("compare", capsys)
        assert code == 2
        assert path in told
        assert "restore it" in told
        (here / path).write_bytes(data)


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["settings"].update(seed=3), "seed 0 (now 3)"),
        (lambda r: r["settings"].update(learning_rate=0.5), "learning_rate 0.01 (now"),
        (lambda r: r["settings"].update(steps=100), "steps 200 (now 100)"),
        (lambda r: r["settings"].update(gamma=0.5), "gamma 0.99 (n"),
        (lambda r: r.update(log=["none"]), "log [] (now ['none'])"),
        (
            lambda r: r["settings"].update(steps=999, anneal_learning_rate=True),
            "anneal_learning_rate False (now True)",
        ),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(change, says, here, quick, capsys):
    edit(here / "stopped" / "config.json", change)
    code, _, told = done("resume", capsys)
    assert code == 2
    assert "config.json" in told
    assert says in told
    assert "restore config.json, or start another run" in told


def test_a_run_goes_on_with_more_steps_or_with_checkpoints_that_do_not_say(
    here, quick, capsys
):
    edit(here / "stopped" / "config.json", lambda r: r["settings"].update(steps=300))
    assert done("resume", capsys)[0] == 0
    for path in (here / "stopped").glob("**/_CHECKPOINT_METADATA"):
        edit(path, lambda record: record.update(custom_metadata={"format": 1}))
    edit(here / "stopped" / "config.json", lambda r: r["settings"].update(seed=3))
    assert done("resume", capsys)[0] == 0  # as before there were settings in it


def test_a_checksum_is_of_the_content_not_of_the_layout():
    assert digest({"a": 1, "b": [1.5]}) == digest(json.loads('{"b":[1.5],  "a":1}'))
    assert digest({"a": 1}) != digest({"a": 2})
