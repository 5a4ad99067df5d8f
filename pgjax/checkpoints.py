"""Training state on disk: whole or not at all, checked when it is read, never code.

A checkpoint is a directory that Orbax writes: arrays, each under the path of its leaf,
with checksums. Reading one executes nothing of it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import pathlib
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal import replacement
from pgjax._internal.checks import check_flags

FORMAT = 1
Arrays = dict[str, Any]  # by the path of the leaf


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and why."""


class DamagedError(CheckpointError):
    """A checkpoint that cannot be read, where another one might be."""


def save(directory: str | os.PathLike, state: Any, *, replace: bool = False) -> None:
    """Writes a training state, or any other pytree of arrays.

    It is on disk when this returns: all of it, or where that failed, none, or what was
    there before.

    Args:
      directory: to be made.
      state: such as the `TrainState` that `train_steps` returned; its leaves may be
        spread over devices and processes, all of which must call this.
      replace: whether a checkpoint that is there already is replaced, once the new one
        is complete. By default nothing is overwritten. Whenever it is interrupted,
        `restore` finds the old one or the new one.

    Raises:
      FileExistsError: if the directory exists, and is not to be replaced or is no
        checkpoint.
      ValueError: if two leaves have the same path, or there is no array at all.
      OSError: if it cannot be written.
    """
    path = pathlib.Path(directory).absolute()
    check_flags(replace=replace)
    if replacement.present(path).exists() and not replace:
        raise FileExistsError(
            f"{path} exists already, and is not overwritten; pass replace=True, or "
            "another directory"
        )
    arrays = to_arrays(state)
    if not arrays:
        raise ValueError("there is nothing to save: no array that is not empty")
    if replace:
        replacement.replace(path, functools.partial(_write, arrays=arrays))
    else:
        _write(path, arrays)


def _write(path: pathlib.Path, arrays: Arrays) -> None:
    """A checkpoint at `path`, where there is nothing; all of it or none."""
    import orbax.checkpoint as ocp

    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # or Orbax waits for ever
        with quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, arrays, custom_metadata={"format": FORMAT})
    except Exception as error:  # TensorStore and Orbax each raise their own
        for partial in path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        reason = " ".join(str(error).split())[:300]
        raise OSError(f"cannot write {path}: {reason}") from error


def restore(directory: str | os.PathLike, like: Any) -> Any:
    """Reads what `save` wrote.

    Args:
      directory: as for `save`.
      like: a pytree of the same structure, shapes and types; its values do not matter,
        so that `jax.eval_shape(lambda: init_train_state(key, rollout, algorithm))` will
        do.

    Returns:
      A pytree like `like`, of NumPy arrays and JAX keys.

    Raises:
      CheckpointError: if there is no checkpoint, if it is damaged, of a newer format,
        or of another structure; the first leaf that differs is named.
    """
    import orbax.checkpoint as ocp

    path = replacement.present(pathlib.Path(directory).absolute())
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a checkpoint: there is no such directory")
    if (path / "default").is_dir():
        raise CheckpointError(
            f"{path} is a checkpoint of `pgjax train`, which --resume goes on from; "
            "params.npz beside it has the parameters"
        )
    with (
        quiet_orbax(),
        damage_told(path),
        ocp.StandardCheckpointer() as checkpointer,
    ):
        return read(checkpointer, path, like)


def read(checkpointer: Any, path: pathlib.Path, like: Any, about: Any = None) -> Any:
    """The pytree in a directory of Orbax's, having seen that it is what is wanted.

    Args:
      checkpointer: Orbax's, for `StandardCheckpointHandler`.
      path: of the directory.
      like: what is wanted.
      about: what the checkpoint says about itself, where it is known already.

    Raises:
      CheckpointError: as `restore` does; others are damage.
    """
    _check_arrays(path)
    metadata = checkpointer.metadata(path)
    about = metadata.custom_metadata if about is None else about
    check_contents(path, about, dict(metadata.item_metadata or {}), like)
    return from_arrays(checkpointer.restore(path, template(like)), like)


