"""metrics.csv, read; whatever its length, in little memory."""

import tracemalloc

import numpy as np
import pytest

from pgjax.app.errors import UsageError
from pgjax.app.runs import metrics_reader

HEAD = "seed,update,env_steps,recent_return\r\n"


def write(path, *rows):
    path.write_text(HEAD + "".join(f"{row}\r\n" for row in rows), newline="")
    return path


def test_a_curve_is_what_was_written(tmp_path):
    rows = ["0,1,10,", "0,2,20,1.5", "1,1,15,-3", "0,3,30,2.5"]
    path = write(tmp_path / "metrics.csv", *rows)
    curves = metrics_reader.read_curves(path, (), {("0",), ("1",), ("2",)})
    np.testing.assert_array_equal(curves["0",], [[20, 30], [1.5, 2.5]])
    np.testing.assert_array_equal(curves["1",], [[15], [-3]])
    assert set(curves) == {("0",), ("1",)}


@pytest.mark.parametrize("count", [1, 2047, 2048, 2049, 5000, 100_001])
def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends(count, tmp_path):
    steps = np.arange(1, count + 1)
    path = write(tmp_path / "metrics.csv", *(f"0,{i},{i},{2 * i}" for i in steps))
    (curve,) = metrics_reader.read_curves(path, (), {("0",)}).values()
    assert curve.shape[1] <= metrics_reader.POINTS + 1
    assert curve[:, 0].tolist() == [1, 2]
    assert curve[:, -1].tolist() == [count, 2 * count]
    np.testing.assert_array_equal(curve[1], 2 * curve[0])
    gaps = np.diff(curve[0])
    assert len(set(gaps[:-1].tolist())) <= 1
    if count <= metrics_reader.POINTS:
        np.testing.assert_array_equal(curve[0], steps)


def test_memory_does_not_grow_with_the_table(tmp_path):
    rows = (f"{i % 2},{i},{i},{i}.25" for i in range(200_000))
    path = write(tmp_path / "metrics.csv", *rows)
    tracemalloc.start()
    metrics_reader.read_curves(path, (), {("0",), ("1",)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has no column seed"),
        (b"\n", "it has no column seed"),
        (b"seed,update,env_steps\r\n", "it has no column recent_return"),
        (b"seed,seed,env_steps,recent_return\r\n", "it has no column seed"),
        (HEAD.encode() + b"0,1,10,1.5", "line 2 is cut"),
        (HEAD.encode() + b"0,1,10\r\n", "line 2 has 3 cells, not 4"),
        (HEAD.encode() + b"0,1,10,1,5\r\n", "line 2 has 5 cells, not 4"),
        (HEAD.encode() + b"0,1,\xff,1\r\n", "line 2 is not UTF-8"),
        (HEAD.encode() + b"0,1,1\0,1\r\n", "line 2 has a NUL byte"),
        (HEAD.encode() + b"7,1,10,1\r\n", "line 2 is of 7: no agent"),
        (HEAD.encode() + b"0,1,-1,1\r\n", "line 2 has env_steps '-1'"),
        (HEAD.encode() + b"0,1,nan,1\r\n", "line 2 has env_steps 'nan'"),
        (HEAD.encode() + b"0,1,1,x\r\n", "line 2 has recent_return 'x'"),
        (HEAD.encode() + b"0,1,1,inf\r\n", "line 2 has recent_return 'inf'"),
        (HEAD.encode() + b"0,1,9,1\r\n0,2,8,1\r\n", "line 3 has env_steps out of"),
        (HEAD.encode() + b"0,1,9,\r\n0,2,8,\r\n", "line 3 has env_steps out of"),
        (HEAD.encode() + b"0" * 2**17 + b"\r\n", "line 2 is cut, or too long"),
        (HEAD.encode() + b'"0,1,1,1\r\n', "unexpected end of data"),
    ],
)
def test_damage_is_told_with_its_line(content, says, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        metrics_reader.read_curves(path, (), {("0",)})
    assert str(raised.value).startswith(f"{path} is damaged: ")
    assert says in str(raised.value)
