"""One agent, its environments split over devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pgjax.collectives import AXIS, split_environments
from pgjax.train import init_train_state, train_steps
from pgjax.types import Algorithm, Key, Metrics, Rollout, TrainState


class SplitTraining(NamedTuple):
    """`init_train_state` and `train_steps` of one agent on many devices; to be jitted.

    `steps` maps a state and the number of updates to the next state and the metrics.
    Parameters are the same on all devices, environments are split.
    """

    init: Callable[[Key], TrainState]
    steps: Callable[[TrainState, int], tuple[TrainState, Metrics]]


def over_environments(
    rollout: Rollout, algorithm: Algorithm, devices: Sequence[jax.Device]
) -> SplitTraining:
    """Training of one agent, with its environments split over devices.

    Each device steps its share of the environments and computes its share of the
    gradient; the gradient that all of them follow is the sum, that of the whole batch.
    On a CPU, one XLA device per core is faster than one device with a thread per core.

    Every number of devices draws other random numbers, so a seed gives another agent,
    of the same distribution. An algorithm of your own must reduce over environments
    with `pgjax.weighted`, `pgjax.blocks` and `pgjax.collectives`, as those here do: a
    plain mean would be that of one device's share; see `check_replicas`. Nor may an
    `update` be jitted by itself: JAX would take what it traced for one device.

    On a CPU, wait for each call of `steps` (`jax.block_until_ready`) before the next:
    XLA's CPU devices can block each other for ever where two programs that exchange
    sums are under way.

    Args:
      rollout: as for `train`; its number of environments is that of all devices.
      algorithm: as for `train`.
      devices: where to run.

    Raises:
      ValueError: if the environments cannot be split evenly.
    """
    num_shards = len(devices)
    if num_shards == 1:
        return SplitTraining(
            lambda key: init_train_state(key, rollout, algorithm),
            lambda state, n: train_steps(state, rollout, algorithm, num_updates=n),
        )
    mesh = Mesh(devices, (AXIS,))

    def init(key: Key) -> TrainState:
        with split_environments(num_shards):
            return init_train_state(key, rollout, algorithm)

    def split(fn: Callable, in_specs: Any, out_specs: Any) -> Callable:
        # Parameters are sums over devices: that is for `check_replicas` to see.
        return jax.shard_map(
            fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    whole = jax.eval_shape(
        lambda: init_train_state(jax.random.key(0), rollout, algorithm)
    )
    share = jax.eval_shape(
        jax.vmap(
            lambda _: init(jax.random.key(0)), axis_name=AXIS, axis_size=num_shards
        ),
        np.zeros(num_shards),
    )
    specs = jax.tree.map(_spec, whole, share)

    def steps(state: TrainState, num_updates: int) -> tuple[TrainState, Metrics]:
        def run(state: TrainState) -> tuple[TrainState, Metrics]:
            with split_environments(num_shards):
                return train_steps(state, rollout, algorithm, num_updates=num_updates)

        return split(run, (specs,), (specs, PartitionSpec()))(state)

    return SplitTraining(split(init, PartitionSpec(), specs), steps)


def check_replicas(params: Any) -> None:
    """Sees that all devices hold the same parameters.

    Raises:
      RuntimeError: if they do not: some sum over environments was not one over devices.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        if any(not np.array_equal(first, x, equal_nan=True) for x in others):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise RuntimeError(
                f"devices disagree about the parameters {name}: the algorithm reduces "
                "over environments without pgjax.collectives"
            )


def _spec(whole: Any, share: Any) -> PartitionSpec:
    """How a leaf is split: along its first axis, if that is shorter in a share."""
    split = whole.shape != share.shape[1:]  # whose first axis is that of devices
    return PartitionSpec(AXIS) if split else PartitionSpec()
