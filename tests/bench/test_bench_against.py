"""A/B in turns: with workers that only pretend, and one tiny real one."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import pgjax
from pgjax.app.errors import UsageError
from pgjax.bench import against, comparison, processes, targets
from pgjax.bench.processes import Repetition
from pgjax.bench.workers import pgjax_worker, protocol

SPEC = against.Spec(
    algorithm="reinforce",
    env="CartPole-v1",
    num_envs=2,
    num_steps=None,
    num_agents=1,
    hidden=(4,),
    activation="relu",
    initializer="torch",
    options={},
    learning_rate=0.01,
    updates=1,
)
PPO = SPEC._replace(algorithm="ppo", num_steps=8)

# Notes every "go" in a file that both workers share, amid noise.
FAKE = """
import json, sys
spec = json.loads(sys.argv[1])
print("a library says hello")
print(json.dumps({"ready": True, "compile_seconds": 1.5, "versions": {"fake": "1"},
    "what": spec["name"]}), flush=True)
for line in sys.stdin:
    with open(spec["log"], "a") as log:
        log.write(spec["name"])
    print("[1, 2]")
    print(json.dumps({"seconds": spec["seconds"], "steps": 100}), flush=True)
"""


@pytest.fixture
def fake(tmp_path):
    """Starts a worker that runs the given code."""

    def start(code=FAKE, **spec):
        script = tmp_path / "fake.py"
        script.write_text(code)
        spec = {"log": str(tmp_path / "log"), "name": "A", "seconds": 0.5} | spec
        return processes.started(script, spec, name="fake", python=sys.executable)

    return start


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_turns_are_abba_and_noise_is_no_answer(fake, tmp_path):
    heard = []
    with fake(name="A") as a, fake(name="B", seconds=0.25) as b:
        answers = [processes.next_answer(worker) for worker in (a, b)]
        rounds = against.take_turns((a, b), 3, lambda *news: heard.append(news))
    assert (tmp_path / "log").read_text() == "ABBAAB"
    assert rounds == [(Repetition(0.5, 100), Repetition(0.25, 100))] * 3
    assert heard[-1] == (2, 3, "round 3 of 3")
    result = comparison.summarize(answers, rounds)
    assert (result.ours.what, result.theirs.what) == ("A", "B")
    assert result.ours.speed == (200.0,) * 5
    assert result.ratio.estimate == 0.5


def test_a_workers_error_is_told(fake):
    code = 'print(\'{"error": "ValueError: no such env"}\')'
    with fake(code) as worker, pytest.raises(UsageError, match="fake failed: ValueErr"):
        processes.next_answer(worker)


def test_a_worker_that_dies_is_told_with_its_last_words(fake):
    with fake(FAKE + "\n    sys.exit('out of luck')") as worker:
        processes.next_answer(worker)
        processes.train_once(worker)
        with pytest.raises(UsageError, match="exit code 1\nout of luck"):
            processes.train_once(worker)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_worker_outlives_an_exception(fake, error):
    with pytest.raises(error), fake() as worker:  # noqa: PT012
        processes.next_answer(worker)
        assert alive(worker.process.pid)
        raise error
    assert not alive(worker.process.pid)


SERVED = """
import os, sys, time
sys.path.insert(0, {workers!r})
from protocol import Work, serve

def build(spec):
    print("noise from Python")
    os.system("echo noise from a child")
    about = dict(compile_seconds=0.0, versions={{}}, what="served")
    return Work(about, lambda: time.sleep(0.2), lambda: 7)

serve(build)
"""


def test_what_workers_share_keeps_answers_apart_and_times_no_reset(fake):
    with fake(SERVED.format(workers=str(against.WORKERS))) as worker:
        assert worker.process.stdout.readline().startswith('{"ready": true')
        seconds, steps = processes.train_once(worker)
        assert (seconds < 0.1, steps) == (True, 7)
        worker.process.stdin.close()  # as when the parent is gone
        assert worker.process.wait(10) == 0


@pytest.mark.parametrize("busy", ["building", "waiting"])
def test_workers_end_with_a_parent_that_is_killed(tmp_path, busy):
    script = tmp_path / "fake.py"
    served = SERVED.format(workers=str(against.WORKERS))
    if busy == "building":
        served = served.replace("return Work", "time.sleep(60)\n    return Work")
    script.write_text(served)
    code = f"""
