"""Where metrics go: a logger is told of the rows of every chunk, and closed at the end.

metrics.csv is a run's own record, which plots, comparisons and reports read. The others
stand beside it; each needs an extra of its name. Agents that
train in one program stay apart: a row, a directory or a run of its own for each.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from pgjax.lab.errors import UsageError

# What each needs; an extra of the logger's name brings it.
PACKAGES = {
    "none": None,
    "parquet": "pyarrow",
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
}
COLUMNS = (
    "seed",
    "update",
    "env_steps",
    "episodes",
    "episode_return",
    "recent_return",
)
_COUNTS = ("seed", "update", "env_steps", "episodes")  # not curves of their own
MOST_AGENTS = 128  # that may each have a file or a run of its own
Rows = dict[str, np.ndarray]  # columns of equal length


class Logger(Protocol):
    """What is told of the metrics."""

    def write(self, rows: Rows) -> None:
        """Takes in a chunk's rows: a row for each agent and logged update."""

    def close(self) -> None:
        """Writes what is left."""


def check_loggers(names: Sequence[str], num_agents: int = 1) -> None:
    """Sees that the loggers can be had.

    Args:
      names: which.
      num_agents: how many agents train side by side.

    Raises:
      UsageError: for a package that is not installed, "none" with others, or more
        agents than can each have a file or run open.
    """
    for name in {"tensorboard", "wandb"} & set(names):
        if num_agents > MOST_AGENTS:
            raise UsageError(
                f"--log {name} keeps files open for every agent, at most {MOST_AGENTS} "
                f"of them, and {num_agents} train side by side; metrics.csv has them "
                "all"
            )
    if "none" in names and len(names) > 1:
        raise UsageError("--log none means no metrics at all: drop it, or the others")
    for name in names:
        if name not in PACKAGES:
            known = ", ".join(PACKAGES)
            raise UsageError(f"--log must be one of {known}, got {name!r}")
        package = PACKAGES[name]
        if package is not None and importlib.util.find_spec(package) is None:
            raise UsageError(f"--log {name} needs {package}: pip install {package}")


@contextlib.contextmanager
def open_loggers(
    names: Sequence[str],
    directory: pathlib.Path,
    *,
    shared: pathlib.Path,
    labels: Sequence[str] = (),
    position: int = 0,
) -> Iterator[Loggers]:
    """All loggers of a run as one, closed at the end of the block.

    Args:
      names: which, beside metrics.csv; ("none",) for none, not even that.
      directory: for the tables.
      shared: for what holds a thing per agent; it is also the name of the run.
      labels: columns that tell agents apart, beside the seed.
      position: where a run goes on: bytes of metrics.csv that count; 0 for a new one.

    Raises:
      UsageError: if metrics.csv is not there up to that position.
    """
    made: dict[str, Callable[[], Logger]] = {
        "csv": lambda: CsvLogger(directory / "metrics.csv", position),
        "parquet": lambda: ParquetLogger(directory, labels),
        "tensorboard": lambda: TensorBoardLogger(shared, labels, resumed=position > 0),
        "wandb": lambda: WandbLogger(shared, labels),
    }
    chosen = [] if "none" in names else ["csv", *names]
    with contextlib.ExitStack() as stack:
        loggers = [
            stack.enter_context(contextlib.closing(made[name]()))
            for name in dict.fromkeys(chosen)
        ]
        yield Loggers(loggers)


class Loggers:
    """Loggers as one."""

    def __init__(self, loggers: Sequence[Logger]):
        self._loggers = loggers

    def write(self, rows: Rows) -> None:
        for logger in self._loggers:
            logger.write(rows)

    def position(self) -> int:
        """Bytes of metrics.csv, all of them on disk; 0 where there is none."""
        tables = [x for x in self._loggers if isinstance(x, CsvLogger)]
        return sum(table.position() for table in tables)


