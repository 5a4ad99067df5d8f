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
    takes a seed first, uint32. Observations that are a tree it takes as dicts and
    tuples: a NamedTuple as the dict of its fields.

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
    obs = _zeros_told(as_plain(_obs_of(experiment)))
    arguments = "np.uint32(0), obs" if sampled else "obs"
    print(
        f"{one_line(path)}: {path.stat().st_size:,} bytes; all that it needs is "
        "`pip install jax flatbuffers`:\n\n"
        "    import jax.export, numpy as np\n"
        f'    policy = jax.export.deserialize(open({str(path)!r}, "rb").read())\n'
        f"    obs = {obs}  # any number of them\n"
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

    def distribution(obs: Any) -> Any:
        return algorithm.policy(params, from_plain(obs, like))

    def greedy(obs: Any) -> Any:
        return within(distribution(obs).mode())

    def drawn(seed: Any, obs: Any) -> Any:
        return within(distribution(obs).sample(jax.random.key(seed)))

    (batch,) = jax.export.symbolic_shape("batch")
    like = _obs_of(experiment)
    arguments = [
        jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype),
            as_plain(like),
        )
    ]
    if sampled:
        arguments.insert(0, jax.ShapeDtypeStruct((), jnp.uint32))
    function = jax.jit(drawn if sampled else greedy)
    return bytes(
        jax.export.export(function, platforms=PLATFORMS)(*arguments).serialize()
    )


def _obs_of(experiment: Any) -> Any:
    """The shapes of observations, (N, ...)."""
    return jax.eval_shape(experiment.rollout.observe, jax.random.key(0))


def as_plain(tree: Any) -> Any:
    """A tree as dicts, lists and tuples, which a file can hold without anybody's types.

    What has names, of keys or of fields, becomes a dict.
    """
    children, _ = _one_level(tree)
    if [path for path, _ in children] == [()]:
        return tree
    if isinstance(tree, list):
        return list(map(as_plain, tree))
    named = {_name_of(path): as_plain(child) for path, child in children}
    if all(isinstance(name, str) for name in named):
        return named
    return tuple(named.values())


def from_plain(plain: Any, like: Any) -> Any:
    """The tree that `as_plain` made plain, of the types of another one like it."""
    children, structure = _one_level(like)
    if [path for path, _ in children] == [()]:
        return plain
    if isinstance(plain, dict):
        parts = [plain[_name_of(path)] for path, _ in children]
    else:
        parts = list(plain)
    pairs = zip(parts, children, strict=True)
    return structure.unflatten([from_plain(part, x) for part, (_, x) in pairs])


def _one_level(tree: Any) -> tuple[Any, Any]:
    """What is right below the root, with paths of one key; the root's structure."""
    return jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)


def _name_of(path: Any) -> Any:
    """A key or a field's name, or the number of a place."""
    (key,) = path
    for name in ("name", "key", "idx"):
        if hasattr(key, name):
            return getattr(key, name)
    return str(key)


def _zeros_told(obs: Any) -> str:
    """The expression of eight observations."""
    if isinstance(obs, dict):
        parts = (f"{name!r}: {_zeros_told(x)}" for name, x in obs.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(obs, list):
        return f"[{', '.join(map(_zeros_told, obs))}]"
    if isinstance(obs, tuple):
        return f"({''.join(f'{_zeros_told(x)}, ' for x in obs)})"
    shape = ", ".join(map(str, obs.shape[1:]))
    return f"np.zeros((8, {shape}), np.{obs.dtype.name})"
