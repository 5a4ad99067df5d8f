"""A trained policy as one file of StableHLO, which runs without pgjax."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from pgjax.app.errors import UsageError
from pgjax.app.play import chosen_agents, evaluate_run, kept_scores
from pgjax.app.settings.ranges import check_int
from pgjax.app.shown_names import one_line
from pgjax.types import Box

PLATFORMS = "cpu", "cuda", "tpu"


def export(
    run: str,
    *,
    out: str | None = None,
    agent: int | None = None,
    where: dict | None = None,
    best_combination: bool = False,
    sampled: bool = False,
    which: kept_scores.Which = "last",
) -> int:
    """Writes a run's greedy policy as serialized StableHLO, and says how to use it.

    The file holds a function of observations (batch, ...), for any batch, to actions
    (batch, ...), the parameters within, lowered for CPU, CUDA and TPU. A sampled policy
    takes a seed first, uint32.

    Args:
      run: its directory, as made by pgjax train.
      out: the file to write (default: RUN/policy-seedN.jax).
      agent: the agent's seed (default: the run's first).
      where: its settings in the run's grid, such as learning_rate=0.01.
      best_combination: an agent of the best combination, as pgjax compare names it.
      sampled: draw actions from the policy; it then takes a seed before observations.
      which: its last policy, or the best that --eval-every has found.
    """
    if agent is not None:
        check_int("agent", agent)
    directory = pathlib.Path(run)
    groups = evaluate_run.load(directory, which)
    chosen = chosen_agents.wanted(directory, where, best=best_combination)
    group, seed, params = chosen_agents.choose(groups, agent, chosen)
    experiment = group.experiment
    name = f"policy-seed{seed}"
    name += "-sampled.jax" if sampled else ".jax"
    path = pathlib.Path(out) if out else directory / name
    if not path.parent.is_dir():
        raise UsageError(f"--out is in {path.parent}, which is no directory")
    path.write_bytes(serialize(experiment, params, sampled=sampled))
    obs = jax.eval_shape(experiment.rollout.observe, jax.random.key(0))
    arguments = "np.uint32(0), obs" if sampled else "obs"
    print(
        f"{one_line(path)}: {path.stat().st_size:,} bytes; all that it needs is "
        "`pip install jax flatbuffers`:\n\n"
        "    import jax.export, numpy as np\n"
        f'    policy = jax.export.deserialize(open({str(path)!r}, "rb").read())\n'
        f"    obs = np.zeros((8, {', '.join(map(str, obs.shape[1:]))}), "
        f"np.{obs.dtype})  # any number of them\n"
        f"    print(policy.call({arguments}))  # their actions"
    )
    return 0


def serialize(experiment: Any, params: Any, *, sampled: bool) -> bytes:
    """The policy as bytes for `jax.export.deserialize`."""
    env, algorithm = experiment.env, experiment.algorithm
    space = env.action_space
    bounded = isinstance(space, Box)

    def within(action: Any) -> Any:
        return jnp.clip(action, space.low, space.high) if bounded else action

    def greedy(obs: Any) -> Any:
        return within(algorithm.policy(params, obs).mode())

    def drawn(seed: Any, obs: Any) -> Any:
        return within(algorithm.policy(params, obs).sample(jax.random.key(seed)))

    (batch,) = jax.export.symbolic_shape("batch")
    obs = jax.eval_shape(experiment.rollout.observe, jax.random.key(0))
    arguments = [jax.ShapeDtypeStruct((batch, *obs.shape[1:]), obs.dtype)]
    if sampled:
        arguments.insert(0, jax.ShapeDtypeStruct((), jnp.uint32))
    function = jax.jit(drawn if sampled else greedy)
    return bytes(
        jax.export.export(function, platforms=PLATFORMS)(*arguments).serialize()
    )
