"""What cannot be is refused in one line, and nothing that was there is touched."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from turns import slow

from pgjax.app.cli import main
from pgjax.app.runs.run_record import locked

TINY = ["--seeds", "2", "--num-envs", "4", "--hidden", "4", "--eval-episodes", "2"]
QUICK = ["--steps", "200", "--checkpoint-every", "0", "--quiet"]


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def unfinished(run):
    (run / "summary.json").unlink()
    for rows in run.glob("batches/*/rows.json"):
        rows.unlink()


def with_pickle(run):
    with np.load(run / "params.npz") as arrays:
        pickled = {name: np.full(x.shape, print, object) for name, x in arrays.items()}
    np.savez(run / "params.npz", **pickled)


def cut_checkpoints(run):
    unfinished(run)
    for file in run.glob("**/manifest.ocdbt"):
        cut(file)


def newer_checkpoints(run):
    unfinished(run)
    for path in run.glob("**/_CHECKPOINT_METADATA"):
        edit(path, lambda record: record["custom_metadata"].update(format=99))


def wider(run):
    """Its config is that of another run."""
    unfinished(run)
    edit(run / "config.json", lambda record: record["settings"].update(hidden=[5]))


def without_metrics(run):
    unfinished(run)
    (run / "batches" / "000" / "metrics.csv").unlink()


def short_metrics(run):
    unfinished(run)
    cut(run / "batches" / "000" / "metrics.csv")


def file_for_checkpoints(run):
    unfinished(run)
    shutil.rmtree(run / "batches" / "000" / "checkpoints")
    (run / "batches" / "000" / "checkpoints").write_text("no directory")


def without_checkpoints(run):
    shutil.rmtree(run / "batches" / "000" / "checkpoints")


def without_batches(run):
    shutil.rmtree(run / "batches")


def sweep_config(change):
    def damage(run):
        unfinished(run.parent / "sweep")
        edit(run.parent / "sweep" / "config.json", change)

    return damage


def config(change):
    return lambda run: edit(run / "config.json", change)


def nothing(run):
    pass


RESUME = ["train", "--resume", "run"]
NEW = ["train", *TINY, *QUICK, "--out", "new"]
# What happens to the run, the command, and what is said.
CASES = {
    "config cut": (lambda run: cut(run / "config.json"), RESUME, "is damaged"),
    "config empty": (lambda run: cut(run / "config.json", 0), RESUME, "is damaged"),
    "config binary": (
        lambda run: (run / "config.json").write_bytes(b"\xff\xfe\x00"),
        RESUME,
        "is damaged",
    ),
    "config newer": (config(lambda r: r.update(format=99)), RESUME, "has format 99"),
    "config without format": (config(lambda r: r.pop("format")), RESUME, "is damaged"),
    "config no object": (
        lambda run: (run / "config.json").write_text("[1]"),
        RESUME,
        "is damaged",
    ),
    "config unknown setting": (
        config(lambda r: r["settings"].update(surprise=1)),
        RESUME,
        "no option --surprise of reinforce",
    ),
    "config wrong type": (
        config(lambda r: r["settings"].update(learning_rate="0.1")),
        RESUME,
        "--learning-rate must be float, got '0.1'",
    ),
    "config impossible": (
        config(lambda r: r["settings"].update(seeds=-1)),
        RESUME,
        "--seeds must be at least 1, got -1",
    ),
    "no config": (
        lambda run: (run / "config.json").unlink(),
        RESUME,
        "is not a run directory: it has no config.json",
    ),
    "params cut": (
        lambda run: cut(run / "params.npz"),
        ["evaluate", "run"],
        "params.npz is damaged",
    ),
    "params gone": (
        lambda run: (run / "params.npz").unlink(),
        ["evaluate", "run"],
        "params.npz is missing",
    ),
    "params pickled": (
        with_pickle,
        ["evaluate", "run"],
        "does not fit the run's config: actor/params/Dense_0/bias is object",
    ),
    "params of another": (
        wider,
        ["evaluate", "run"],
        "does not fit the run's config",
    ),
    "summary cut": (
        lambda run: cut(run / "summary.json"),
        ["compare", "run"],
        "summary.json is damaged",
    ),
    "checkpoints cut": (cut_checkpoints, RESUME, "no whole checkpoint is left"),
    "checkpoints newer": (newer_checkpoints, RESUME, "has format 99, this pgjax reads"),
    "checkpoints of another": (
        wider,
        RESUME,
        "other settings than config.json has now: hidden [4] (now [5])",
    ),
    "checkpoints a file": (
        file_for_checkpoints,
        RESUME,
        "is not a directory of checkpoints",
    ),
    "metrics cut": (short_metrics, RESUME, "metrics.csv is damaged: it has"),
    "metrics gone": (without_metrics, RESUME, "metrics.csv is damaged: it has 0 bytes"),
    "config unknown logger": (
        config(lambda r: r.update(log=["paper"])),
        [*RESUME, "--steps", "999"],
        "--log must be one of none, parquet",
    ),
    "checkpoints gone": (
        without_checkpoints,
        [*RESUME, "--steps", "999"],
        "has nothing whole to go on from; nothing was overwritten",
    ),
    "sweep complete": (
        nothing,
        ["sweep", "reinforce", "--resume", "sweep"],
        "is complete: there is nothing to resume",
    ),
    "sweep of no agents": (
        sweep_config(lambda r: r.update(batches=[])),
        ["sweep", "--resume", "sweep"],
        "is of a version before 0.2.0",
    ),
    "sweep of some agents": (
        sweep_config(lambda r: r.update(batches=["0:2"])),
        ["sweep", "--resume", "sweep"],
        "its batches are not of its agents",
    ),
    "sweep of too many": (
        sweep_config(lambda r: r.update(batches=["0:99999999999"])),
        ["sweep", "--resume", "sweep"],
        "its batches are not of its agents",
    ),
    "sweep without its grid": (
        sweep_config(lambda r: r.pop("grid")),
        ["sweep", "--resume", "sweep"],
        "config.json is damaged",
    ),
    "export over a directory": (
        nothing,
        ["export", "run", "--out", "."],
        "Is a directory",
    ),
    "resume complete": (nothing, RESUME, "is complete: there is nothing to resume"),
    "resume other rate": (
        nothing,
        [*RESUME, "--learning-rate", "0.5"],
        "has other settings: --learning-rate 0.5 (the run: 0.01)",
    ),
    "resume two others": (
        nothing,
        [*RESUME, "--seeds", "1", "--gamma", "0.5"],
        "--seeds 1 (the run: 2, or more); --gamma 0.5 (the run: 0.99)",
    ),
    "resume other algorithm": (
        nothing,
        ["train", "a2c", "--resume", "run"],
        "--algorithm a2c (the run: reinforce)",
    ),
    "resume fewer steps": (
        nothing,
        [*RESUME, "--steps", "100"],
        "--steps 100 (the run: 200, or more)",
    ),
    "resume annealed": (
        config(lambda r: r["settings"].update(anneal_learning_rate=True)),
        [*RESUME, "--steps", "999"],
        "over which its learning rate falls to 0",
    ),
    "resume into": (nothing, [*RESUME, "--out", "new"], "was started, without --out"),
    "resume nothing": (
        nothing,
        ["train", "--resume", "nowhere"],
        "there is no such directory",
    ),
    "resume a run with values of its own rate": (
        nothing,
        ["sweep", "--resume", "run", "--learning-rate", "0.01", "0.1"],
        "has one --learning-rate, 0.01, compiled into its program",
    ),
    "more seeds without batches": (
        without_batches,
        [*RESUME, "--seeds", "3"],
        "has nothing whole to go on from; nothing was overwritten",
    ),
    "more seeds than there can be": (
        nothing,
        [*RESUME, "--seeds", "9999999"],
        "--seeds must be at most",
    ),
    "resume another sweep": (
        lambda run: unfinished(run.parent / "sweep"),
        ["sweep", "--resume", "sweep", "--gamma", "0.9", "0.95"],
        "--gamma 0.9 0.95 (the run: 0.9 0.99; give those to add with all of these",
    ),
    "rate nan": (nothing, [*NEW, "--learning-rate", "nan"], "--learning-rate must be"),
    "rate infinite": (
        nothing,
        [*NEW, "--learning-rate", "inf"],
        "--learning-rate must",
    ),
    "rate negative": (nothing, [*NEW, "--learning-rate", "-1"], "--learning-rate must"),
    "every nan": (
        nothing,
        [*NEW, "--checkpoint-every", "nan"],
        "--checkpoint-every must be at least 0 seconds, got nan",
    ),
    "every negative": (
        nothing,
        [*NEW, "--checkpoint-every", "-1"],
        "--checkpoint-every must be at least 0 seconds, got -1.0",
    ),
    "devices none": (nothing, [*NEW, "--devices", "0"], "--devices must be at least 1"),
    "devices too many": (nothing, [*NEW, "--devices", "64"], "JAX_NUM_CPU_DEVICES=64"),
    "environments not shared": (
        nothing,
        [*NEW, "--env-devices", "3"],
        "--env-devices 3 must divide",
    ),
    "process alone": (
        nothing,
        [*NEW, "--process-id", "1"],
        "--process-id goes with --distributed",
    ),
    "processes unsaid": (
        nothing,
        [*NEW, "--distributed", "--num-processes", "2"],
        "--coordinator, --num-processes and --process-id go together",
    ),
    "out exists": (nothing, [*NEW[:-1], "run"], "exists already; pass another --out"),
    "out unfinished": (
        unfinished,
        [*NEW[:-1], "run"],
        "is unfinished: `pgjax train --resume",
    ),
    "out in a file": (
        nothing,
        [*NEW[:-1], "run/metrics.csv/new"],
        "is not a writable directory",
    ),
    "out read only": (nothing, [*NEW[:-1], "/proc/new"], "cannot make /proc/new"),
}


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in sorted(directory.glob("**/*"))
        if path.is_file()
    }


@pytest.fixture
def here(small_runs, tmp_path, monkeypatch):
    shutil.copytree(small_runs, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def refused(arguments, says, capsys):
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err
    assert code == 2, told
    assert says in told
    last = told.splitlines()[-1]
    assert last.startswith("pgjax")
    assert "Traceback" not in told


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, here, capsys):
    damage, arguments, says = CASES[case]
    damage(here / "run")
    before = contents(here)
    refused(arguments, says, capsys)
    assert contents(here) == before


def test_there_are_at_least_thirty():
    assert len(CASES) >= 30


def test_a_second_process_is_refused(here, capsys):
    holder = "import pathlib, sys\nfrom pgjax.app.runs.run_record import locked\n"
    holder += "with locked(pathlib.Path('run')):\n"
    holder += "    print('held', flush=True)\n    sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    says = "is being written by another process"
    refused([*RESUME, "--steps", "9000"], says, capsys)
    process.communicate("")
    with locked(pathlib.Path("run")):  # it was given back
        pass


@pytest.mark.parametrize(
    "every", [0, slow(1000)]
)  # what is full first: it, or the metrics
def test_a_full_disk_stops_the_run_with_one_line(every, tmp_path):
    # A quota: no file of this process may be longer than that.
    out = str(tmp_path / "run")
    arguments = [*TINY, "--steps", "1e6", "--checkpoint-every", str(every)]
    arguments += ["--out", out]
    command = [sys.executable, "-m", "pgjax", "train", *arguments, "--quiet"]
    code = "import os, resource\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
    code += f"os.execv({sys.executable!r}, {command!r})\n"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    assert "File too large" in process.stderr