class CsvLogger:
    """A table, appended to chunk by chunk, so that a killed run keeps its rows.

    Args:
      path: the file.
      position: bytes of it that are kept; 0 for a new one.
    """

    def __init__(self, path: pathlib.Path, position: int = 0):
        size = path.stat().st_size if path.is_file() else 0
        if size < position:
            raise UsageError(
                f"{path} is damaged: it has {size} bytes, and the checkpoint says "
                f"{position}"
            )
        self._columns: list[str] = []
        if not position:
            self._file = path.open("w", newline="")
        else:
            self._file = path.open("r+", newline="")
            self._columns = next(csv.reader(self._file))
            self._file.seek(position)
            self._file.truncate()
        self._writer = csv.writer(self._file)

    def position(self) -> int:
        """Bytes written, all of them on disk."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def write(self, rows: Rows) -> None:
        """Appends rows."""
        if not self._columns:
            self._columns = columns_of(rows)
            self._writer.writerow(self._columns)
        self._writer.writerows(
            zip(*(_cells(rows[name]) for name in self._columns), strict=True)
        )
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class ParquetLogger:
    """metrics.csv as Parquet, written at the end; empty cells are null."""

    def __init__(self, directory: pathlib.Path, labels: Sequence[str]):
        self._directory, self._labels = directory, labels

    def write(self, rows: Rows) -> None:
        """They are in metrics.csv."""

    def close(self) -> None:
        """Writes the file."""
        from pyarrow import csv as tables
        from pyarrow import float32, int64, parquet, string

        path = self._directory / "metrics.csv"
        with path.open(newline="") as file:
            columns = next(csv.reader(file), [])
        if not columns:
            return
        types = dict.fromkeys(columns, float32())
        types |= dict.fromkeys(_COUNTS, int64()) | dict.fromkeys(self._labels, string())
        options = tables.ConvertOptions(column_types=types)
        table = tables.read_csv(path, convert_options=options)
        parquet.write_table(table, self._directory / "metrics.parquet")


def merge_parquet(tables: Sequence[Any], path: pathlib.Path) -> None:
    """One file of several tables; cells that a table has no column for are null."""
    import pyarrow
    from pyarrow import parquet

    whole = pyarrow.concat_tables(tables, promote_options="permissive")
    parquet.write_table(whole, path)


class _PerAgent:
    """Curves of each agent by itself, under its settings and seed."""

    def __init__(self, labels: Sequence[str]):
        self._labels = labels
        self._sinks: dict[str, Any] = {}

    def write(self, rows: Rows) -> None:
        apart = [name for name in rows if name not in (*_COUNTS, *self._labels)]
        for i in range(len(rows["seed"])):
            settings = [f"{name}={rows[name][i]}" for name in self._labels]
            agent = ",".join([*settings, f"seed={rows['seed'][i]}"]).replace("/", "-")
            env_steps = int(rows["env_steps"][i])
            if agent not in self._sinks:
                self._sinks[agent] = self._open(agent, env_steps)
            values = {name: float(rows[name][i]) for name in apart}
            known = {name: x for name, x in values.items() if np.isfinite(x)}
            self._tell(self._sinks[agent], known, env_steps)

    def _open(self, agent: str, env_steps: int) -> Any:
        raise NotImplementedError

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        raise NotImplementedError


class TensorBoardLogger(_PerAgent):
    """RUN/tensorboard, a directory per agent, by environment steps."""

    def __init__(self, run: pathlib.Path, labels: Sequence[str], *, resumed: bool):
        super().__init__(labels)
        self._directory, self._resumed = run / "tensorboard", resumed

    def _open(self, agent: str, env_steps: int) -> Any:
        from tensorboardX import SummaryWriter

        directory = self._directory / agent
        if self._resumed:  # what comes after the checkpoint is written anew
            suffix = f".{env_steps}"  # its name is otherwise the second it is made in
            return SummaryWriter(
                str(directory), purge_step=env_steps, filename_suffix=suffix
            )
        shutil.rmtree(directory, ignore_errors=True)
        return SummaryWriter(str(directory))

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        for name, value in values.items():
            sink.add_scalar(name, value, env_steps)

    def close(self) -> None:
        """Closes every agent's file."""
        for sink in self._sinks.values():
            sink.close()


class WandbLogger(_PerAgent):
    """A Weights & Biases run per agent, in a group that is named after the run.

    Offline unless the environment's WANDB_MODE says otherwise; `wandb sync` sends it.
    What was interrupted leaves its runs beside those of the process that goes on.
    """

    def __init__(self, run: pathlib.Path, labels: Sequence[str]):
        super().__init__(labels)
        self._run = run

    def _open(self, agent: str, env_steps: int) -> Any:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        return wandb.init(
            project="pgjax",
            group=self._run.name,
            name=agent,
            dir=str(self._run),
            mode=mode,
            reinit="create_new",
        )

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        sink.log({**values, "env_steps": env_steps}, step=env_steps)

    def close(self) -> None:
        """Finishes every agent's run."""
        for sink in self._sinks.values():
            sink.finish()


def columns_of(rows: Rows) -> list[str]:
    """The table's columns, in order: the known ones first."""
    return [*COLUMNS, *sorted(set(rows) - set(COLUMNS))]


def _cells(column: np.ndarray) -> list[Any]:
    """Floats in float32's precision; an empty cell, pandas' NaN, for NaN."""
    if column.dtype == object:  # settings of a grid read as they are written
        return [str(value) for value in column]
    if column.dtype.kind != "f":
        return column.tolist()
    return ["" if value != value else f"{value:.9g}" for value in column.tolist()]
