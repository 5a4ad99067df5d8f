"""Where metrics go: a logger is told of the rows of every chunk, and closed at the end.

The table of a batch is a run's own record, of which metrics.csv is made. The others
stand beside it; each needs an extra of its name. Agents that train in one program stay
apart: a row, a directory or a run of its own for each.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pgjax._internal.installing import install
from pgjax.app import packages
from pgjax.app.errors import UsageError
from pgjax.app.runs.agent_loggers import Agent, TensorBoardLogger, WandbLogger
from pgjax.app.runs.metrics_writer import PLACE, CsvLogger, Rows
from pgjax.app.runs.periodic_evaluation_log import COLUMNS as EVALUATION_COLUMNS

# What each needs; an extra of the logger's name brings it. Parquet is written of the
# whole table, when it is.
PACKAGES = {
    "none": None,
    "parquet": "pyarrow",
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
}
MOST_AGENTS = 128  # that may each have a file or a run of its own


class Logger(Protocol):
    """What is told of the metrics."""

    def write(self, rows: Rows, *, beside: bool = False) -> None:
        """Takes in a chunk's rows: a row for each agent and logged update.

        Or other rows, which stand `beside` those of the same steps.
        """

    def end(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Takes in what each agent came to, once they are evaluated."""

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
            packages.imported(package, f"--log {name} needs {package}", install(name))


@contextlib.contextmanager
def open_loggers(
    names: Sequence[str],
    directory: pathlib.Path,
    *,
    run: pathlib.Path,
    agents: Sequence[Agent],
    position: int = 0,
    sha256: str | None = None,
    evaluations: Kept | None = None,
    warn: Callable[[str], None] = print,
    tell: Callable[[str], None] = print,
) -> Iterator[Loggers]:
    """All loggers of a run as one, closed at the end of the block.

    Args:
      names: which, beside metrics.csv; ("none",) for none, not even that.
      directory: of the batch, for its tables.
      run: for what holds a thing per agent.
      agents: who they are.
      position: where a run goes on: bytes of metrics.csv that count; 0 for a new one.
      sha256: of those; None where it is not known.
      evaluations: the same of evaluations.csv; None where there is no such table.
      warn: says that a table was changed, or that another logger failed and is done
        without.
      tell: says where else to look.

    Raises:
      UsageError: if a table is not there up to its position.
      OSError: if a table cannot be written.
    """
    made: dict[str, Callable[[], Logger]] = {
        "tensorboard": lambda: TensorBoardLogger(run, agents, resumed=position > 0),
        "wandb": lambda: WandbLogger(run, agents, tell),
    }
    if "none" in names:
        yield Loggers()
        return
    others = {name: made[name] for name in dict.fromkeys(names) if name in made}
    with contextlib.ExitStack() as stack:
        table = CsvLogger(directory / "metrics.csv", position, sha256=sha256, warn=warn)
        stack.enter_context(contextlib.closing(table))
        evaluated = None
        if evaluations is not None:
            path = directory / "evaluations.csv"
            evaluated = CsvLogger(
                path, *evaluations, warn=warn, first=EVALUATION_COLUMNS
            )
            stack.enter_context(contextlib.closing(evaluated))
        loggers = Loggers(table, others, warn, evaluated)
        yield stack.enter_context(contextlib.closing(loggers))


class Kept(NamedTuple):
    """What counts of a table where a run goes on."""

    position: int = 0  # bytes; 0 for a new one
    sha256: str | None = None  # of those; None where it is not known


class Loggers:
    """Loggers as one.

    Args:
      table: of metrics.csv, which the run stands on: where it fails, the run does.
      others: what makes the others, by their names; one that fails is done without.
      warn: says so.
      evaluations: of evaluations.csv, on which it stands as well.
    """

    def __init__(
        self,
        table: CsvLogger | None = None,
        others: Mapping[str, Callable[[], Logger]] | None = None,
        warn: Callable[[str], None] = print,
        evaluations: CsvLogger | None = None,
    ):
        self._table, self._warn, self._evaluations = table, warn, evaluations
        self._others: dict[str, Logger] = {}
        for name, make in (others or {}).items():
            with self._failure_told(name):
                self._others[name] = make()

    def write(self, rows: Rows) -> None:
        """Takes in a chunk's rows."""
        if self._table is not None:
            self._table.write(rows)
        self._write_others(rows, beside=False)

    def write_evaluations(self, rows: Rows) -> None:
        """Takes in the rows of evaluations while training."""
        if self._evaluations is not None:
            self._evaluations.write(rows)
        places = (PLACE, "update", "env_steps")
        names = {x: x if x in places else f"evaluations/{x}" for x in rows}
        names.pop("num_episodes")  # always the same
        self._write_others({name: rows[x] for x, name in names.items()}, beside=True)

    def _write_others(self, rows: Rows, *, beside: bool) -> None:
        for name, logger in list(self._others.items()):
            with self._failure_told(name):
                logger.write(rows, beside=beside)

    def end(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Takes in what each agent came to."""
        for name, logger in list(self._others.items()):
            with self._failure_told(name):
                logger.end(results)

    def position(self) -> int:
        """Bytes of metrics.csv, all of them on disk; 0 where there is none."""
        return 0 if self._table is None else self._table.position()

    def sha256(self) -> str | None:
        """Of those; None where there is no metrics.csv."""
        return None if self._table is None else self._table.sha256()

    def kept_of_evaluations(self) -> Kept:
        """The same of evaluations.csv."""
        table = self._evaluations
        return Kept() if table is None else Kept(table.position(), table.sha256())

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
