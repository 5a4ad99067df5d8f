"""Every file that a command reads comes in through here; most that it writes leave.

Whatever is there, of whatever kind and size, a reader returns what was written, or
raises a UsageError that names the file. Nothing of a file is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pathlib
import stat
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

import numpy as np

from pgjax.app.errors import DamagedFileError, MissingFileError, UsageError, naming

MOST_JSON = 2**30  # bytes
DEEPEST = 32  # lists and objects within each other
_PIECE = 2**20  # bytes that are read at a time
_SHA256 = "sha256"  # the key under which JSON has the checksum of the rest
# What code raises that takes in what it did not expect.
_MISFITS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to be read as bytes.

    Raises:
      MissingFileError: if there is none.
      DamagedFileError: for what is no file, such as a directory.
      UsageError: if it cannot be read.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DamagedFileError(path, "it is not a file")
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(path) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens what may be a pipe that nobody writes into."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def misfit_told(path: pathlib.Path) -> Iterator[None]:
    """Names the file whose content was refused, or was not what the code expects."""
    try:
        yield
    except UsageError as error:
        told = str(error)
        raise error if str(path) in told else UsageError(f"{path}: {told}") from error
    except _MISFITS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DamagedFileError(path, reason) from error


def read_json(path: pathlib.Path) -> Any:
    """What `write_json` wrote, or any other strict JSON in UTF-8.

    Raises:
      UsageError: naming the file; also where it has a checksum of its content, and
        that has changed.
    """
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_JSON:
            raise DamagedFileError(path, f"it is longer than {MOST_JSON} bytes")
        data = file.read(MOST_JSON)
    try:
        content = json.loads(data.decode(), parse_constant=_refuse)
        _check_depth(content)
        expected = content.pop(_SHA256, None) if isinstance(content, dict) else None
        found = digest(content)  # which is no text if a string in it is none
    except RecursionError:
        raise DamagedFileError(path, "it is nested too deeply") from None
    except ValueError as error:
        raise DamagedFileError(path, str(error)[:200]) from error
    if expected is not None and expected != found:
        raise DamagedFileError(
            path,
            "it was changed after it was written, as its sha256 tells; restore it, or "
            "delete that entry to take it as it is",
        )
    return content


def read_toml(path: pathlib.Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
      UsageError: naming the file, for what is none.
    """
    with opened(path) as file:
        try:
            return tomllib.load(file)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError among them
            raise DamagedFileError(path, f"it is not TOML: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _check_depth(content: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(content, dict | list):
        for item in content.values() if isinstance(content, dict) else content:
            _check_depth(item, depth + 1)


def digest(content: Any) -> str:
    """The SHA-256 of JSON data, however it is laid out."""
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON in full, or not at all."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def write_signed(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes an object with its checksum, which `read_json` sees to."""
    write_json(path, content | {_SHA256: digest(content)})


def write_whole(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
    """Has a file written under another name first, so that it is whole or not there."""
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        with partial.open("wb") as file:
            write(file)
        partial.replace(path)


def checksum(path: pathlib.Path) -> dict[str, Any]:
    """The number of bytes that a file has, and their SHA-256.

    Raises:
      UsageError: if it cannot be read.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
    return {"bytes": size, _SHA256: hash_of(path, size).hexdigest()}


def hash_of(path: pathlib.Path, size: int) -> Any:
    """The SHA-256 of the first bytes of a file, which can be told of more.

    Raises:
      UsageError: if it cannot be read.
    """
    found = hashlib.sha256()
    with opened(path) as file:
        while piece := file.read(min(_PIECE, size)):
            found.update(piece)
            size -= len(piece)
    return found


def array_names(path: pathlib.Path) -> set[str]:
    """The names of the arrays of an .npz file.

    Raises:
      UsageError: if it is missing or damaged.
    """
    with opened(path) as file, damage_told(path), zipfile.ZipFile(file) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


@contextlib.contextmanager
def damage_told(path: pathlib.Path) -> Iterator[None]:
    """Names the archive that could not be read.

    Raises:
      DamagedFileError: for whatever reading it raises.
    """
    try:
        yield
    except (OSError, UsageError):
        raise
    except Exception as error:  # zipfile, NumPy and zlib each raise their own
        raise DamagedFileError(path, str(error)[:200]) from error


def read_arrays(
    path: pathlib.Path, wanted: dict[str, tuple[tuple[int, ...], np.dtype]]
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file, which must be those that are wanted, and no others.

    Args:
      path: the file.
      wanted: shape and type of each, by name.

    Raises:
      UsageError: naming the file, and the first array that is another.
    """
    with opened(path) as file, damage_told(path), zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        found = {
            name: _read_array(archive, members.pop(f"{name}.npy", None), *x)
            for name, x in wanted.items()
        }
    told = [
        f"{name} is {x}, expected {wanted[name][1]} of shape {wanted[name][0]}"
        for name, x in found.items()
        if isinstance(x, str)
    ]
    if told:
        raise UsageError(f"{path} does not fit the run's config: {told[0]}")
    if members:
        raise DamagedFileError(path, f"it has {min(members)}, which is none of the run")
    return {name: x for name, x in found.items() if not isinstance(x, str)}


def _read_array(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo | None,
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> np.ndarray | str:
    """An array, read in full so that its checksum is seen; or what is there instead."""
    if info is None:
        return "missing"
    with archive.open(info) as member:
        there = _header(member)
    if there != (shape, dtype):
        return f"{there[1]} of shape {there[0]}"
    if info.file_size > int(np.prod(shape)) * dtype.itemsize + 2**16:
        return f"{info.file_size} bytes"
    return np.lib.format.read_array(io.BytesIO(archive.read(info)), allow_pickle=False)


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(member)]
    shape, _, dtype = read(member)
    return shape, dtype
