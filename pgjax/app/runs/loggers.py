"""Where metrics go: a logger is told of the rows of every chunk, and closed at the end.

The table of a batch is a run's own record, of which metrics.csv is made. The others
stand beside it; each needs an extra of its name. Agents that train in one program stay
apart: a row, a directory or a run of its own for each.
"""

from __future__ import annotations

import contextlib
import csv
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pgjax.app import packages
from pgjax.app.errors import UsageError
from pgjax.app.runs.files import write_whole
from pgjax.app.runs.metrics_writer import PLACE, CsvLogger, Rows

# What each needs; an extra of the logger's name brings it. Parquet is written of the
# whole table, when it is.
PACKAGES = {
    "none": None,
    "parquet": "pyarrow",
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
}
_COUNTS = (PLACE, "update", "env_steps", "episodes")  # not curves of their own
MOST_AGENTS = 128  # that may each have a file or a run of its own


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
        if package is not None:
            packages.imported(
                package, f"--log {name} needs {package}", packages.install(name)
            )


@contextlib.contextmanager
def open_loggers(
    names: Sequence[str],
    directory: pathlib.Path,
    *,
    run: pathlib.Path,
    agents: Sequence[str],
    position: int = 0,
    sha256: str | None = None,
    warn: Callable[[str], None] = print,
) -> Iterator[Loggers]:
    """All loggers of a run as one, closed at the end of the block.

    Args:
      names: which, beside metrics.csv; ("none",) for none, not even that.
      directory: of the batch, for its table.
      run: for what holds a thing per agent.
      agents: their names.
      position: where a run goes on: bytes of metrics.csv that count; 0 for a new one.
      sha256: of those; None where it is not known.
      warn: says that metrics.csv was changed, or that another logger failed and is
        done without.

    Raises:
      UsageError: if metrics.csv is not there up to that position.
      OSError: if metrics.csv cannot be written.
    """
    made: dict[str, Callable[[], Logger]] = {
        "tensorboard": lambda: TensorBoardLogger(run, agents, resumed=position > 0),
        "wandb": lambda: WandbLogger(run, agents),
    }
    if "none" in names:
        yield Loggers()
        return
    table = CsvLogger(directory / "metrics.csv", position, sha256=sha256, warn=warn)
    with contextlib.closing(table):
        others = {name: made[name] for name in dict.fromkeys(names) if name in made}
        with contextlib.closing(Loggers(table, others, warn)) as loggers:
            yield loggers


class Loggers:
    """Loggers as one.

    Args:
      table: of metrics.csv, which the run stands on: where it fails, the run does.
      others: what makes the others, by their names; one that fails is done without.
      warn: says so.
    """

    def __init__(
        self,
        table: CsvLogger | None = None,
        others: Mapping[str, Callable[[], Logger]] | None = None,
        warn: Callable[[str], None] = print,
    ):
        self._table, self._warn = table, warn
        self._others: dict[str, Logger] = {}
        for name, make in (others or {}).items():
            with self._failure_told(name):
                self._others[name] = make()

    def write(self, rows: Rows) -> None:
        """Takes in a chunk's rows."""
        if self._table is not None:
            self._table.write(rows)
        for name, logger in list(self._others.items()):
            with self._failure_told(name):
                logger.write(rows)

    def position(self) -> int:
        """Bytes of metrics.csv, all of them on disk; 0 where there is none."""
        return 0 if self._table is None else self._table.position()

    def sha256(self) -> str | None:
        """Of those; None where there is no metrics.csv."""
        return None if self._table is None else self._table.sha256()

    def close(self) -> None:
        """Writes what is left."""
        for name, logger in list(self._others.items()):
            with self._failure_told(name):
                logger.close()

    @contextlib.contextmanager
    def _failure_told(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of another library, which may be anything
            self._others.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._warn(f"--log {name} failed, and is done without: {reason}")


def copy_to_parquet(directory: pathlib.Path, labels: Sequence[str]) -> None:
    """Writes metrics.parquet from metrics.csv, a batch of rows at a time.

    Args:
      directory: of both.
      labels: columns of text.
    """
    from pyarrow import csv as tables
    from pyarrow import float32, int64, parquet, string

    path = directory / "metrics.csv"
    with path.open(newline="") as file:
        columns = next(csv.reader(file), [])
    if not columns:
        return
    types = dict.fromkeys(columns, float32())
    counts = "seed", "update", "env_steps", "episodes"
    types |= dict.fromkeys(counts, int64()) | dict.fromkeys(labels, string())
    options = tables.ConvertOptions(column_types=types)

    def write(file: Any) -> None:
        batches = tables.open_csv(path, convert_options=options)
        with parquet.ParquetWriter(file, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    write_whole(directory / "metrics.parquet", write)


class _PerAgent:
    """Curves of each agent by itself, under its name."""

    def __init__(self, agents: Sequence[str]):
        self._agents = agents
        self._sinks: dict[str, Any] = {}

    def write(self, rows: Rows) -> None:
        apart = [name for name in rows if name not in _COUNTS]
        for i, number in enumerate(rows[PLACE]):
            agent = self._agents[number]
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

    def __init__(self, run: pathlib.Path, agents: Sequence[str], *, resumed: bool):
        super().__init__(agents)
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


def rename_curves(run: pathlib.Path, names: Mapping[str, str]) -> None:
    """Gives the directories of agents whose grid has grown their new names."""
    for before, now in names.items():
        directory = run / "tensorboard" / before
        if before != now and directory.is_dir():
            directory.rename(directory.with_name(now))


class WandbLogger(_PerAgent):
    """A Weights & Biases run per agent, in a group that is named after the run.

    Offline unless the environment's WANDB_MODE says otherwise; `wandb sync` sends it.
    What was interrupted leaves its runs beside those of the process that goes on.
    """

    def __init__(self, run: pathlib.Path, agents: Sequence[str]):
        super().__init__(agents)
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
