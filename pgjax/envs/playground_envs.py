"""MuJoCo Playground as `Env` values; the only file that imports it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from mujoco_playground import registry

from pgjax.envs.adapting import batched, check_name, limit_of
from pgjax.types import Array, Box, Env, Key


def names() -> list[str]:
    """The names that `make` knows: of the control suite, locomotion, manipulation."""
    return list(registry.ALL_ENVS)


def make(
    name: str, *, time_limit: int | None = None, flat: bool = True, **options: Any
) -> Env:
    """An environment of MuJoCo Playground, such as "CartpoleBalance".

    Actions are in [-1, 1]. What Playground calls done without its wrappers is always a
    terminal state, so that the time limit alone truncates. Of observations that have a
    part for the critic alone, the policy's part, "state", is what is seen.

    Physics run in JAX unless there is a GPU, where the environment's configuration
    says in what (`impl`): MuJoCo Warp first compiles for minutes on a CPU.

    The robots of locomotion and manipulation are downloaded by Playground, with git,
    when the first of them is made.

    Args:
      name: see `names`.
      time_limit: steps per episode; `episode_length` of the configuration by default.
      flat: see `pgjax.envs.adapting.batched`.
      **options: of the environment's configuration, such as ctrl_dt=0.02.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the configuration does not have.
    """
    check_name("playground", name, names())
    config = registry.get_default_config(name)
    unknown = sorted(options.keys() - config.keys())
    if unknown:
        raise TypeError(
            f"playground:{name} has no option {unknown[0]!r}; its configuration has "
            f"{', '.join(sorted(config.keys()))}"
        )
    if "impl" in config and jax.default_backend() != "gpu":
        options = {"impl": "jax", **options}
    env = registry.load(name, config_overrides=options)

    def seen(state: Any) -> Any:
        obs = state.obs
        return obs.get("state", obs) if hasattr(obs, "get") else obs

    def reset(key: Key) -> tuple[Any, Any]:
        state = env.reset(key)
        return seen(state), state

    def step(key: Key, state: Any, action: Array) -> tuple:
        del key
        state = env.step(state, action)
        return seen(state), state, state.reward, state.done > 0, jnp.bool_(False)

    actions = Box(-1.0, 1.0, (int(env.action_size),))
    max_steps = limit_of(time_limit, config.episode_length)
    return batched(f"playground:{name}", reset, step, actions, max_steps, flat=flat)
