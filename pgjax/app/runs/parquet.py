"""metrics.parquet: the run's table again, with a type for every column."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from pgjax.app.runs.files import write_whole
from pgjax.app.runs.results import METRICS

PARQUET = "metrics.parquet"
_COUNTS = {"seed", "update", "env_steps", "episodes", "num_episodes", "num_truncated"}


def copy_to_parquet(
    directory: pathlib.Path, labels: Mapping[str, Sequence[Any]], table: str = METRICS
) -> None:
    """Writes metrics.parquet from metrics.csv, a batch of rows at a time.

    Args:
      directory: of both.
      labels: columns that tell agents apart, and the values in each: they are numbers
        or truth values where all of them are, and otherwise text, as in metrics.csv.
      table: another file to write so.
    """
    from pyarrow import csv as tables
    from pyarrow import float32, int64, parquet

    path = directory / table
    with path.open(newline="") as file:
        columns = next(csv.reader(file), [])
    if not columns:
        return
    types = dict.fromkeys(columns, float32())
    types |= {name: _type_of(values) for name, values in labels.items()}
    types |= dict.fromkeys(_COUNTS & set(columns), int64())
    options = tables.ConvertOptions(column_types=types)

    def write(file: Any) -> None:
        batches = tables.open_csv(path, convert_options=options)
        with parquet.ParquetWriter(file, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    write_whole(path.with_suffix(".parquet"), write)


def _type_of(values: Sequence[Any]) -> Any:
    from pyarrow import bool_, float64, int64, string

    kinds = {type(x) for x in values}
    if kinds == {bool}:
        return bool_()
    if kinds == {int}:
        return int64()
    return float64() if kinds and kinds <= {int, float} else string()
