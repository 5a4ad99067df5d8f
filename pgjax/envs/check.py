"""The contract: what an environment must be, and what it does against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal import contract
from pgjax._internal.checks import as_count, check_is
from pgjax._internal.user_parts import named
from pgjax.envs.draws import trace
from pgjax.envs.trial import HORIZON, Trial, play, random_actions
from pgjax.types import Array, Box, Discrete, Env, Key

_SIZES = 3, 1, 64  # of batches: whose axis is no other's, without company, and many
ENOUGH = 1000  # steps, in which an episode of a task usually ends
_FAR = 1e3  # half-widths beyond a bound


def check_env(env: Env, *, num_envs: int = 64, seconds: float = 30.0) -> list[str]:
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
    check_is(Env, 'pg.make_env("CartPole-v1")', env=env)
    num_envs = as_count("num_envs", num_envs, least=2)
    try:
        for size in (*_SIZES, num_envs):
            contract.check_env(env, size)
    except (TypeError, ValueError) as error:
        return [str(error)]
    found = [*_types(env), *_mapped(env), *_draws(env)]
    key = jax.random.key(0)
    with jax.numpy_rank_promotion("allow"):  # by what is compared here
        reset = jax.jit(lambda key: env.reset(key, num_envs))
        found += _reset(env, reset, key, num_envs)
        found += _one_step(env, reset, key, num_envs)
        found += _of_trial(env, play(env, key, num_envs, seconds=seconds))
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

    def run(key: Key) -> Any:
        _, state = env.reset(key, 3)
        return env.step(key, state, jnp.zeros(*_shape(env, 3)))

    try:
        jax.eval_shape(jax.vmap(run), keys)
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


def _reset(env: Env, reset: Any, key: Key, num_envs: int) -> Iterator[str]:
    traced_again = jax.jit(lambda key: env.reset(key, num_envs))
    if not _equal(reset(key), traced_again(key)):
        yield (
            "env.reset gives something else for the same key when it is traced again: "
            "NumPy's or Python's random numbers are drawn once for a whole program; "
            "draw with jax.random, from the key"
        )
        return
    starts = [reset(key) for key in jax.random.split(key, 8)]
    if shared := _shared(starts):
        yield (
            f"env.reset draws one {shared} for all environments: one key is used for "
            "all; split it, jax.random.split(key, num_envs), or draw arrays of "
            "num_envs numbers"
        )


def _one_step(env: Env, reset: Any, key: Key, num_envs: int) -> Iterator[str]:
    keys = jax.random.split(key, 8)
    step = jax.jit(env.step)
    _, state = reset(keys[0])
    actions = [random_actions(env.action_space, k, num_envs) for k in keys[1:3]]
    after = step(keys[3], state, actions[0])
    if not _equal(
        after, jax.jit(lambda *given: env.step(*given))(keys[3], state, actions[0])
    ):
        yield (
            "env.step gives something else for the same key, state and action when it "
            "is traced again; draw with jax.random, from the key"
        )
        return
    # The last half of the environments does something else, and is somewhere else.
    half = jnp.arange(num_envs) >= num_envs // 2
    others = jax.tree.map(lambda x: jnp.where(_mask(half, x), x[::-1], x), state)
    mixed = jnp.where(_mask(half, actions[0]), actions[1], actions[0])
    changed = step(keys[3], others, mixed)
    size = num_envs // 2
    if not _equal(*(jax.tree.map(lambda x: x[:size], x) for x in (after, changed))):
        yield (
            "environments influence each other: what one does changes what env.step "
            "returns for others; let each depend on its own state and action only"
        )
    # All in one state, with one action.
    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), (state, actions[0]))
    outcomes = [step(key, *one) for key in keys]
    if shared := _shared(outcomes):
        yield (
            f"env.step draws one {shared} for all environments: one key is used for "
            "all; split it, jax.random.split(key, len(action)), or draw arrays of "
            "len(action) numbers"
        )
    if isinstance(env.action_space, Box):
        yield from _outside(env, keys[3], state, num_envs)


def _outside(env: Env, key: Key, state: Any, num_envs: int) -> Iterator[str]:
    """Actions beyond the bounds, which a Gaussian policy samples."""
    space: Any = env.action_space
    shape = (num_envs, *space.shape)
    low, high = (
        np.broadcast_to(np.asarray(x), space.shape) for x in (space.low, space.high)
    )
    bounded = np.maximum(np.abs(low), np.abs(high)) < 1e30
    if not bounded.all():
        return
    width = np.maximum(high - low, 1.0)
    signs = np.where(np.arange(num_envs) % 2, 1.0, -1.0)
    signs = signs.reshape(-1, *(1,) * len(space.shape))
    far = jnp.asarray(
        np.where(signs > 0, high, low) + signs * _FAR * width, jnp.float32
    )
    step = jax.jit(env.step)
    beyond = step(key, state, far.reshape(shape))
    within = step(key, state, jnp.clip(far, low, high).astype(jnp.float32))
    if not _equal(beyond, within, tolerance=1e-4):
        yield (
            "an action outside env.action_space gives something else than the nearest "
            "one inside, and policies sample such; begin env.step with "
            "action = jnp.clip(action, low, high)"
        )


def _of_trial(env: Env, trial: Trial) -> Iterator[str]:
    space, steps = env.observation_space, int(trial.time)
    for what, fine in (
        ("an observation that is not finite", trial.obs_finite),
        ("a reward that is not finite", trial.reward_finite),
        ("a state with NaN in it", trial.state_is_number),
    ):
        if not fine:
            yield (
                f"env.step returned {what} within {steps} steps of random actions; "
                "bound what it computes, or end the episode before"
            )
    if trial.obs_finite:
        yield from _out_of_space(space, np.asarray(trial.lowest), trial.highest)
    (going, ended), (num_going, num_ended) = trial.like_start, trial.steps
    if ended == num_ended >= 8 and num_going >= 8 and going < num_going / 2:
        yield (
            "where an episode ends, env.step returns what a reset does: it resets by "
            "itself; return what the action led to, and leave resets to the rollout"
        )
    lengths = np.asarray(trial.length)[np.asarray(trial.truncated & ~trial.terminated)]
    late = lengths[lengths > env.max_steps]
    if len(late) and (late == late[0]).all() and (lengths >= late[0]).all():
        yield (
            f"its own time limit, {late[0]} steps, is beyond env.max_steps, "
            f"{env.max_steps}, where rollouts cut it; make both the same number"
        )
    if bool(trial.alive.all()) and env.max_steps > HORIZON and steps >= ENOUGH:
        yield (
            f"no episode ended in {steps:,} steps, and env.max_steps, "
            f"{env.max_steps:,}, is far: complete episodes and evaluations go on until "
            "then; give it a max_steps that means something"
        )


def _out_of_space(space: Any, lowest: np.ndarray, highest: Any) -> Iterator[str]:
    if isinstance(space, Discrete):
        low, high = np.zeros(()), np.asarray(space.n - 1)
    else:
        low, high = (np.broadcast_to(x, space.shape) for x in (space.low, space.high))
    highest = np.asarray(highest)
    slack = 1e-5 * np.maximum(1.0, np.maximum(np.abs(lowest), np.abs(highest)))
    for what, found, beyond in (
        ("low", lowest, low - lowest - slack),
        ("high", highest, highest - high - slack),
    ):
        if (beyond > 0).any():
            at = np.unravel_index(np.argmax(beyond), beyond.shape)
            bound = (low if what == "low" else high)[at]
            where = f" at {list(map(int, at))}" if at else ""
            yield (
                f"an observation of {found[at]:g}{where} is outside "
                f"env.observation_space, whose {what} is {bound:g} there; give it the "
                "bounds that observations have, or -np.inf and np.inf"
            )


def _equal(one: Any, other: Any, *, tolerance: float = 1e-6) -> bool:
    """Whether two results are the same, but for rounding; NaN equals itself."""

    def same(x: Any, y: Any) -> bool:
        if jax.dtypes.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        return np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True)

    return all(jax.tree.leaves(jax.tree.map(same, one, other)))


def _shared(results: list[Any]) -> str | None:
    """What is the same in all environments, and another for another key, if anything.

    Args:
      results: for some keys, of what else is the same in all environments.
    """
    names = "obs", "state", "reward", "terminated", "truncated"
    for i, part in enumerate(results[0]):
        for j, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(part)):
            leaves = [jax.tree.leaves(result[i])[j] for result in results]
            differ = any(not _equal(leaves[0], x) for x in leaves[1:])
            if differ and all(_equal(x, jnp.roll(x, 1, axis=0)) for x in leaves):
                return named(names[i], path)
    return None


def _mask(mask: Array, x: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (jnp.ndim(x) - 1))


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _shape(env: Env, num_envs: int) -> tuple[tuple[int, ...], Any]:
    space = env.action_space
    dtype = jnp.int32 if isinstance(space, Discrete) else jnp.float32
    return (num_envs, *space.shape), dtype


def _action(env: Env, num_envs: int) -> Any:
    return jax.ShapeDtypeStruct(*_shape(env, num_envs))
