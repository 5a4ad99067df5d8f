"""The parameters of agents as an .npz file: one array per leaf, seeds first."""

from __future__ import annotations

import io
import pathlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from pgjax.app.errors import DamagedFileError, MissingFileError, UsageError
from pgjax.app.runs.files import (
    array_names,
    damage_told,
    opened,
    read_arrays,
    write_whole,
)

Wanted = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type, by name


def save_params(path: pathlib.Path, params: Any) -> None:
    """Writes a pytree of arrays, each under the path of its leaf; all, or nothing."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    write_arrays(path, ((_name(path), np.asarray(leaf)) for path, leaf in leaves))


def write_arrays(path: pathlib.Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes named arrays one after the other, as `np.savez` does all at once."""

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, x in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, x, allow_pickle=False)

    write_whole(path, write)


def arrays_of(path: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a file, one after the other.

    Raises:
      UsageError: naming the file, if it is missing or damaged.
    """
    with opened(path) as file, damage_told(path), zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            member = io.BytesIO(archive.read(info))
            x = np.lib.format.read_array(member, allow_pickle=False)
            yield info.filename.removesuffix(".npy"), x


def load_params(path: pathlib.Path, like: Any) -> Any:
    """Reads what `save_params` wrote, as a pytree shaped like `like`.

    Raises:
      UsageError: if the file is missing, damaged, or of other shapes or types.
    """
    leaves = jax.tree_util.tree_leaves_with_path(like)
    wanted = {_name(path): (x.shape, np.dtype(x.dtype)) for path, x in leaves}
    try:
        if counts := _float_counts(array_names(path), wanted):
            arrays = _read_float_counts(path, wanted, counts)
        else:
            arrays = read_arrays(path, wanted)
    except MissingFileError:
        raise UsageError(
            f"{path} is missing: `pgjax train --resume` finishes the run"
        ) from None
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_name(path)], like)


# Until version 0.1.0, moments had their number of samples as a float32, and no rests.


def _float_counts(names: set[str], wanted: Wanted) -> list[str]:
    """The counts that a file has as one number and pgjax now has in two words."""
    return [name for name in names if f"{name}/high" in wanted]


def _read_float_counts(
    path: pathlib.Path, wanted: Wanted, counts: list[str]
) -> dict[str, np.ndarray]:
    """The arrays of such a file, as they are wanted now."""
    rests = [name for name in wanted if name.endswith("_rest")]
    words = [f"{count}/{word}" for count in counts for word in ("high", "low")]
    before = {name: x for name, x in wanted.items() if name not in (*rests, *words)}
    for count in counts:
        before[count] = wanted[f"{count}/low"][0], np.dtype(np.float32)
    arrays = read_arrays(path, before)
    for count in counts:
        number = arrays.pop(count)
        if not np.all((number >= 0) & (number < 2.0**64)):
            raise DamagedFileError(path, f"{count} is no number of samples")
        number = number.astype(np.uint64)
        arrays[f"{count}/high"] = (number >> np.uint64(32)).astype(np.uint32)
        arrays[f"{count}/low"] = number.astype(np.uint32)
    return arrays | {name: np.zeros(*wanted[name]) for name in rests}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
