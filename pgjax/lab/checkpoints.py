"""The checkpoints of a run: written while it trains, the last few kept.

RUN/checkpoints/N/          after N chunks of updates
RUN/checkpoints/damaged-N/  one that could not be read, set aside
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pgjax.checkpoints import (
    FORMAT,
    DamagedError,
    check_contents,
    damage_told,
    from_arrays,
    quiet_orbax,
    template,
    to_arrays,
)
from pgjax.lab.errors import UsageError
from pgjax.lab.execution import EVERY
from pgjax.lab.hosts import several

KEPT = 3


class Checkpoints:
    """Saves the state of training now and then, without waiting for the disk.

    Args:
      directory: of the checkpoints; made when there is one.
      every: seconds from one to the next; 0 for one after every chunk.
      at_end: whether there is one when training is complete.
      tell: says what the user should know.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        every: float = EVERY,
        at_end: bool = True,
        tell: Callable[[str], None] = print,
    ):
        self.directory, self.at_end = directory.absolute(), at_end
        self._every, self._tell = every, tell
        self._manager: Any = None
        self._saved = time.monotonic()
        self._last: int | None = None
        # Half a second, while the device is busy with the first chunks.
        threading.Thread(target=_import_orbax, daemon=True).start()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved >= self._every

    def save(self, number: int, state: Any) -> None:
        """Saves a state, by the number of chunks; returns once it has a copy of it.

        Raises:
          UsageError: if this one, or the one before, could not be written.
        """
        import orbax.checkpoint as ocp

        if number == self._last:
            return
        arguments = ocp.args.StandardSave(to_arrays(state))
        with quiet_orbax(), self._failure_told():
            saved = self._open().save(
                number, args=arguments, custom_metadata={"format": FORMAT}
            )
            if not saved:
                raise RuntimeError(f"{number} is not newer than what is there")
        self._saved, self._last = time.monotonic(), number

    def latest(self, like: Any) -> Any:
        """The newest checkpoint that is whole; None if there is none at all.

        Damaged ones that are newer are set aside, and told of.

        Args:
          like: the state's structure.

        Raises:
          CheckpointError: for one of a newer format, or of other shapes.
          UsageError: if all there are are damaged.
        """
        if not self.directory.exists():
            return None
        if not self.directory.is_dir():
            raise UsageError(f"{self.directory} is not a directory of checkpoints")
        with quiet_orbax():
            numbers = sorted(self._open().all_steps(), reverse=True)
        damaged: list[tuple[int, DamagedError]] = []
        for number in numbers:
            try:
                state = self._read(number, like)
            except DamagedError as error:
                damaged.append((number, error))
                continue
            self._set_aside(damaged)
            self._last = number
            return state
        if damaged:
            raise UsageError(
                f"no whole checkpoint is left: {damaged[0][1]}; nothing was "
                "overwritten; start another run"
            )
        return None

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          UsageError: if it could not be written.
        """
        if self._manager is not None:
            with quiet_orbax(), self._failure_told():
                manager, self._manager = self._manager, None
                manager.wait_until_finished()
                manager.close()

    def _open(self) -> Any:
        import orbax.checkpoint as ocp
        from orbax.checkpoint.options import MultiprocessingOptions

        if self._manager is None:
            # One of several processes has everything, and writes it by itself.
            alone = MultiprocessingOptions(
                primary_host=0,
                active_processes={0},
                barrier_sync_key_prefix="pgjax",
            )
            processes = alone if several() else MultiprocessingOptions()
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEPT,
                create=not several(),
                cleanup_tmp_directories=True,
                multiprocessing_options=processes,
            )
            handler = ocp.StandardCheckpointHandler(multiprocessing_options=processes)
            self.directory.mkdir(exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_handlers=handler
            )
        return self._manager

    def _read(self, number: int, like: Any) -> Any:
        import orbax.checkpoint as ocp

        path, manager = self.directory / str(number), self._open()
        with quiet_orbax(), damage_told(path):
            metadata = manager.metadata(number).custom_metadata
            stored = dict(manager.item_metadata(number) or {})
            check_contents(path, metadata, stored, like)
            arguments = ocp.args.StandardRestore(template(like))
            return from_arrays(manager.restore(number, args=arguments), like)

    def _set_aside(self, damaged: list[tuple[int, DamagedError]]) -> None:
        if damaged:
            self.close()  # it counts them, too
        for number, error in damaged:
            self._tell(f"{error}; it is set aside, and the one before is used")
            path = self.directory / str(number)
            names = (f"damaged-{number}{'+' * i}" for i in itertools.count())
            free = (path.with_name(name) for name in names)
            path.rename(next(path for path in free if not path.exists()))

    @contextlib.contextmanager
    def _failure_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # OSError, TensorStore's and Orbax's own
            reason = " ".join(str(error).split())[:300]
            raise UsageError(
                f"cannot write a checkpoint into {self.directory}: {reason}; the last "
                "one that was written is kept"
            ) from error


def _import_orbax() -> None:
    import orbax.checkpoint  # noqa: F401
