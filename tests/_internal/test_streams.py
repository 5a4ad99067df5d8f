"""Standard streams that are closed, full or broken end nothing, and take no file."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys

import pytest

import pgjax
from pgjax._internal.starting import is_command
from pgjax.app import cli

PACKAGE = pathlib.Path(pgjax.__file__).parent
STREAMS = PACKAGE / "_internal" / "streams.py"
# What a shell does to a stream, and what is said of what was written to it.
STATES = {
    "closed": ("{fd}>&-", "Bad file descriptor"),
    "full": ("{fd}>/dev/full", "No space left on device"),
    "broken": ("{fd}>&{broken}", "Broken pipe"),
    "read only": ("{fd}</dev/null", "Bad file descriptor"),
    "file": ("{fd}>written", None),
}


def shell(command, folder, state, *fds, **options):
    """Runs a command with some of its streams in a state; the others are kept."""
    reader, writer = os.pipe()
    os.close(reader)
    redirects = [STATES[state][0].format(fd=fd, broken=writer) for fd in fds]
    line = " ".join([shlex.join(map(str, command)), *redirects])
    options = {"timeout": 120, "capture_output": True, "text": True, **options}
    try:
        return subprocess.run(
            ["bash", "-c", line], cwd=folder, pass_fds=[writer], **options
        )
    finally:
        os.close(writer)


LOADED = """
import runpy, sys, types
streams = types.SimpleNamespace(**runpy.run_path(sys.argv[1]))  # without JAX
"""
CHILD = (
    LOADED
    + """
import logging, os, warnings

streams.guard()
with open("results", "w") as file:
    assert file.fileno() > 2, file.fileno()
    file.write("whole")
    for _ in range(3):
        print("x" * 100_000, "\\u00b7 \\udcff", flush=True)
        print("y" * 100_000, file=sys.stderr, flush=True)
        logging.warning("of a library")
        warnings.warn("of another")
        os.system("echo of a child; echo of a child >&2")
with open("failures", "w") as file:
    for stream in (sys.stdout, sys.stderr):
        failure = streams.failure(stream)
        print(failure and failure.strerror, file=file)
"""
)


@pytest.mark.parametrize("fd", [1, 2])
@pytest.mark.parametrize("state", STATES)
def test_work_goes_on_whatever_its_streams_are(state, fd, tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    done = shell([sys.executable, "child.py", STREAMS], tmp_path, state, fd)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results").read_text() == "whole"
    failures = (tmp_path / "failures").read_text().splitlines()
    assert failures[fd - 1] == str(STATES[state][1])
    assert failures[2 - fd] == "None"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_stream_that_is_full_for_now_is_waited_for(tmp_path):
    """Somebody has made the pipe non-blocking, as some terminals' children do."""
    code = (
        LOADED + "import os\n"
        "os.set_blocking(1, False); streams.guard(); print('x' * 1_000_000)\n"
        "assert streams.failure(sys.stdout) is None"
    )
    done = shell([sys.executable, "-c", code, STREAMS], tmp_path, "file")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "x" * 1_000_000 + "\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_cannot_be_encoded_is_written_as_an_escape(encoding, tmp_path):
    code = (
        LOADED + "streams.guard(); print('a\\u2026\\udcff')\n"
        "print('b\\udcff', file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", code, STREAMS]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    point = "\u2026".encode(encoding, "backslashreplace")
    assert done.stdout == b"a" + point + b"\\udcff\n"
    assert done.stderr == b"b\\udcff\n"