def _check_arrays(path: pathlib.Path) -> None:
    """Reads every array once, piece by piece, and sees that those listed are there.

    Orbax reads all at once, and of those that are still being read when one turns out
    to be damaged, it leaves tracebacks behind.
    """
    import tensorstore

    base = {"driver": "file", "path": f"{path}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    there = set()
    for key in store.list().result():
        store.read(key).result()
        there.add(key.decode().rpartition("/")[0])
    listed = json.loads((path / "_METADATA").read_text())["tree_metadata"]
    for entry in listed.values():
        (name,) = (part["key"] for part in entry["key_metadata"])
        if name not in there:
            raise DamagedError(f"{path} is damaged: {name} is listed, and not there")


def to_arrays(state: Any) -> Arrays:
    """A pytree as arrays that share no memory with it, keys as their data.

    Of arrays that are spread over processes, copies on the devices.
    """
    arrays = {}
    for name, leaf in _named_leaves(state):
        leaf = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        if np.size(leaf):  # Orbax does not write what is empty
            spread = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
            arrays[name] = jnp.copy(leaf) if spread else np.array(leaf)
    return arrays


def from_arrays(arrays: Arrays, like: Any) -> Any:
    """The pytree that `to_arrays` took apart."""

    def leaf_of(path: Any, leaf: Any) -> Any:
        if not np.prod(np.shape(leaf)):
            return np.zeros(leaf.shape, leaf.dtype)
        array = arrays[_name(path)]
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=_implementation(leaf))
        return array

    return jax.tree_util.tree_map_with_path(leaf_of, like)


def template(like: Any) -> Arrays:
    """Arrays as `to_arrays` makes them, for Orbax to read into."""
    return {
        name: np.empty(shape, dtype)
        for name, (shape, dtype) in _shapes(like).items()
        if np.prod(shape)
    }


def check_contents(path: pathlib.Path, metadata: Any, stored: Any, like: Any) -> None:
    """Sees that a checkpoint is one of ours, and holds what is wanted.

    Args:
      path: where it is.
      metadata: ours, as Orbax keeps it.
      stored: Orbax's own, of each leaf.
      like: what is wanted.

    Raises:
      CheckpointError: if it says nothing of its format, or a newer one; for the first
        leaf that differs.
    """
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if not isinstance(found, int) or not stored:
        raise DamagedError(f"{path} is damaged, or no checkpoint of pgjax")
    if found > FORMAT:
        raise CheckpointError(
            f"{path} has format {found}, this pgjax reads {FORMAT}; use the pgjax that "
            "wrote it"
        )
    wanted = {name: x for name, x in _shapes(like).items() if np.prod(x[0])}
    for name in dict.fromkeys([*wanted, *stored]):
        found = None
        if name in stored:
            found = tuple(stored[name].shape), np.dtype(stored[name].dtype)
        if found != wanted.get(name):
            there, here = _told(found, "missing"), _told(wanted.get(name), "no such")
            raise CheckpointError(
                f"{path} holds something else: {name} is {there} there, expected {here}"
            )


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keeps Orbax's own log to errors, which are raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Where a list of arrays is damaged, Orbax drops the coroutines that read them.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def damage_told(path: pathlib.Path) -> Iterator[None]:
    """Says of whatever reading raises that the checkpoint is damaged."""
    try:
        yield
    except CheckpointError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedError(f"{path} is damaged: {error.filename} is missing") from error
    except IsADirectoryError as error:
        told = f"{path} is damaged: {error.filename} is a directory"
        raise DamagedError(told) from error
    except MemoryError as error:
        raise CheckpointError(f"{path} takes more memory than there is") from error
    except OSError:  # it may be whole all the same
        raise
    except Exception as error:  # TensorStore, JSON and Orbax each raise their own
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{path} is damaged: {reason}") from error


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [(_name(path), leaf) for path, leaf in leaves]
    if len(dict(named)) < len(named):
        names = [name for name, _ in named]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves have the same path, {twice}")
    return named


def _shapes(like: Any) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    shapes = {}
    for name, leaf in _named_leaves(like):
        if _is_key(leaf):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        shapes[name] = tuple(leaf.shape), np.dtype(leaf.dtype)
    return shapes


def _implementation(key: Any) -> Any:
    """Of a key, or of the shape of one, which only tracing tells."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
    return found[0]


def _told(found: tuple[tuple[int, ...], np.dtype] | None, otherwise: str) -> str:
    return otherwise if found is None else f"{found[1]} of shape {found[0]}"


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