import pathlib, sys, time
from pgjax.bench import processes
with processes.started(pathlib.Path({str(script)!r}), {{}}, name="fake",
        python=sys.executable) as worker:
    if {busy == "waiting"}:
        processes.next_answer(worker)
    print(worker.process.pid, flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_the_ratio_is_that_of_medians():
    speeds = np.array([[10.0, 2.0], [30.0, 6.0], [20.0, 5.0]])
    assert comparison.ratio(speeds) == (20.0 / 5.0, -math.inf, math.inf)


def test_the_ratios_interval():
    # What slows both down by the same factor leaves no doubt, if both are drawn ...
    slowness = np.arange(1.0, 9.0)[:, None]
    np.testing.assert_allclose(comparison.ratio([6.0, 3.0] / slowness), 2.0)
    # ... and without a difference, 1 lies within.
    speeds = np.random.default_rng(1).lognormal(0.0, 0.2, (20, 2))
    estimate, low, high = comparison.ratio(speeds)
    assert low < estimate < high
    assert low < 1 < high
    assert comparison.ratio(speeds) == (estimate, low, high)  # drawn the same again


def one(speeds=(1.0, 2.0, 3.0), versions=None):
    answer = {"what": "x", "versions": versions or {}, "compile_seconds": 2.0}
    rounds = [(Repetition(1.0, s), Repetition(2.0, s)) for s in speeds]
    return comparison.summarize([answer, answer | {"versions": {"b": "2"}}], rounds)


def test_a_comparison_is_json_and_a_table():
    result = one(versions={"a": "1"})
    data = json.loads(json.dumps(comparison.to_json(result), allow_nan=False))
    assert data["ratio"] == {"estimate": 2.0, "low": None, "high": None}
    assert data["theirs"]["speed"]["median"] == 1.0
    assert data["ours"]["repetitions"][0] == {"seconds": 1.0, "steps": 1.0}
    table = {name: cells for name, *cells in comparison.rows(result)}
    assert table["all"] == ["1 to 3", "0.5 to 1.5"]
    assert table["middle half"] == ["1.5 to 2.5", "0.75 to 1.25"]
    assert (table["a"], table["b"]) == (["1", "-"], ["-", "2"])
    assert "too few rounds" in comparison.describe(result)


@pytest.mark.parametrize(
    ("speed", "text"),
    [(120.4, "120"), (1234.0, "1.23 k"), (999_900.0, "1.00 M"), (2.5e8, "250 M")],
)
def test_speeds_have_three_digits(speed, text):
    assert comparison.short(speed) == text


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository with two revisions of a package, and changes, as if it ran."""
    package = tmp_path / "checkout" / "pgjax"

    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *who, *arguments], cwd=package.parent, check=True)

    package.mkdir(parents=True)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "no package yet")
    for text in ("first", "second"):
        (package / "__init__.py").write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
    (package / "__init__.py").write_text("third")
    monkeypatch.setattr(pgjax, "__file__", str(package / "__init__.py"))
    return package.parent


@pytest.mark.parametrize(
    ("target", "text"), [("HEAD~1", "first"), ("HEAD", "second"), (None, "third")]
)
def test_revisions_are_unpacked(checkout, tmp_path, target, text):
    found = targets.this() if target is None else targets.resolve(target)
    (tmp_path / "copy").mkdir()
    targets.unpack(found, tmp_path / "copy")
    assert (tmp_path / "copy" / "pgjax" / "__init__.py").read_text() == text
    assert found.name.endswith("with changes") == (target is None)


def test_targets_that_are_none(checkout, tmp_path, monkeypatch):
    for target in ("no-such", "--all", "HEAD~9"):
        with pytest.raises(UsageError, match="neither a directory nor a revision"):
            against.compare(SPEC, target, repetitions=1)
    with pytest.raises(UsageError, match="no pgjax in"):
        targets.resolve(str(tmp_path))
    with pytest.raises(UsageError, match="no package pgjax at"):
        targets.unpack(targets.resolve("HEAD~2"), tmp_path)
    (tmp_path / "pgjax").mkdir()
    monkeypatch.setattr(pgjax, "__file__", str(tmp_path / "pgjax" / "__init__.py"))
    with pytest.raises(UsageError, match="not run from a git checkout"):
        targets.resolve("HEAD")


def test_no_round_is_no_comparison():
    with pytest.raises(UsageError, match="at least 1"):
        against.compare(SPEC, "sb3", repetitions=0)


def test_sb3_that_is_missing(monkeypatch):
    monkeypatch.setattr(against, "installed", lambda module, python: False)
    with pytest.raises(UsageError, match=r"pip install 'pgjax-rl\[bench\]'"):
        against.compare(PPO, "sb3", repetitions=1)


@pytest.mark.parametrize(
    ("spec", "target", "message"),
    [
        (SPEC, "sb3", "has no reinforce"),
        (PPO._replace(num_agents=2), "sb3", "one agent at a time"),
        (PPO._replace(num_steps=None), "sb3", "one agent at a time"),
        (PPO._replace(env="Acrobot-v1"), "sb3-best", "tuned for CartPole-v1 only"),
    ],
)
def test_what_sb3_cannot_do(monkeypatch, spec, target, message):
    monkeypatch.setattr(against, "installed", lambda module, python: True)
    with pytest.raises(UsageError, match=message):
        against.check(spec, target)


@pytest.mark.parametrize("python", [sys.executable, os.path.realpath(sys.executable)])
def test_installed(python):
    assert against.installed("json", python)
    assert not against.installed("no_such_module", python)


def test_a_real_worker_against_a_checkout(monkeypatch):
    flags = os.environ.get("XLA_FLAGS", "")  # of the workers: they compile sooner
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_backend_optimization_level=0")
    root = Path(pgjax.__file__).parent.parent
    result = against.compare(SPEC, str(root), repetitions=1)
    for side in (result.ours, result.theirs):
        assert side.what.startswith(f"pgjax {pgjax.__version__} (")
        assert side.compile_seconds > 0
        assert 16 <= side.repetitions[0].steps <= 1000  # two episodes
    assert result.ours.repetitions[0].steps == result.theirs.repetitions[0].steps


def test_a_worker_that_finds_another_pgjax(tmp_path):
    root = Path(pgjax.__file__).parent.parent
    spec = SPEC._asdict() | {"directory": str(tmp_path), "revision": "x"}
    with (
        processes.started(
            against.WORKERS / "pgjax_worker.py",
            spec,
            name="other",
            python=sys.executable,
            path=root,
        ) as worker,
        pytest.raises(UsageError, match="found another pgjax first"),
    ):
        processes.next_answer(worker)


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_sb3(algorithm):
    pytest.importorskip("stable_baselines3")
    spec = PPO._replace(algorithm=algorithm)
    result = against.compare(spec, "sb3", repetitions=1)
    assert "DummyVecEnv of 2" in result.theirs.what
    assert result.theirs.repetitions[0].steps % 16 == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "minibatch"),
        ({"normalize_over": "batch"}, "batch"),
        ({"normalize_advantage": False, "normalize_over": "batch"}, "none"),
    ],
)
def test_a_revision_before_is_given_the_names_that_it_knows(options, expected):
    def ppo(network, optimizer, *, advantage_normalization="minibatch"):
        made = types.SimpleNamespace(complete_episodes=False)
        made.normalization = advantage_normalization
        return made

    spec = {"algorithm": "ppo", "options": options, "num_steps": 8}
    before = types.SimpleNamespace(ppo=ppo)
    algorithm = pgjax_worker.algorithm_of(before, spec, None, None)
    assert algorithm.normalization == expected


def test_a_repetition_begins_after_the_updates_that_come_before():
    """Each adds one to the state, and makes as many steps as the state says."""

    def run(state):
        return state + 1, {"env_steps": state}

    spec = {"trained": 5, "updates": 2}
    work = protocol.compiled_work(run, jnp.int32(10), spec, what="counting")
    assert [work.train(), work.train()] == [13, 13]