@pytest.mark.parametrize(
    ("argv", "orig_argv", "expected"),
    [
        (["/usr/bin/pgjax", "train"], ["python", "/usr/bin/pgjax", "train"], True),
        (["-m", "train"], ["python", "-m", "pgjax", "train"], True),
        (
            ["-m", "train"],
            ["python", "-X", "dev", "-m", "pgjax.app.cli", "train"],
            True,
        ),
        (["-m", "train"], ["python", "-mpgjax", "train"], True),
        (["-m", "train"], ["python", "-Im", "pgjax", "train"], True),
        (["-m", "train"], ["python", "-Wx", "-W", "-mx", "-m", "pgjax"], True),
        (["-m"], ["python", "--check-hash-based-pycs", "always", "-mpgjax"], True),
        (["-m", "pgjax"], ["python", "-m", "pytest", "pgjax"], False),
        (["-m", "-mpgjax"], ["python", "-Xdev", "-m", "pytest", "-mpgjax"], False),
        (["-c"], ["python", "-c", "import pgjax"], False),
        (["study.py", "pgjax"], ["python", "study.py", "pgjax"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_the_command_is_told_from_another_program(
    argv, orig_argv, expected, monkeypatch
):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert is_command() is expected


JAX = """
import os, signal, time
with open("opened", "w") as file:
    file.write(str(file.fileno()))
{act}
"""


def with_another_jax(folder, act):
    """What stands in for a long import."""
    (folder / "jax").mkdir()
    (folder / "jax" / "__init__.py").write_text(JAX.format(act=act))
    return os.environ | {"PYTHONPATH": f"{folder}:{PACKAGE.parent}"}


def test_ctrl_c_during_the_imports_says_nothing(tmp_path):
    environment = with_another_jax(
        tmp_path, "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    )
    command = [sys.executable, "-m", "pgjax", "envs"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGINT  # in a shell, 130
    assert (done.stdout, done.stderr) == (b"", b"")


def test_what_the_imports_open_is_no_standard_stream(tmp_path):
    environment = with_another_jax(tmp_path, "os._exit(0)")
    command = [sys.executable, "-m", "pgjax", "envs"]
    done = shell(command, tmp_path, "closed", 0, 1, 2, env=environment)
    assert done.returncode == 0
    assert int((tmp_path / "opened").read_text()) > 2


@pytest.mark.parametrize("command", ["compare", "evaluate", "envs", "--help"])
@pytest.mark.parametrize("state", STATES)
def test_where_the_output_is_the_result_it_must_arrive(state, command, monkeypatch):
    code, errors = code_and_errors(state, command, monkeypatch)
    why = STATES[state][1]
    lost = state not in ("file", "broken")  # `head` has seen enough
    assert code == (2 if lost else 0)
    assert errors == ([f"pgjax: cannot write to stdout: {why}"] if lost else [])


@pytest.mark.parametrize("command", sorted(cli.RESULTS_IN_FILES))
@pytest.mark.parametrize("state", STATES)
def test_where_files_are_the_result_the_output_is_extra(state, command, monkeypatch):
    code, errors = code_and_errors(state, command, monkeypatch)
    assert code == 0
    assert len(errors) == (state not in ("file", "broken"))


def code_and_errors(state, command, monkeypatch):
    """What is made of an output in this state, at the end of a command."""

    why = STATES[state][1]
    failures = {name: OSError(0, why) for name in STATES} | {
        "file": None,
        "broken": BrokenPipeError(32, why),
    }
    told = []
    monkeypatch.setattr(cli, "failure", lambda stream: failures[state])
    monkeypatch.setattr(cli, "_complain", lambda text: told.append(f"pgjax: {text}"))
    return cli.code_of_output([command, "--out", "train"]), told


TINY = ["train", "--steps", "200", "--seeds", "1", "--num-envs", "2", "--hidden", "4"]
TINY += ["--eval-episodes", "2", "--out"]


@pytest.mark.parametrize("state", ["closed", "full", "broken"])
def test_training_that_nobody_hears_is_whole(state, tmp_path):
    command = [sys.executable, "-m", "pgjax", *TINY, "run"]
    done = shell(command, tmp_path, state, 0, 1, 2)
    assert done.returncode == 0
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"params.npz", "summary.json", "learning_curve.png"} <= files
    # What was printed is in none of them.
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith("seed,update,")
    assert b"cpu" not in (tmp_path / "run" / "metrics.csv").read_bytes()


@pytest.mark.parametrize("arguments", [["--version"], ["envs"]])
def test_a_full_disk_under_the_output_is_told(arguments, tmp_path):
    done = shell([sys.executable, "-m", "pgjax", *arguments], tmp_path, "full", 1)
    assert done.returncode == 2
    assert done.stderr == "pgjax: cannot write to stdout: No space left on device\n"
