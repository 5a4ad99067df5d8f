"""Domain randomisation: parameters that are drawn anew for every episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pgjax._internal.checks import check_is
from pgjax._internal.user_parts import PartError, is_array, shapes, told
from pgjax.envs.make import make_env
from pgjax.envs.remake import Remake, remake_of
from pgjax.types import Array, Env, Key


def randomize(env: Any, sample: Callable[[Key], Mapping[str, Array]]) -> Env:
    """The environment with parameters of its own in every episode, drawn at its reset.

    Each of the N environments draws its own, independently, and keeps them in its state
    until the episode ends. What a policy is told of the spaces is that of the
    environment as it was given.

    Args:
      env: one that has parameters: what `pg.make_env` returns, with wrappers or
        without, or what it takes, such as "CartPole-v1".
      sample: maps a key to parameters by name, as of `pg.make_env(params=...)`.

    Raises:
      TypeError: for an argument of another type; for an environment without parameters;
        for a `sample` that returns something else.
      ValueError: for a name that is no parameter.

    References:
      Tobin et al., Domain Randomization for Transferring Deep Neural Networks from
      Simulation to the Real World, 2017.
    """
    env = make_env(env)
    check_is(Callable, "a function of a key", sample=sample)
    remake = remake_of(env)
    if remake is None:
        raise TypeError(
            f"{env.name} cannot be made with other parameters: randomize what "
            "pg.make_env returns, of a name, a class, or a function that takes them "
            "as keyword arguments, and wrap or change it afterwards"
        )
    _check_sample(remake, sample)

    def reset_one(key: Key) -> tuple[Any, Randomized]:
        params_key, key = jax.random.split(key)
        params = jax.tree.map(jnp.asarray, dict(sample(params_key)))
        obs, state = remake(params).reset(key, 1)
        return _only(obs), Randomized(params, _only(state))

    def reset(key: Key, num_envs: int) -> tuple[Any, Randomized]:
        return jax.vmap(reset_one)(jax.random.split(key, num_envs))

    def step_one(key: Key, state: Randomized, action: Array) -> tuple:
        alone = jax.tree.map(lambda x: x[None], (state.state, action))
        obs, after, *outcome = remake(state.params).step(key, *alone)
        after = Randomized(state.params, _only(after))
        return _only(obs), after, *map(_only, outcome)

    def step(key: Key, state: Randomized, action: Array) -> tuple:
        keys = jax.random.split(key, len(action))
        return jax.vmap(step_one)(keys, state, action)

    return env._replace(
        name=f"randomize({env.name})", reset=reset, step=step, with_params=None
    )


class Randomized(NamedTuple):
    """Environments, and the parameters of their episodes."""

    params: dict[str, Array]  # (N,) each
    state: Any


def _only(tree: Any) -> Any:
    """Leaves (1, ...) of one environment, without that axis."""
    return jax.tree.map(lambda x: jnp.asarray(x)[0], tree)


def _check_sample(remake: Remake, sample: Callable) -> None:
    """Raises unless `sample` gives parameters that there are."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = shapes("sample", sample, key, says="key")
    right = 'a dict of parameters, such as {"gravity": jax.random.uniform(key)}'
    if not isinstance(params, Mapping) or not params:
        raise PartError(f"sample must return {right}, got {told(params)}")
    if not all(isinstance(k, str) and is_array(x) for k, x in params.items()):
        raise PartError(f"sample must return {right}, got {told(params)}")

    def make(params: Mapping[str, Any]) -> None:
        remake(params)

    jax.eval_shape(make, dict(params))
