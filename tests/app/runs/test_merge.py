"""The tables and parameters of batches as those of a run, in the summary's order."""

import io
import tracemalloc

import jax
import numpy as np
import pandas as pd
import pytest

from pgjax.app.errors import DamagedFileError
from pgjax.app.runs import merge
from pgjax.app.runs.merge import Part, Share, merge_metrics, merge_params
from pgjax.app.runs.params import save_params

LABELS = [("none", 0), ("none", 1), ("a,b", 0)]
HEAD = b"agent,update,env_steps,loss\r\n"


def part(directory, number, content, places):
    path = directory / f"{number}.csv"
    path.write_bytes(content)
    return Part(path, np.array(places))


def merged(directory, parts, every=1):
    whole = directory / "metrics.csv"
    merge_metrics(parts, whole, LABELS, ["baseline", "seed"], every=every)
    return whole.read_bytes()


def test_rows_are_in_the_order_of_the_agents_whoever_trained_together(tmp_path):
    one = part(tmp_path, 0, HEAD + b"0,1,9,0.5\r\n1,1,8,\r\n0,2,18,0.25\r\n", [2, 0])
    other = part(tmp_path, 1, HEAD + b"0,1,7,1\r\n0,2,14,2\r\n", [1])
    expected = (
        b"baseline,seed,update,env_steps,loss\r\n"
        b"none,0,1,8,\r\n"
        b"none,1,1,7,1\r\nnone,1,2,14,2\r\n"
        b'"a,b",0,1,9,0.5\r\n"a,b",0,2,18,0.25\r\n'
    )
    assert merged(tmp_path, [one, other]) == expected
    assert merged(tmp_path, [other, one]) == expected


def test_columns_that_a_batch_has_not_are_empty(tmp_path):
    one = part(tmp_path, 0, b"agent,update,value_loss,loss\r\n0,1,5,6\r\n", [0])
    other = part(tmp_path, 1, HEAD + b"0,1,7,1\r\n", [1])
    nothing = part(tmp_path, 2, b"", [2])  # killed before its first row
    table = pd.read_csv(io.BytesIO(merged(tmp_path, [one, other, nothing])))
    columns = ["baseline", "seed", "update", "env_steps", "loss", "value_loss"]
    assert list(table.columns) == columns
    assert table.loss.tolist() == [6, 1]
    assert table.value_loss.isna().tolist() == [False, True]


def test_the_last_row_of_shorter_training_is_no_row_of_the_longer(tmp_path):
    rows = b"".join(b"0,%d,%d,1\r\n" % (i, i) for i in (3, 6, 7, 9, 12, 13))
    table = merged(tmp_path, [part(tmp_path, 0, HEAD + rows, [0])], every=3)
    updates = [int(line.split(b",")[2]) for line in table.splitlines()[1:]]
    assert updates == [3, 6, 9, 12, 13]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x" * 200_000, "its first line is not one of columns"),
        (b"seed,update\r\n", "its first line is not one of columns"),
        (b"agent,update,a,a\r\n", "its first line is not one of columns"),
        (HEAD + b"0,1,9\r\n", "line 2 is no row of it"),
        (HEAD + b"0,1,9,1,1\r\n", "line 2 is no row of it"),
        (HEAD + b"0,1,9,1", "line 2 is no row of it"),
        (HEAD + b"0,1,9,1\r\n0,2,9,1\n", "line 3 is no row of it"),
        (HEAD + b"-1,1,9,1\r\n", "line 2 is of no agent"),
        (HEAD + b"0,-1,9,1\r\n", "line 2 is of no agent"),
        (HEAD + b"0,1,9,x\r\n", "line 2 is no row of it"),
        (HEAD + b"0,1,9,\xff\r\n", "line 2 is no row of it"),
        (HEAD + b"1,1,9,1\r\n", "line 2 is of agent 1: there is none"),
        (HEAD + b"0," + b"1" * 2**17 + b",9,1\r\n", "line 2 is no row of it"),
    ],
)
def test_a_table_that_is_none_is_named_and_nothing_is_written(content, says, tmp_path):
    damaged = part(tmp_path, 0, content, [0])
    with pytest.raises(DamagedFileError) as raised:
        merged(tmp_path, [damaged])
    assert str(raised.value) == f"{damaged.path} is damaged: {says}"
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize("held", [1, 10_000, 2**26])
def test_memory_does_not_grow_with_the_table(held, tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "_HELD", held)
    rows = (b"%d,%d,%d,1.25\r\n" % (i % 3, i // 3, i) for i in range(60_000))
    one = part(tmp_path, 0, HEAD + b"".join(rows), [0, 1, 2])
    tracemalloc.start()
    table = merged(tmp_path, [one])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if held <= 10_000:
        assert peak - len(table) < one.path.stat().st_size / 4
    frame = pd.read_csv(io.BytesIO(table))
    assert frame["update"].tolist() == [*range(20_000)] * 3
    steps = [3 * i + a for a in range(3) for i in range(20_000)]
    assert frame.env_steps.tolist() == steps


def test_parameters_are_those_that_numpy_would_have_saved_at_once(tmp_path):
    rng = np.random.default_rng(0)
    whole = {"b": {"w": rng.normal(size=(5, 2, 3)).astype(np.float32)}}
    whole["a"] = np.arange(5, dtype=np.uint32)
    shares = []
    for number, places in enumerate(([3, 1], [0, 4], [2])):
        path = tmp_path / f"{number}.npz"
        save_params(path, jax.tree.map(lambda x, of=places: x[of], whole))
        shares.append(Share(path, np.array(places)))
    merge_params([shares], tmp_path / "params.npz")
    save_params(tmp_path / "straight.npz", whole)
    np.savez(tmp_path / "numpy.npz", **{"a": whole["a"], "b/w": whole["b"]["w"]})
    found = (tmp_path / "params.npz").read_bytes()
    assert found == (tmp_path / "straight.npz").read_bytes()
    assert found == (tmp_path / "numpy.npz").read_bytes()


def test_groups_of_other_shapes_are_told_apart_by_their_number(tmp_path):
    for number, width in enumerate((2, 3)):
        save_params(tmp_path / f"{number}.npz", {"w": np.full((2, width), number)})
    groups = [[Share(tmp_path / f"{i}.npz", np.arange(2))] for i in range(2)]
    merge_params(groups, tmp_path / "params.npz")
    with np.load(tmp_path / "params.npz") as found:
        assert {name: x.shape for name, x in found.items()} == {
            "0/w": (2, 2),
            "1/w": (2, 3),
        }


def test_a_batch_of_other_parameters_is_named(tmp_path):
    save_params(tmp_path / "0.npz", {"w": np.zeros((1, 2))})
    save_params(tmp_path / "1.npz", {"w": np.zeros((1, 3))})
    shares = [Share(tmp_path / f"{i}.npz", np.array([i])) for i in range(2)]
    with pytest.raises(DamagedFileError, match=r"1\.npz is damaged: w is not w"):
        merge_params([shares], tmp_path / "params.npz")
    (tmp_path / "1.npz").write_bytes(b"no archive")
    with pytest.raises(DamagedFileError, match=r"1\.npz is damaged"):
        merge_params([shares], tmp_path / "params.npz")


def test_a_table_without_rows_has_its_columns(tmp_path):
    nothing = part(tmp_path, 0, b"", [0])
    whole = tmp_path / "whole.csv"
    merge_metrics([nothing], whole, [(7,)], ["seed"], first=["update", "env_steps"])
    assert whole.read_bytes() == b"seed,update,env_steps\r\n"
