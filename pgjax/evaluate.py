"""Evaluation: returns of complete episodes, played by a policy that does not learn."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pgjax.batching import any_agent
from pgjax.checks import check_is
from pgjax.types import Array, Env, Key, Params, PolicyFn


def evaluate(
    key: Key,
    env: Env,
    policy: PolicyFn,
    params: Params,
    *,
    num_episodes: int = 100,
    greedy: Array | bool = True,
) -> tuple[Array, Array]:
    """Plays complete episodes, one in each of `num_episodes` environments.

    Each environment plays exactly one episode to its end, so that long episodes count
    as much as short ones.

    Args:
      key: a typed key.
      env: the environment.
      policy: such as `algorithm.policy`.
      params: its parameters.
      num_episodes: >= 1.
      greedy: whether the most probable action is taken, or a sampled one; may be
        traced.

    Returns:
      (num_episodes,) undiscounted returns, and (num_episodes,) int32 lengths in steps.

    Raises:
      ValueError: if num_episodes < 1.
    """
    check_is(Env, 'pg.make_env("CartPole-v1")', env=env)
    check_is(Callable, "algorithm.policy", policy=policy)
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes}")

    def step(carry: tuple) -> tuple:
        t, alive, obs, env_state, returns, lengths = carry
        action_key, env_key = keys[t + 1]
        distribution = policy(params, obs)
        action = jnp.where(greedy, distribution.mode(), distribution.sample(action_key))
        obs, env_state, reward, terminated, truncated = env.step(
            env_key, env_state, action
        )
        returns = returns + jnp.where(alive, reward, 0.0)
        lengths = lengths + alive
        return (
            t + 1,
            alive & ~(terminated | truncated),
            obs,
            env_state,
            returns,
            lengths,
        )

    keys = jax.random.split(key, (env.max_steps + 1, 2))
    obs, env_state = env.reset(keys[0, 0], num_episodes)
    alive = jnp.ones(num_episodes, bool)
    returns, lengths = jnp.zeros(num_episodes), jnp.zeros(num_episodes, jnp.int32)
    carry = (jnp.int32(0), alive, obs, env_state, returns, lengths)
    *_, returns, lengths = jax.lax.while_loop(
        lambda carry: any_agent(carry[1]), step, carry
    )
    return returns, lengths
