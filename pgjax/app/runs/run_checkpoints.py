"""The checkpoints of a run: written while it trains, the last few kept.

Each holds the settings that it was trained with, and a checksum of what it says about
itself; Orbax has those of the arrays.

checkpoints/N/          after N chunks of updates
checkpoints/damaged-N/  one that could not be read, set aside
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pgjax.app.errors import UsageError
from pgjax.app.runs.checkpoint_metadata import (
    about,
    check_settings,
    describe,
    numbers_in,
)
from pgjax.app.runs.hosts import several
from pgjax.app.settings.execution import EVERY
from pgjax.checkpoints import (
    CheckpointError,
    DamagedError,
    damage_told,
    quiet_orbax,
    read,
    to_arrays,
)

KEPT = 3


class Checkpoints:
    """Saves the state of training now and then, without waiting for the disk.

    Args:
      directory: of the checkpoints; made when there is one.
      every: seconds from one to the next; 0 for one after every chunk.
      tell: says what the user should know.
      settings: JSON data that what is read must have been trained with; see
        `check_settings`. None for any.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        every: float = EVERY,
        tell: Callable[[str], None] = print,
        settings: Mapping[str, Any] | None = None,
    ):
        self.directory = directory.absolute()
        self._every, self._tell, self._settings = every, tell, settings
        self.notes: dict[str, Any] = {}  # of the one that was read
        self._manager: Any = None
        self._saved = time.monotonic()
        self._last: int | None = None

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved >= self._every

    def save(
        self, number: int, state: Any, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Saves a state, by the number of chunks; returns once it has a copy of it.

        Args:
          number: of chunks so far.
          state: what is saved.
          notes: JSON data to go with it.

        Raises:
          UsageError: if this one, or the one before, could not be written.
        """
        import orbax.checkpoint as ocp

        if number == self._last:
            return
        arguments = ocp.args.StandardSave(to_arrays(state))
        with quiet_orbax(), self._failure_told():
            saved = self._open().save(
                number, args=arguments, custom_metadata=describe(self._settings, notes)
            )
            if not saved:
                raise RuntimeError(f"{number} is not newer than what is there")
        self._saved, self._last = time.monotonic(), number

    @property
    def has_one(self) -> bool:
        """Whether there is one that says what it is, and Orbax can open."""
        return self.directory.is_dir() and bool(self._sound()[0])

    def latest(self, like: Any) -> Any:
        """The newest checkpoint that is whole; None if there is none at all.

        Damaged ones are set aside. Newer ones are told of; an older one may be what a
        kill left of one that was being deleted.

        Args:
          like: the state's structure.

        Raises:
          CheckpointError: for one of a newer format, of other settings or shapes.
          UsageError: if all there are are damaged.
        """
        if not self.directory.exists():
            return None
        if not self.directory.is_dir():
            raise UsageError(f"{self.directory} is not a directory of checkpoints")
        whole, damaged = self._sound()
        for number in whole:
            try:
                state = self._read(number, like)
            except DamagedError as error:
                damaged.append((number, error))
                continue
            self._set_aside(damaged, number)
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

        if self._manager is None:
            processes = _processes()
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

    def _sound(self) -> tuple[list[int], list[tuple[int, DamagedError]]]:
        """Those that say what they are, newest first, and those that do not.

        All are looked at: one of those would keep Orbax from opening any.
        """
        whole, damaged = [], []
        for number in numbers_in(self.directory):
            path = self.directory / str(number)
            try:
                about(path)
                _read_by_orbax(path)
            except DamagedError as error:
                damaged.append((number, error))
            else:
                whole.append(number)
        return whole, damaged

    def _read(self, number: int, like: Any) -> Any:
        path = self.directory / str(number)
        told = about(path)
        if self._settings is not None:
            check_settings(path, told, self._settings)
        stored = path / "default"  # Orbax's name for the only thing that it holds
        with quiet_orbax(), _reader() as reader:
            try:
                with damage_told(path):
                    state = read(reader, stored, like, told)
            except CheckpointError as error:
                if "settings" in told:  # which are ours: it is no other run's
                    raise DamagedError(str(error)) from error
                raise
        self.notes = told.get("notes", {})
        return state

    def _set_aside(self, damaged: list[tuple[int, DamagedError]], used: int) -> None:
        if damaged:
            self.close()  # it counts them, too
        for number, error in damaged:
            if number > used:
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


def _read_by_orbax(path: pathlib.Path) -> None:
    """Sees that Orbax can read what it wrote about a checkpoint.

    Raises:
      DamagedError: if it cannot.
    """
    with quiet_orbax(), damage_told(path), _reader() as reader:
        reader.metadata(path)


def _reader() -> Any:
    import orbax.checkpoint as ocp

    options = _processes()
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _processes() -> Any:
    """Who takes part: one of several processes has everything, and does it alone."""
    from orbax.checkpoint.options import MultiprocessingOptions

    if not several():
        return MultiprocessingOptions()
    return MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="pgjax"
    )
