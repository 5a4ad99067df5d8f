"""Signals at any moment: what was trained is saved, and the run goes on from there."""

import os
import shutil
import signal
from concurrent.futures import Future

import pytest
from turns import slow

import pgjax as pg
from experiments.faults import differences
from pgjax.app.cli import main
from pgjax.app.runs import compiled_programs, host_loop, hosts, session
from pgjax.app.runs.signals import ENDING, wait

TINY = ["--seeds", "1", "--num-envs", "2", "--hidden", "4", "--eval-episodes", "2"]
PYTHON = {"seeds": 1, "num_envs": 2, "hidden": (4,), "steps": 200, "quiet": True}
TRAIN = ["train", *TINY, "--steps", "200"]
SWEEP = ["sweep", "ppo", *TINY, "--num-steps", "8", "--steps", "32"]
SWEEP += ["--preset", "general", "--hidden", "4", "5"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*TRAIN, "--out", str(folder / "train")]) == 0
    assert main([*SWEEP, "--out", str(folder / "sweep")]) == 0
    return folder


def sent(number, then, first=1, before=None):
    """A function that is sent a signal when it is called first, or later."""
    calls = []

    def act(*arguments, **options):
        calls.append(arguments)
        if len(calls) < first:
            return before(*arguments, **options)
        if len(calls) == first:
            os.kill(os.getpid(), number)
        return then(*arguments)

    return act


def waits(*arguments):
    """As what runs for ever, and hears signals."""
    wait(Future(), arguments[-1])


@pytest.mark.parametrize("number", ENDING)
def test_the_final_evaluation_can_be_left(number, whole, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run 1"
    with monkeypatch.context() as patch:
        patch.setattr(host_loop, "evaluate_agents", sent(number, waits))
        assert main([*TRAIN, "--out", str(run)]) == 128 + number
    errors = capfd.readouterr().err
    assert session.STOPPING in errors
    assert (
        f"all training is saved; to go on:\n    pgjax train --resume '{run}'" in errors
    )
    assert not (run / "summary.json").exists()
    assert main(["train", "--resume", str(run)]) == 0
    assert differences(whole / "train", run) == []


@pytest.mark.parametrize("number", ENDING)
def test_compiling_can_be_left_and_leaves_nothing(
    number, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    monkeypatch.setattr(session, "compile_programs", sent(number, waits))
    assert main([*TRAIN, "--quiet", "--out", str(run)]) == 128 + number
    told = "stopped before anything was trained; nothing was saved"
    assert capsys.readouterr().err == f"pgjax: {told}\n"
    assert not run.exists()
    monkeypatch.setattr(session, "compile_programs", sent(number, waits))
    with pytest.raises(KeyboardInterrupt, match=f"^{told}$") as raised:
        pg.app.train(**PYTHON, out=run)
    assert type(raised.value) is KeyboardInterrupt
    assert raised.value.__suppress_context__
    assert not run.exists()


def test_a_run_stopped_while_it_compiles_again_tells_how_to_go_on(
    whole, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run 1"
    shutil.copytree(whole / "train", run)
    more = ["--seeds", "2", "--quiet"]
    monkeypatch.setattr(session, "compile_programs", sent(signal.SIGTERM, waits))
    assert main(["train", "--resume", str(run), *more]) == 128 + signal.SIGTERM
    told = f"pgjax: stopped; to go on: pgjax train --resume '{run}'\n"
    assert capsys.readouterr().err.endswith(told)  # after a note on several devices
    monkeypatch.setattr(session, "compile_programs", sent(signal.SIGTERM, waits))
    with pytest.raises(KeyboardInterrupt, match=r"to go on: pgjax.app.train\(resume='"):
        pg.app.train(resume=run, seeds=2, quiet=True)


@pytest.mark.parametrize("number", [ENDING[0], *map(slow, ENDING[1:])])
def test_drawing_is_finished(number, tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr(session, "print_outcome", sent(number, lambda *_: None))
    assert main([*TRAIN, "--out", str(run)]) == 0
    assert (run / "summary.json").is_file()


def test_a_sweep_that_was_evaluating_goes_on(whole, tmp_path, monkeypatch, capfd):
    number = signal.SIGHUP
    out = tmp_path / "sweep 1"
    with monkeypatch.context() as patch:
        patch.setattr(host_loop, "evaluate_agents", sent(number, waits))
        assert main([*SWEEP, "--out", str(out)]) == 128 + number
    errors = capfd.readouterr().err
    assert "all training is saved" in errors
    assert f"pgjax train --resume '{out}'" in errors
    assert (out / "metrics.csv").exists()  # of the batch that was trained
    assert not (out / "params.npz").exists()
    assert main(["train", "--resume", str(out)]) == 0
    assert differences(whole / "sweep", out) == []


def test_a_sweep_that_was_compiling_goes_on(tmp_path, monkeypatch, whole):
    out = tmp_path / "sweep"
    compile_first = session.compile_programs
    with monkeypatch.context() as patch:
        act = sent(signal.SIGHUP, waits, first=2, before=compile_first)
        patch.setattr(session, "compile_programs", act)
        assert main([*SWEEP, "--out", str(out)]) == 129
    assert main(["sweep", "--resume", str(out)]) == 0
    assert differences(whole / "sweep", out) == []


def test_a_hang_up_is_not_heard_under_nohup(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        evaluate = host_loop.evaluate_agents
        act = sent(signal.SIGHUP, evaluate)
        monkeypatch.setattr(host_loop, "evaluate_agents", act)
        assert main([*TRAIN, "--out", str(tmp_path / "run")]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_evaluation_hears_signals_only_where_nobody_waits_for_it(monkeypatch):
    """The others of several processes would be left alone in it."""
    seen = []

    class Programs:
        inputs = (None, {})
        by_agent = None
        slots = compiled_programs.Slots.deal(1, 1)
        fill = staticmethod(lambda x: x)

        def evaluate(self, *_):
            seen.append(True)
            return (), hosts.np.zeros((1, 2, 3))

    class Agents:
        seeds = hosts.np.arange(1)

    monkeypatch.setattr(host_loop.hosts, "several", lambda: True)
    returns = host_loop.evaluate_agents(Agents, Programs(), {}, [signal.SIGTERM])
    assert returns.shape == (1, 2, 3)
    monkeypatch.setattr(host_loop.hosts, "several", lambda: False)
    with pytest.raises(KeyboardInterrupt):
        host_loop.evaluate_agents(Agents, Programs(), {}, [signal.SIGTERM])
    assert host_loop.evaluate_agents(Agents, Programs(), {}, []).shape == (1, 2, 3)
