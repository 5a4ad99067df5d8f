"""Trains with the pgjax that PYTHONPATH leads to, this revision or another.

It uses only what pgjax has had from the start, so that old revisions run too.
"""

from __future__ import annotations

import inspect
import pathlib
from functools import partial
from typing import Any

BASELINES = {
    "none": "no_baseline",
    "mean": "episode_mean",
    "batch_mean": "batch_mean",
    "leave_one_out": "leave_one_out",
    "value": "value_baseline",
}


FEWEST_ENVS = 64  # of a device, for environments to be split over devices


def build(spec: dict[str, Any]) -> Any:
    """Compiles `updates` train steps in one program, and runs it once.

    Args:
      spec: that of `pgjax.bench.cases.Spec`, and
        directory: where pgjax must come from;
        revision: what to call it.
    """
    import jax
    import numpy as np
    from protocol import compiled_work  # type: ignore[import-not-found]

    import pgjax as pg

    found = pathlib.Path(pg.__file__).resolve().parent.parent
    if found != pathlib.Path(spec["directory"]).resolve():
        raise RuntimeError(f"Python found another pgjax first, in {found}")
    init, run = _programs(pg, spec)
    seeds = spec["seed"] + np.arange(spec["num_agents"])
    start = jax.jit(init)(seeds if spec["num_agents"] > 1 else seeds[0])
    version = f"{pg.__version__} ({spec['revision']})"
    what = f"pgjax {version}, {spec['algorithm']}"
    return compiled_work(run, start, spec, what=what, pgjax=version)


def _programs(pg: Any, spec: dict[str, Any]) -> tuple[Any, Any]:
    """From seeds to states, and from states to states and metrics."""
    import jax

    env = pg.make_env(spec["env"])
    network, optimizer = network_of(pg, spec, env), optimizer_of(spec)
    algorithm = algorithm_of(pg, spec, network, optimizer)
    rollout = rollout_of(pg, spec, env, spec["num_envs"])

    def init(seed: Any) -> Any:
        return pg.init_train_state(jax.random.key(seed), rollout, algorithm)

    def run(state: Any) -> Any:
        return pg.train_steps(state, rollout, algorithm, num_updates=spec["updates"])

    if spec["num_agents"] == 1:
        return _split(pg, rollout, algorithm, spec) or (init, run)
    return jax.vmap(init), _over_devices(jax.vmap(run), spec["num_agents"])


def _split(pg: Any, rollout: Any, algorithm: Any, spec: dict[str, Any]) -> Any:
    """One agent with its environments on all devices, where this pgjax can."""
    import jax

    count = len(jax.devices())
    if not worth_splitting(spec, count):
        return None
    if hasattr(pg, "over_environments"):  # as some earlier revisions called it
        training = pg.over_environments(rollout, algorithm, jax.devices())
        return (
            lambda seed: training.init(jax.random.key(seed)),
            lambda state: training.steps(state, spec["updates"]),
        )
    if not hasattr(pg, "make_mesh"):
        return None
    mesh, updates = pg.make_mesh(env=count), spec["updates"]
    make = partial(pg.init_train_state, rollout=rollout, algorithm=algorithm, mesh=mesh)
    return (
        lambda seed: make(jax.random.key(seed)),
        lambda state: pg.train_steps(
            state, rollout, algorithm, num_updates=updates, mesh=mesh
        ),
    )


def worth_splitting(spec: dict[str, Any], num_devices: int) -> bool:
    """Whether each device would have enough environments to be worth the exchange."""
    share, rest = divmod(spec["num_envs"], num_devices)
    return num_devices > 1 and rest == 0 and share >= FEWEST_ENVS


def _over_devices(run: Any, num_agents: int) -> Any:
    """Splits agents over the devices, where they can be split evenly."""
    import jax

    count = len(jax.devices())
    if num_agents % count:
        return run
    mesh = jax.sharding.Mesh(jax.devices(), ("agent",))
    spec = jax.sharding.PartitionSpec("agent")
    return jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)


def rollout_of(pg: Any, spec: dict[str, Any], env: Any, num_envs: int) -> Any:
    """The rollout that a spec describes, with so many environments."""
    if spec["num_steps"] is None:
        return pg.episodes(env, num_envs)
    return pg.unroll(env, num_envs, spec["num_steps"])


def network_of(pg: Any, spec: dict[str, Any], env: Any) -> Any:
    """The network that a spec describes."""
    needs_critic = spec["algorithm"] != "reinforce"
    critic = needs_critic or spec["options"].get("baseline") == "value"
    return (pg.actor_critic if critic else pg.mlp_policy)(
        env,
        tuple(spec["hidden"]),
        activation=spec["activation"],
        initializer=spec["initializer"],
    )


def optimizer_of(spec: dict[str, Any]) -> Any:
    """Adam, after clipping the gradient where the spec says so."""
    import optax

    optimizer = optax.adam(spec["learning_rate"])
    if spec["max_gradient_norm"] is not None:
        clip = optax.clip_by_global_norm(spec["max_gradient_norm"])
        optimizer = optax.chain(clip, optimizer)
    return optax.flatten(optimizer)


def algorithm_of(pg: Any, spec: dict[str, Any], network: Any, optimizer: Any) -> Any:
    """The algorithm that a spec describes.

    REINFORCE refuses episodes that are cut, whose gradient is biased; how fast it would
    be is asked all the same.
    """
    options = dict(spec["options"])
    if "baseline" in options:
        options["baseline"] = getattr(pg, BASELINES[options["baseline"]])
    factory = getattr(pg, spec["algorithm"])
    if "advantage_normalization" in inspect.signature(factory).parameters:  # until 0.1
        on = options.pop("normalize_advantage", True)
        over = options.pop("normalize_over", "minibatch")
        options["advantage_normalization"] = over if on else "none"
    algorithm = factory(network, optimizer, **options)
    if spec["num_steps"] is None or not algorithm.complete_episodes:
        return algorithm
    return algorithm._replace(complete_episodes=False)


if __name__ == "__main__":
    from protocol import serve  # beside this script

    serve(build)
