"""What a checkpoint says about itself: its format, and the settings of its training.

It is an entry of Orbax's own record of the checkpoint, with a checksum.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from pgjax.app.errors import DamagedFileError, MissingFileError
from pgjax.app.runs.files import digest, read_json
from pgjax.app.settings.run_settings import LATER, with_new_names
from pgjax.checkpoints import FORMAT, CheckpointError, DamagedError

METADATA = "_CHECKPOINT_METADATA"  # Orbax's name


def numbers_in(directory: pathlib.Path) -> list[int]:
    """The numbers of the checkpoints that are in a directory, newest first."""
    found = [path.name for path in directory.glob("*") if path.is_dir()]
    return sorted(int(x) for x in found if re.fullmatch("0|[1-9][0-9]*", x))[::-1]


def describe(
    settings: Mapping[str, Any] | None, notes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a checkpoint is to say about itself, as `about` reads it."""
    told = {"format": FORMAT, "settings": settings, "notes": dict(notes or {})}
    told = {name: x for name, x in told.items() if x is not None}
    return told | {"sha256": digest(told)}


def about(path: pathlib.Path) -> dict[str, Any]:
    """What a checkpoint says about itself: its format, and by now its settings.

    Raises:
      DamagedError: if it does not, or says something else than when it was written.
      CheckpointError: for one of a newer format.
    """
    try:
        told = read_json(path / METADATA)
    except DamagedFileError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    except MissingFileError as error:
        raise DamagedError(f"{path} is damaged, or no checkpoint of pgjax") from error
    told = told.get("custom_metadata") if isinstance(told, dict) else None
    if not isinstance(told, dict) or type(told.get("format")) is not int:
        raise DamagedError(f"{path} is damaged, or no checkpoint of pgjax")
    signed = {name: x for name, x in told.items() if name != "sha256"}
    intact = told == {"format": FORMAT} or told.get("sha256") == digest(signed)
    if told["format"] > FORMAT:
        raise (CheckpointError if intact else DamagedError)(
            f"{path} has format {told['format']}, this pgjax reads {FORMAT}; use the "
            "pgjax that wrote it"
        )
    if not intact:
        raise DamagedError(f"{path} is damaged: its sha256 is of something else")
    return signed


def check_settings(
    path: pathlib.Path, told: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Sees that a checkpoint was trained with the settings that training goes on with.

    Args:
      path: of the checkpoint.
      told: what it says about itself; those of earlier versions say nothing of it.
      settings: "config", of which the steps may have grown where no learning rate is
        annealed over them, and others, which must be equal.

    Raises:
      CheckpointError: naming what differs.
    """
    if "settings" not in told:
        return
    now, then = (_flat(x) for x in (settings, told["settings"]))
    if not now.get("anneal_learning_rate") and now["steps"] > then.get("steps", 0):
        now["steps"] = then.get("steps")
    differing = [
        f"{name} {value} (now {now.get(name, 'unknown')})"
        for name, value in then.items()
        if name not in now or now[name] != value
    ]
    if differing:
        raise CheckpointError(
            f"{path} was trained with other settings than config.json has now: "
            f"{'; '.join(differing)}; restore config.json, or start another run"
        )


def check_newest(directory: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """`check_settings` of the newest checkpoint that says what it is, if there is one.

    Raises:
      CheckpointError: naming what differs.
    """
    for number in numbers_in(directory):
        with contextlib.suppress(DamagedError):
            path = directory / str(number)
            return check_settings(path, about(path), settings)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their names, as JSON would read them."""
    settings = json.loads(json.dumps(settings))
    config = LATER | with_new_names(settings["config"])
    others = {name: x for name, x in settings.items() if name != "config"}
    return config | others
