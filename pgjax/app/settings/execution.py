"""How a run is carried out; nothing here changes what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pgjax.app.errors import UsageError
from pgjax.app.settings.ranges import check_int

EVERY = 60.0  # seconds between two checkpoints


class Execution(NamedTuple):
    """What a user may say about the carrying out of a run."""

    log: Sequence[str] = ()  # names of loggers, beside metrics.csv
    quiet: bool = False  # whether to print nothing but errors
    checkpoint_every: float = EVERY  # seconds; 0 for one after every chunk
    devices: int | None = None  # how many to use; by default all


def check(execution: Execution) -> None:
    """Raises UsageError for what cannot be."""
    if execution.devices is not None:
        check_int("devices", execution.devices)
    every = execution.checkpoint_every
    if not 0 <= every < float("inf"):
        raise UsageError(f"--checkpoint-every must be at least 0 seconds, got {every}")
