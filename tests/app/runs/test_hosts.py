"""Several processes on this machine, as on a cluster: the same numbers, one writer."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from quick_compilation import FLAGS
from turns import slow

from experiments.faults import differences, newest
from pgjax.app.runs import hosts

TINY = ["--seeds", "4", "--num-envs", "4", "--hidden", "4", "--eval-episodes", "2"]
CHUNKED = ["--updates-per-chunk", "2", "--checkpoint-every", "0"]
TRAIN = ["train", "reinforce", *TINY, *CHUNKED, "--steps", "4000"]
TRAIN += ["--eval-every", "1500"]
SWEEP = ["sweep", "a2c", *TINY, *CHUNKED, "--num-steps", "8", "--preset", "general"]
SWEEP += ["--learning-rate", "0.001", "0.01", "--steps", "320"]
PATIENCE = 240  # seconds; a process that hangs fails the test


def start(*arguments, devices=1):
    return subprocess.Popen(
        [sys.executable, "-m", "pgjax", *map(str, arguments)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "XLA_FLAGS": FLAGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_all(count, *arguments):
    return start_each([arguments] * count, [1] * count)


def start_each(commands, devices):
    """Processes of one cluster, which may be told different things."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    together = ["--distributed", "--coordinator", coordinator]
    together += ["--num-processes", len(commands)]
    return [
        start(*command, *together, "--process-id", i, devices=devices[i])
        for i, command in enumerate(commands)
    ]


def finish(processes):
    """Exit codes and what each printed; nobody is left behind."""
    try:
        told = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], told


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run that two processes make, in one with two devices."""
    out = tmp_path_factory.mktemp("alone") / "run"
    codes, told = finish([start(*TRAIN, "--out", out, devices=2)])
    assert codes == [0], told
    return out


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("victim", [slow(0), 1])
def test_when_a_process_is_killed_the_others_end_and_the_run_goes_on(
    victim, alone, tmp_path
):
    out = tmp_path / "run"
    processes = start_all(2, *TRAIN, "--out", out)
    wait_until(lambda: newest(out) >= 2)
    processes[victim].send_signal(signal.SIGKILL)
    start_of_silence = time.monotonic()
    codes, told = finish(processes)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] not in (0, -signal.SIGKILL), told
    assert time.monotonic() - start_of_silence < 90
    if codes[1 - victim] == 75:  # rather than by JAX's own watchdog
        assert "lost another process" in told[1 - victim][1]
    assert not (out / "summary.json").exists()
    resume = ["train", "--resume", out, *CHUNKED[2:]]
    together = start_all(2, *resume) if victim else [start(*resume, devices=2)]
    codes, told = finish(together)
    assert codes == [0] * len(together), told
    assert "going on after" in told[0][1]
    assert differences(alone, out) == []


def test_a_signal_to_one_stops_all_after_the_same_chunk(alone, tmp_path):
    out = tmp_path / "run"
    processes = start_all(2, *TRAIN, "--out", out)
    wait_until(lambda: newest(out) >= 2)
    processes[1].send_signal(signal.SIGTERM)
    codes, told = finish(processes)
    assert codes == [143, 143], told
    assert f"pgjax train --resume {out}" in told[0][1]
    assert "Traceback" not in told[0][1] + told[1][1]


@pytest.mark.slow
def test_a_sweep_over_four_processes_is_the_sweep_of_one(tmp_path):
    out, whole = tmp_path / "sweep", tmp_path / "whole"
    codes, told = finish(start_all(4, *SWEEP, "--out", out))
    assert codes == [0] * 4, told
    for stdout, _ in told[1:]:  # one speaks; Gloo tells of its connections by itself
        assert not [x for x in stdout.splitlines() if not x.startswith("[Gloo]")]
    codes, told = finish([start(*SWEEP, "--out", whole, devices=4)])
    assert codes == [0], told
    assert differences(whole, out) == []


@pytest.mark.slow
def test_environments_may_be_split_over_processes(tmp_path):
    out, whole = tmp_path / "split", tmp_path / "whole"
    command = [*TRAIN, "--seeds", "1", "--env-devices", "2"]
    codes, told = finish(start_all(2, *command, "--out", out))
    assert codes == [0, 0], told
    codes, told = finish([start(*command, "--out", whole, devices=2)])
    assert codes == [0], told
    ours, theirs = (pd.read_csv(run / "metrics.csv") for run in (out, whole))
    # Sums over devices: by another road, in another order.
    np.testing.assert_allclose(ours.iloc[:2], theirs.iloc[:2], rtol=1e-4)
    assert ours.env_steps.iloc[-1] >= 4000


@pytest.mark.parametrize(
    ("commands", "devices", "says"),
    [
        ([TRAIN, TRAIN], [1, 2], "as many devices, and there are 1 in process 0, 2 in"),
        ([TRAIN, SWEEP], [1, 1], "the command is train in process 0 and sweep in"),
        ([TRAIN, [*TRAIN, "--seed", "1"]], [1, 1], "seed is not given in process 0"),
    ],
)
def test_processes_that_do_not_fit_together_all_say_so(
    commands, devices, says, tmp_path
):
    out = tmp_path / "run"
    commands = [[*command, "--out", out] for command in commands]
    codes, told = finish(start_each(commands, devices))
    assert codes == [2, 2], told
    for _, errors in told:
        assert says in errors
        assert "Traceback" not in errors
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--num-processes", "2"], "--num-processes goes with --distributed"),
        (
            ["--distributed", "--process-id", "1"],
            "--coordinator, --num-processes and --process-id go together",
        ),
        (["--distributed"], "cannot join the other processes"),
        (["--devices", "99"], "--devices 99, but there are 1"),
        (["--devices", "0"], "--devices must be at least 1, got 0"),
        (["--env-devices", "2"], "--env-devices 2 must divide the number of devices"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(arguments, says, tmp_path):
    out = tmp_path / "run"
    (code,), ((_, errors),) = finish([start(*TRAIN, *arguments, "--out", out)])
    assert code == 2
    assert says in errors
    assert "Traceback" not in errors
    assert not out.exists()


def test_the_largest_of_all_processes_is_exact_beyond_32_bits(monkeypatch):
    def gather(x):
        assert x.dtype == np.uint8  # wider ones JAX would cut
        other = np.array([2**40 + 1, -7], np.int64).view(np.uint8)
        return np.stack([x, other])

    monkeypatch.setattr(hosts, "several", lambda: True)
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
    assert hosts.largest(2**40, 2**31) == [2**40 + 1, 2**31]
