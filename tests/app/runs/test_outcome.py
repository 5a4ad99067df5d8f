"""How a run ends: results first; what is optional may fail, and says so."""

import json
import shutil

import jax
import numpy as np
import pytest
from turns import slow

from pgjax._internal.counters import Counter, as_float
from pgjax._internal.running_moments import Moments
from pgjax.app.analysis import learning_curve
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import loggers, outcome
from pgjax.app.runs.params import load_params

QUICK = ["train", "--seeds", "1", "--num-envs", "4", "--hidden", "4", "--quiet"]
QUICK += ["--eval-episodes", "2", "--steps", "100"]


def fail(*_, **__):
    raise RuntimeError("the pen is\nbroken")


def test_a_plot_that_fails_is_one_line_and_the_results_are_there(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(learning_curve, "learning_curve", fail)
    assert main([*QUICK, "--out", str(tmp_path / "run")]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("pgjax: ")
    assert "learning_curve.png was not drawn: RuntimeError: the pen is broken" in told
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["agents"]


def test_a_parquet_that_fails_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outcome, "copy_to_parquet", fail)
    run = tmp_path / "run"
    assert main([*QUICK, "--log", "parquet", "--out", str(run)]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert "metrics.parquet was not written: RuntimeError: the pen is broken" in told
    assert (run / "summary.json").exists()
    assert (run / "metrics.csv").exists()


@pytest.mark.parametrize("method", ["write", slow("__init__"), slow("close")])
def test_a_logger_that_fails_is_done_without(method, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers.TensorBoardLogger, method, fail)
    run = tmp_path / "run"
    assert main([*QUICK, "--log", "tensorboard", "--out", str(run)]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert "--log tensorboard failed, and is done without: RuntimeError" in told
    assert (run / "summary.json").exists()
    assert (run / "metrics.csv").exists()


def cut_header(data):
    return data.replace(b"agent", b"a,ent", 1)


DAMAGES = {
    "header": cut_header,
    "no text": lambda data: data[:-9] + b"\xff" + data[-8:],
    "zeros": lambda data: data[:-9] + b"\0" + data[-8:],
    "short row": lambda data: b";".join(data.rsplit(b",", 1)),
    "a quote": lambda data: b',"'.join((data[:-1] + b" ").rsplit(b",", 1))[:-2] + b"\n",
}


@pytest.fixture
def stopped(small_runs, tmp_path):
    run = shutil.copytree(small_runs / "run", tmp_path / "run")
    results = "summary.json", "learning_curve.png", "metrics.csv"
    for name in (*results, "batches/000/rows.json"):
        (run / name).unlink()
    return run


# The reader's own tests have others.
@pytest.mark.parametrize(
    "damage", ["header", "no text", "short row", slow("zeros"), slow("a quote")]
)
def test_a_damaged_table_keeps_no_run_from_finishing(damage, stopped, capsys):
    table = stopped / "batches" / "000" / "metrics.csv"
    table.write_bytes(DAMAGES[damage](table.read_bytes()))
    assert main(["train", "--resume", str(stopped), "--quiet"]) == 0
    damaged, merged = capsys.readouterr().err.splitlines()
    assert f"{table} is damaged: its first" in damaged
    assert f"{stopped / 'metrics.csv'} was not written: {table} is damaged" in merged
    assert (stopped / "summary.json").exists()
    assert main(["evaluate", str(stopped), "--episodes", "1"]) == 0
    assert main(["compare", str(stopped)]) == 0  # as with --log none


def test_a_digit_of_the_table_is_told_when_the_run_goes_on(stopped, capsys):
    table = stopped / "batches" / "000" / "metrics.csv"
    data = table.read_bytes()
    i = max(i for i, x in enumerate(data) if x in b"12345678")
    table.write_bytes(data[:i] + b"9" + data[i + 1 :])
    assert main(["train", "--resume", str(stopped), "--quiet"]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{table} is damaged: its first" in told


def test_a_run_that_was_whole_ends_without_a_word(stopped, small_runs, capsys):
    assert main(["train", "--resume", str(stopped), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    for name in ("metrics.csv", "params.npz"):
        assert (stopped / name).read_bytes() == (small_runs / "run" / name).read_bytes()
    assert (stopped / "learning_curve.png").exists()


def test_parameters_of_the_layout_before_are_read(tmp_path):
    """Moments once had their number of samples as one float32, and no rests."""
    rng = np.random.default_rng(0)
    count = np.array([3.0, 2.0**33], np.float32)
    old = {
        "params/w": rng.normal(size=(2, 4)).astype(np.float32),
        "moments/num_samples": count,
        "moments/mean": rng.normal(size=(2, 3)).astype(np.float32),
        "moments/variance": rng.normal(size=(2, 3)).astype(np.float32),
    }
    path = tmp_path / "params.npz"
    np.savez(path, **old)
    three = jax.ShapeDtypeStruct((2, 3), np.float32)
    moments = Moments(
        Counter(*[jax.ShapeDtypeStruct((2,), np.uint32)] * 2), *[three] * 4
    )
    like = {
        "params": {"w": jax.ShapeDtypeStruct((2, 4), np.float32)},
        "moments": moments,
    }
    got = load_params(path, like)
    np.testing.assert_array_equal(as_float(got["moments"].num_samples), count)
    np.testing.assert_array_equal(got["params"]["w"], old["params/w"])
    np.testing.assert_array_equal(got["moments"].mean, old["moments/mean"])
    np.testing.assert_array_equal(got["moments"].variance_rest, np.zeros((2, 3)))
    for wrong in (np.nan, -1.0, np.inf):
        np.savez(path, **old | {"moments/num_samples": np.float32([3, wrong])})
        with pytest.raises(UsageError, match="num_samples is no number of samples"):
            load_params(path, like)
