"""The table as Parquet: the same values, each column of one type."""

import numpy as np
import pandas as pd

from pgjax.app.runs.parquet import copy_to_parquet

TABLE = """rate,widths,clip,size,scaled,seed,update,loss
0.10,32,none,1,True,3,1,0.5
0.2,64-64,0.5,2,False,4,1,
"""
LABELS = {
    "rate": [0.1, 0.2],
    "widths": ["32", "64-64"],
    "clip": ["none", 0.5],
    "size": [1, 2],
    "scaled": [True, False],
    "seed": [3, 4],
}


def test_it_is_the_same_table_with_types(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    copy_to_parquet(tmp_path, LABELS)
    table, same = pd.read_csv(path), pd.read_parquet(tmp_path / "metrics.parquet")
    assert list(same.columns) == list(table.columns)
    assert same.rate.tolist() == [0.1, 0.2]
    assert same["size"].tolist() == [1, 2]
    assert same.scaled.tolist() == [True, False]
    assert same["clip"].tolist() == ["none", "0.5"]  # text where one of them is
    assert same.widths.tolist() == ["32", "64-64"]
    types = {name: str(kind) for name, kind in same.dtypes.items()}
    assert (types["rate"], types["size"], types["scaled"]) == (
        "float64",
        "int64",
        "bool",
    )
    np.testing.assert_allclose(same.loss, table.loss)


def test_widths_that_are_all_one_layer_are_text_as_well(tmp_path):
    (tmp_path / "metrics.csv").write_text("hidden,seed,update\n32,0,1\n64,0,1\n")
    copy_to_parquet(tmp_path, {"hidden": ["32", "64"], "seed": [0, 0]})
    assert pd.read_parquet(tmp_path / "metrics.parquet").hidden.tolist() == ["32", "64"]
