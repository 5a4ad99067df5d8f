"""Where agents and environments are: a mesh of devices with an axis for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P

from pgjax._internal.checks import as_count
from pgjax._internal.collectives import AXIS as ENV
from pgjax.types import AxisName

AGENT = "agent"
AGENTS = P(AGENT)  # split along the first axis, that of agents


def make_mesh(devices: Sequence[jax.Device] | None = None, *, env: int = 1) -> Mesh:
    """A mesh with an axis of agents and one of environments.

    Agents are dealt out along the first, and run by themselves. The environments of
    each agent are split along the second: each device steps its share of them and
    computes its share of the gradient, and the gradient that all follow is the sum,
    that of the whole batch. On a CPU, one XLA device per core is faster than one device
    with a thread per core (`JAX_NUM_CPU_DEVICES=2`).

    Args:
      devices: by default all that there are, of all processes.
      env: how many devices share the environments of an agent.

    Raises:
      ValueError: if the number of devices is no multiple of `env`.
    """
    devices = jax.devices() if devices is None else list(devices)
    env = as_count("env", env)
    if len(devices) % env:
        raise ValueError(
            f"env must divide the number of devices, {len(devices)}, got {env}"
        )
    return Mesh(np.reshape(devices, (-1, env)), (AGENT, ENV))


def axis_of_envs(mesh: Mesh | AbstractMesh | None) -> AxisName:
    """The name of the axis that environments are split along, if they are."""
    return ENV if mesh is not None and mesh.shape[ENV] > 1 else None


def over_mesh(
    fn: Callable[..., Any],
    mesh: Mesh,
    in_specs: Any = AGENTS,
    out_specs: Any = AGENTS,
) -> Callable[..., Any]:
    """`fn` on every device of a mesh, for its share; to be jitted.

    Args:
      fn: a function of a share.
      mesh: as of `make_mesh`.
      in_specs: how its arguments are split; by default as agents, along the first axis.
      out_specs: likewise of what it returns.
    """
    if mesh.size == 1:
        return fn

    # Parameters are sums over devices, which an algorithm declares and `check_replicas`
    # sees, and loop carries that start as constants need no marking.
    return jax.shard_map(
        fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def specs_of(fn: Callable[..., Any], *arguments: Any, mesh: Mesh) -> Any:
    """How the results of a function of one agent are split over its devices.

    Along their first axis, if that is shorter in a share.

    Args:
      fn: such as one that makes a `TrainState`; it is given `axis_name=`, too.
      *arguments: or their shapes.
      mesh: as of `make_mesh`.

    Raises:
      ValueError: if its environments cannot be split evenly.
    """
    shards, axis_name = mesh.shape[ENV], axis_of_envs(mesh)

    def share(_: Any, *arguments: Any) -> Any:
        return fn(*arguments, axis_name=axis_name)

    axes = 0, *(None for _ in arguments)
    shares = jax.vmap(share, axes, axis_name=ENV, axis_size=shards)
    whole = jax.eval_shape(partial(fn, axis_name=None), *arguments)
    part = jax.eval_shape(shares, np.zeros(shards), *arguments)
    return jax.tree.map(
        lambda x, y: P() if x.shape == y.shape[1:] else P(ENV), whole, part
    )


def of_agents(specs: Any) -> Any:
    """The same of many agents, which are split along their first axis."""
    return jax.tree.map(
        lambda spec: P(AGENT, *spec), specs, is_leaf=lambda x: isinstance(x, P)
    )


def check_replicas(params: Any) -> None:
    """Sees that all devices that share an agent hold the same parameters.

    `train` and `train_steps` do so wherever they are not traced, and the command at its
    end. In a jitted loop of your own, call it now and then.

    Args:
      params: a pytree of arrays, as they lie on the devices.

    Raises:
      RuntimeError: if they do not: some sum over environments was not one over devices.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        copies: dict[Any, np.ndarray] = {}
        for shard in leaf.addressable_shards:
            data = np.asarray(shard.data)
            first = copies.setdefault(str(shard.index), data)
            if np.array_equal(first, data, equal_nan=True):
                continue
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise RuntimeError(
                f"devices disagree about the parameters {name}: the algorithm declares "
                "sums_over_devices, and reduces over environments without axis_name, "
                "or takes the gradient of what is summed over devices"
            )
