"""`pgjax check-env`: what is wrong with an environment, and how fast it is."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

import pgjax as pg
from pgjax._internal.spaces import named_spaces
from pgjax.app import output
from pgjax.app.settings.make_env import Named, make_env
from pgjax.app.settings.ranges import (
    check_env_arg,
    check_env_param,
    check_float,
    check_int,
)
from pgjax.app.shown_names import one_line
from pgjax.envs.check_host import steps_per_second_on_host
from pgjax.envs.speed import steps_per_second


def check_env(
    name: str,
    *,
    env_arg: dict | None = None,
    env_param: dict[str, float] | None = None,
    time_limit: int | None = None,
    num_envs: int = 64,
    seconds: float = 30.0,
) -> int:
    """Plays an environment with random actions, and names what is wrong with it.

    Args:
      name: of gymnax, suite:Name, or module:name of your own, from here.
      env_arg: options of what makes the environment, such as num_joints=7.
      env_param: numbers of its physics, such as gravity=5.0.
      time_limit: steps per episode (default: the environment's own).
      num_envs: environments side by side.
      seconds: of stepping, at most.
    """
    check_int("num_envs", num_envs)
    check_float("seconds", seconds)
    if time_limit is not None:
        check_int("time_limit", time_limit)
    check_env_arg(env_arg or {})
    check_env_param(env_param or {})
    env = make_env(Named(name, env_arg or {}, env_param or {}, time_limit))
    console = output.console()
    console.print(
        escape(
            f"{one_line(env.name)}: observations {_told(env.observation_space)}, "
            f"actions {_told(env.action_space)}, time limit {env.max_steps:,}"
        ),
        soft_wrap=True,
    )
    found = pg.check_env(env, num_envs=max(2, num_envs), seconds=seconds)
    for line in found:
        console.print(escape(f"- {one_line(line)}"), soft_wrap=True)
    if found:
        return 1
    if isinstance(env, pg.HostEnv):
        rate = steps_per_second_on_host(env, num_envs)
    else:
        rate = steps_per_second(env, num_envs)
    console.print(
        f"nothing is wrong; {rate:,.0f} steps/s with {num_envs} environments, "
        f"{1e9 / rate:,.0f} ns a step"
    )
    return 0


def _told(space: Any) -> str:
    """A space in few words; of a tree of them, each leaf with its name."""
    spaces = named_spaces("", space)
    return ", ".join(f"{name} {_told_of(leaf)}".strip() for name, leaf in spaces)


def _told_of(space: pg.Discrete | pg.Box) -> str:
    if isinstance(space, pg.Discrete):
        return f"{space.n} choices"
    return f"{space.shape}"
