"""The parameters of agents as an .npz file: one array per leaf, seeds first."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np

from pgjax.lab.errors import MissingFileError, UsageError
from pgjax.lab.files import read_arrays, write_whole


def save_params(path: pathlib.Path, params: Any) -> None:
    """Writes a pytree of arrays, each under the path of its leaf; all, or nothing."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    arrays: dict[str, Any] = {_name(path): np.asarray(leaf) for path, leaf in leaves}
    write_whole(path, lambda file: np.savez(file, **arrays))


def load_params(path: pathlib.Path, like: Any) -> Any:
    """Reads what `save_params` wrote, as a pytree shaped like `like`.

    Raises:
      UsageError: if the file is missing, damaged, or of other shapes or types.
    """
    leaves = jax.tree_util.tree_leaves_with_path(like)
    wanted = {_name(path): (x.shape, np.dtype(x.dtype)) for path, x in leaves}
    try:
        arrays = read_arrays(path, wanted)
    except MissingFileError:
        raise UsageError(f"{path} is missing: did the run finish?") from None
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_name(path)], like)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
