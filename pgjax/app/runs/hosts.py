"""Several processes that train together; the first one decides, speaks and writes.

Each has the whole mesh of devices in view and runs the same programs; arrays are spread
over all of them. With one process, nothing here does anything.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from pgjax.app.errors import UsageError, told
from pgjax.app.runs.rendezvous import meet
from pgjax.checkpoints import CheckpointError, from_arrays, template, to_arrays

T = TypeVar("T")
WAIT = 60  # seconds for all processes to come together
SILENCE = 30  # seconds without a sign of life, after which a process counts as lost


def join(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Becomes one of several processes, before JAX is used for anything else.

    Args:
      coordinator: HOST:PORT of the first process; None where the cluster's manager
        (Slurm, Open MPI, a TPU pod) says so, as it says the others.
      num_processes: how many there are.
      process_id: which one this is.

    Raises:
      UsageError: if the cluster is not recognised, or the others do not come.
    """
    given = coordinator, num_processes, process_id
    if any(x is None for x in given) and any(x is not None for x in given):
        raise UsageError(
            "--coordinator, --num-processes and --process-id go together; without "
            "them, Slurm, Open MPI and TPU pods say what they are"
        )
    if coordinator is not None and num_processes is not None:
        meet(coordinator, num_processes, process_id or 0, wait=WAIT)
    try:
        jax.distributed.initialize(
            *given, initialization_timeout=WAIT, heartbeat_timeout_seconds=SILENCE
        )
    except (ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UsageError(
            f"cannot join the other processes: {reason}; outside Slurm, Open MPI and "
            "TPU pods, pass --coordinator HOST:PORT --num-processes N --process-id I"
        ) from error

    check_devices()


def check_devices() -> None:
    """Raises UsageError, in every process, unless all have as many devices."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        told_counts = ", ".join(
            f"{n} in process {i}" for i, n in sorted(counts.items())
        )
        _refuse(
            f"all processes need as many devices, and there are {told_counts}; "
            "JAX_NUM_CPU_DEVICES=N gives a process N devices of a CPU"
        )


def check_agreement(asked: dict[str, Any]) -> None:
    """Raises UsageError, in every process, unless all are asked to do the same.

    Args:
      asked: what this one is, by name.
    """
    if not several():
        return
    own = json.dumps({name: str(value) for name, value in asked.items()}).encode()
    (size,) = largest(len(own))
    padded = np.frombuffer(own.ljust(size), np.uint8)
    everyone: Any = np.asarray(multihost_utils.process_allgather(padded), np.uint8)
    told = [json.loads(row.tobytes()) for row in everyone]
    for name in dict.fromkeys(name for one in told for name in one):
        values = [one.get(name, "not given") for one in told]
        other = next((i for i, x in enumerate(values) if x != values[0]), None)
        if other is not None:
            _refuse(
                f"all processes must be started with the same command, and {name} is "
                f"{values[0]} in process 0 and {values[other]} in process {other}"
            )


def _refuse(message: str) -> NoReturn:
    """Raises UsageError in every process, all of which come here.

    None leaves before all have come: one that is slower would see another one vanish,
    and tell that instead.
    """
    with contextlib.suppress(RuntimeError):
        jax.distributed.shutdown()
    raise UsageError(message)


def several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    return jax.process_index() == 0


def from_first(fn: Callable[[], T]) -> T:
    """What the first process finds, plain JSON data; all get it, or its error.

    Raises:
      UsageError: if it could not, for a reason that a user can mend.
    """
    if not several():
        return fn()
    answer: dict[str, Any] = {}
    if is_first():
        try:
            answer = {"value": fn()}
        except (UsageError, CheckpointError) as error:
            answer = {"error": str(error)}
        except OSError as error:
            answer = {"error": told(error)}
    text = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_first() else np.zeros(size, np.uint8)
    text = np.asarray(multihost_utils.broadcast_one_to_all(text), np.uint8)
    answer = json.loads(text.tobytes())
    if "error" in answer:
        raise UsageError(answer["error"])
    return answer["value"]


def on_first(fn: Callable[[], T]) -> T | None:
    """Has the first process do something, and gives it what came of it.

    The others wait until it is done, and raise what it raised.
    """
    found: list[T] = []
    from_first(lambda: found.append(fn()))
    return found[0] if found else None


def tree_from_first(fn: Callable[[], Any], like: Any) -> Any:
    """A pytree, or None, that the first process finds.

    Args:
      fn: finds it.
      like: its structure, shapes and types.
    """
    if not several():
        return fn()
    found = on_first(fn)
    if not from_first(lambda: found is not None):
        return None
    arrays = to_arrays(found) if is_first() else template(like)
    # As bytes: 64-bit numbers would be cut to 32.
    sent = {name: np.atleast_1d(x).view(np.uint8) for name, x in arrays.items()}
    sent = multihost_utils.broadcast_one_to_all(sent)
    received = {
        name: np.asarray(sent[name], np.uint8).view(x.dtype).reshape(x.shape)
        for name, x in arrays.items()
    }
    return from_arrays(received, like)


def largest(*numbers: int) -> list[int]:
    """Each number, or the largest that another process has in its place."""
    if not several():
        return list(numbers)
    # As bytes: 64-bit numbers would be cut to 32.
    sent = np.array(numbers, np.int64).view(np.uint8)
    everyone = np.asarray(multihost_utils.process_allgather(sent), np.uint8)
    return np.ascontiguousarray(everyone).view(np.int64).max(axis=0).tolist()


def fetch(x: Any) -> Any:
    """An array on this host, whole; keys remain keys, which NumPy does not have."""
    if not isinstance(x, jax.Array):
        return np.asarray(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        if x.is_fully_addressable:
            return x
        data = fetch(jax.random.key_data(x))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def place(x: Any, sharding: NamedSharding) -> Any:
    """An array that every process has, spread over the devices of all."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(
            place(data, sharding), impl=jax.random.key_impl(x)
        )
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
