"""The contract: what an environment must be, and what it does against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from pgjax._internal import contract
from pgjax._internal.checks import as_count, check_is
from pgjax._internal.user_parts import named
from pgjax.envs.check_host import check_host
from pgjax.envs.draws import trace
from pgjax.envs.probes import of_resets, of_steps
from pgjax.envs.trial import of_trial, play
from pgjax.types import Array, Discrete, Env, HostEnv, Key

_SIZES = 3, 1, 64  # of batches: whose axis is no other's, without company, and many


def check_env(
    env: Env | HostEnv, *, num_envs: int = 64, seconds: float = 30.0
) -> list[str]:
    """What an environment does against what `pg.Env` says, a line for each mistake.

    It is traced, reset and stepped with random actions, until all of `num_envs` first
    episodes have ended, or for twice the time limit. What its shapes and types are is
    what rollouts and `evaluate` check as well, always; the first of these that is wrong
    is the only line.

    Args:
      env: to be checked.
      num_envs: N, environments side by side; >= 2.
      seconds: of stepping, at most.

    Returns:
      Sentences that say what is wrong and what is right; none, if nothing is.

    Raises:
      TypeError: for an argument of another type.
      ValueError: if num_envs < 2.
    """
    check_is(Env | HostEnv, 'pg.make_env("CartPole-v1")', env=env)
    num_envs = as_count("num_envs", num_envs, least=2)
    if isinstance(env, HostEnv):
        return check_host(env, num_envs, seconds)
    try:
        for size in (*_SIZES, num_envs):
            contract.check_env(env, size)
    except (TypeError, ValueError) as error:
        return [str(error)]
    found = [*_types(env), *_mapped(env), *_draws(env)]
    key = jax.random.key(0)
    with jax.numpy_rank_promotion("allow"):  # by what is compared here
        reset = jax.jit(lambda key: env.reset(key, num_envs))
        found += of_resets(env, reset, key, num_envs)
        found += of_steps(env, reset, key, num_envs)
        found += of_trial(env, play(env, key, num_envs, seconds=seconds))
    return found


def _types(env: Env) -> Iterator[str]:
    """Weak types, which a step makes strong: programs are compiled once more."""
    key, action = _key(), _action(env, 3)
    start = jax.eval_shape(lambda key: env.reset(key, 3), key)
    after = jax.eval_shape(env.step, key, start[1], action)[:2]
    for part, tree in (("reset", start), ("step", after)):
        for name, leaves in zip(("obs", "state"), tree, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(leaves):
                if getattr(leaf, "weak_type", False):
                    yield (
                        f"env.{part} returns a weakly typed {named(name, path)}, whose "
                        "type changes with what it is computed with; write for example "
                        f"jnp.zeros(num_envs, jnp.{leaf.dtype}), with the type said"
                    )
                    return


def _mapped(env: Env) -> Iterator[str]:
    """Seeds train side by side: all is mapped over them."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))

    shape, dtype = _shape(env, 3)
    actions = jax.ShapeDtypeStruct((2, *shape), dtype)

    def run(key: Key, action: Array) -> Any:
        _, state = env.reset(key, 3)
        return env.step(key, state, action)

    try:
        jax.eval_shape(jax.vmap(run), keys, actions)
    except Exception as error:  # anything that a user's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        yield (
            "the environment fails under jax.vmap, which maps it over seeds, with "
            f"{reason}; use operations of JAX only, on whole arrays"
        )


def _draws(env: Env) -> Iterator[str]:
    """Random numbers that come from no key that was given."""
    key = _key()
    of_reset = trace(lambda key: env.reset(key, 3), key)
    if not all(of_reset.draws):
        yield (
            "env.reset draws random numbers from a key of its own, the same in every "
            "call; draw them from the key that it is given"
        )
    obs, state = jax.eval_shape(lambda key: env.reset(key, 3), key)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    num_obs = len(jax.tree.leaves(obs))
    random = {i + 1 for i, of in enumerate(of_reset.outputs[num_obs:]) if of}
    of_step = trace(env.step, key, state, _action(env, 3))
    kept = {i for i, out in of_step.passed_on.items() if i == out + 1 - num_obs}
    numbers = range(1, len(paths) + 1)
    right = "draw them from the key that it is given"
    told: dict[str, None] = {}  # each once
    for sources in of_step.draws:
        own = [i for i in numbers if i in sources]
        names = ", ".join(named("state", paths[i - 1]) for i in own)
        why = None
        if 0 in sources:
            continue
        if not own:
            why = f"a key of its own, the same at every step; {right}"
        elif not random & set(own):
            why = f"{names}, which begins alike in all environments; {right}"
        elif not (random & set(own)) - kept:
            why = (
                f"{names}, which stays what it is: they are the same at every step; "
                f"split that key, or {right}"
            )
        if why:
            told[f"env.step draws random numbers from {why}"] = None
    yield from told


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _shape(env: Env, num_envs: int) -> tuple[tuple[int, ...], Any]:
    space = env.action_space
    dtype = jnp.int32 if isinstance(space, Discrete) else jnp.float32
    return (num_envs, *space.shape), dtype


def _action(env: Env, num_envs: int) -> Any:
    return jax.ShapeDtypeStruct(*_shape(env, num_envs))
