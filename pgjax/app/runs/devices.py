"""Which devices a run uses, and how many share an agent's environments."""

from __future__ import annotations

import jax
from jax.sharding import Mesh

import pgjax as pg
from pgjax._internal.meshes import AGENT, ENV
from pgjax.app.errors import UsageError
from pgjax.app.runs.hosts import several
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.limits import check_run
from pgjax.app.settings.memory_estimates import block_size
from pgjax.app.settings.plan import Plan
from pgjax.app.settings.run_settings import Config


def choose_mesh(config: Config, num_agents: int, num_devices: int | None) -> Mesh:
    """The devices of a run: as many as are asked for, but none without an agent.

    Raises:
      UsageError: if there are not so many, or they cannot be shared as the config says.
    """
    devices, env = jax.devices(), config.env_devices
    if num_devices is not None and num_devices > len(devices):
        raise UsageError(
            f"--devices {num_devices}, but there are {len(devices)}; a CPU has as many "
            f"as JAX_NUM_CPU_DEVICES={num_devices} says"
        )
    if several() and num_devices not in (None, len(devices)):
        raise UsageError("--devices does not go with --distributed, which uses all")
    devices = devices[:num_devices]
    if len(devices) % env or config.num_envs % env:
        raise UsageError(
            f"--env-devices {env} must divide the number of devices, {len(devices)}, "
            f"and --num-envs, {config.num_envs}; a CPU has as many devices as "
            f"JAX_NUM_CPU_DEVICES={env} says"
        )
    rows = len(devices) // env
    if not several():  # where each process has a part in every program
        rows = min(rows, num_agents)
    return pg.make_mesh(devices[: rows * env], env=env)


def mesh_on_host(config: Config, num_devices: int | None) -> Mesh:
    """The device of a run whose environments live on the host: one.

    Raises:
      UsageError: if more are asked for.
    """
    told = f"{config.env} lives on the host, whose agents learn on one device"
    if several():
        raise UsageError(f"{told}: leave out --distributed")
    if config.env_devices > 1:
        raise UsageError(f"{told}: leave out --env-devices")
    if num_devices not in (None, 1):
        raise UsageError(f"{told}: leave out --devices")
    return pg.make_mesh(jax.devices()[:1])


def least_width(config: Config, num_agents: int, num_devices: int | None) -> int:
    """How many agents a program has on each device at least; some may be repeated.

    XLA drops an axis of one agent, and then rounds otherwise than with two or more,
    among which their number changes nothing. So only agents of a group that has no more
    than one for each device are alone; and those of which a device runs one at a time.

    Args:
      config: the settings of the group.
      num_agents: of the whole group, in all its batches.
      num_devices: how many to use; None for all.
    """
    alone = num_agents <= choose_mesh(config, num_agents, num_devices).shape[AGENT]
    return 1 if alone or block_size(config.num_envs) == 1 else 2


def check_memory(plan: Plan, execution: Execution) -> None:
    """Sees that memory could hold the largest batch of each group.

    Raises:
      UsageError: with the numbers that would fit.
    """
    largest = {batch.group: len(batch.agents.seeds) for batch in plan.batches}
    for group, size in largest.items():
        mesh = mesh_of(plan, group, execution)
        check_run(*plan.pairs[group], size, mesh)


def mesh_of(plan: Plan, group: int, execution: Execution) -> Mesh:
    """The devices of a group of a plan: of all of its batches, whatever their size."""
    config, agents = plan.groups[group]
    if is_on_host(plan, group):
        return mesh_on_host(config, execution.devices)
    return choose_mesh(config, len(agents.seeds), execution.devices)


def is_on_host(plan: Plan, group: int) -> bool:
    """Whether a group's environments live on the host, where agents take turns."""
    return plan.experiments[group].rollout.on_host


def devices_told(mesh: Mesh) -> str:
    """The devices, and how they are shared."""
    devices = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    if mesh.size == 1:
        devices = mesh.devices.flat[0].device_kind
    if several():
        devices += f" of {jax.process_count()} processes"
    env = mesh.shape[ENV]
    return devices if env == 1 else f"{devices}, {env} for each agent's environments"
