"""Whether memory and 32-bit indices hold a run; and if not, which settings would do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

import pgjax as pg
from pgjax._internal.meshes import AGENT
from pgjax.app.errors import UsageError
from pgjax.app.settings import free_memory
from pgjax.app.settings.build import AnyEnv, Experiment
from pgjax.app.settings.memory_estimates import (
    Sizes,
    block_size,
    bytes_of_all,
    bytes_of_env,
    bytes_per_agent,
    measured,
    sizes_of,
)
from pgjax.app.settings.ranges import flag
from pgjax.app.settings.run_settings import Config

SHARE = 0.5  # of the memory that is free, to be planned with
# The program holds the transitions, what is computed from them, and copies in other
# layouts; how many depends on the compiler, and this is a cautious guess. What is
# refused needs too much even with one.
COPIES = 5
MOST_INDICES = 2**31 - 1  # along an axis


def check_run(config: Config, experiment: Experiment, count: int, mesh: Mesh) -> None:
    """Sees that a run can be indexed, and that memory could hold it.

    Args:
      config: the settings.
      experiment: what `build` made of them.
      count: how many agents train at once.
      mesh: where.

    Raises:
      UsageError: with the numbers that would fit.
    """
    env, rollout, algorithm, _ = experiment
    sizes = sizes_of(config, experiment)._replace(agents=count)
    free = free_memory.free_bytes(mesh.size)
    check_pieces(sizes, env, rollout, algorithm, mesh.shape[AGENT], free)


def check_pieces(
    sizes: Sizes,
    env: AnyEnv,
    rollout: pg.Rollout,
    algorithm: pg.Algorithm,
    num_shares: int,
    free: int,
) -> Sizes:
    """As `check_run`, of the pieces of a run; returns its sizes with bytes.

    Args:
      sizes: without bytes.
      env: what is played.
      rollout: how.
      algorithm: what learns.
      num_shares: devices, or groups of them, that agents are dealt to.
      free: bytes on all of them.
    """
    counts: dict[str, Callable[[Sizes], int]] = {
        "samples of a rollout": lambda sizes: sizes.samples,
        "samples shuffled at once": lambda sizes: sizes.samples * sizes.num_epochs,
        "parameters of a network": lambda sizes: sizes.weights,
    }
    for what, number in counts.items():
        told = f"{what} are more than 32-bit indices reach, 2**31 - 1"
        _require(sizes, number, MOST_INDICES, told, "{:,}".format)
    sizes = measured(sizes, env, rollout, algorithm)
    told = f"of memory are needed at least, and {free_memory.shown(free)} are free"
    need = partial(bytes_of_all, num_shares=num_shares)
    _require(sizes, need, free, told, free_memory.shown)
    return sizes


def agents_that_fit(config: Config, experiment: Experiment, count: int) -> int:
    """As many of `count` agents as memory holds, in batches of about equal size.

    Args:
      config: the settings.
      experiment: what `build` made of them.
      count: how many there are.

    Raises:
      UsageError: if not even one fits.
    """
    num_devices = len(jax.devices())
    free = free_memory.free_bytes(num_devices)
    env, rollout, algorithm, _ = experiment
    one = sizes_of(config, experiment)._replace(agents=1)
    sizes = check_pieces(one, env, rollout, algorithm, 1, free)
    available = SHARE * free
    idle, running = bytes_per_agent(sizes, copies=COPIES)
    side_by_side = block_size(config.num_envs) * num_devices
    most = int(available // (idle + running))
    if most > side_by_side:
        most = int((available - running * side_by_side) // idle)
    num_batches = -(-count // max(1, most))
    return -(-count // num_batches)


def check_episodes(
    config: Config, experiment: Experiment, episodes: int, count: int
) -> None:
    """Sees that memory holds so many episodes of each of `count` agents, side by side.

    Raises:
      UsageError: with the number that would fit.
    """
    each = bytes_of_env(experiment.env) + 4 * max(config.hidden)
    each *= count
    free = free_memory.free_bytes(1)
    if episodes * each > free:
        need = free_memory.shown(episodes * each)
        raise UsageError(
            f"--episodes {episodes} of {count} agents need {need} of memory, and "
            f"{free_memory.shown(free)} are free; take --episodes "
            f"{max(1, free // each)} at most"
        )


def check_compiled(
    config: Config, experiment: Experiment, program: Any, mesh: Mesh
) -> None:
    """Sees that memory holds a compiled program, which says how much it needs.

    Raises:
      UsageError: with settings to lower.
    """
    stats = program.memory_analysis()
    if stats is None:  # not every backend says
        return
    need = mesh.size * (
        stats.temp_size_in_bytes
        + stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
    )
    free = free_memory.free_bytes(mesh.size)
    if need > free:
        raise UsageError(
            f"the compiled program needs {free_memory.shown(need)} of memory, and "
            f"{free_memory.shown(free)} are free; {what_to_lower(config, experiment)}"
        )


def what_to_lower(config: Config, experiment: Experiment) -> str:
    """Advice where memory ran out: the settings that take it, as they are."""
    return _lower(sizes_of(config, experiment))


def _require(
    sizes: Sizes,
    amount: Callable[[Sizes], int],
    most: int,
    told: str,
    show: Callable[[int], str],
) -> None:
    """Raises UsageError, saying what would fit, unless amount(sizes) <= most."""
    need = amount(sizes)
    if need > most:
        advice = _what_fits(sizes, lambda sizes: amount(sizes) <= most)
        raise UsageError(f"{show(need)} {told}; {advice}")


def _what_fits(sizes: Sizes, fits: Callable[[Sizes], bool]) -> str:
    """Settings of which each, lowered alone, would do; or all, where none would."""
    found = []
    for name, (now, lowered) in _choices(sizes).items():
        if fits(lowered(1)):
            most = _largest(now, partial(_fits_with, fits, lowered))
            found.append(f"{flag(name)} {most} at most (now {now})")
    return f"take {', or '.join(found)}" if found else _lower(sizes)


def _lower(sizes: Sizes) -> str:
    shown = (f"{flag(name)} (now {now})" for name, (now, _) in _choices(sizes).items())
    return f"lower {', '.join(shown)}"


def _choices(sizes: Sizes) -> dict[str, tuple[int, Callable[[int], Sizes]]]:
    """Settings that could be lowered: what they are, and the sizes with another."""

    def narrow(x: int) -> Sizes:
        slim = sizes._replace(hidden=tuple(min(x, width) for width in sizes.hidden))
        learner = slim.learner * slim.weights // max(1, sizes.weights)
        return slim._replace(learner=learner)

    def fewer(name: str) -> tuple[int, Callable[[int], Sizes]]:
        return getattr(sizes, name), lambda x: sizes._replace(**{name: x})

    choices = {"num_envs": fewer("num_envs")}
    if not (sizes.complete and sizes.of_bench):
        choices["time_limit" if sizes.complete else "num_steps"] = fewer("num_steps")
    choices["num_agents" if sizes.of_bench else "seeds"] = fewer("agents")
    choices["hidden"] = max(sizes.hidden), narrow
    for name in ("num_epochs", "eval_episodes", "updates_per_chunk"):
        choices[name] = fewer(name)
    return {name: choice for name, choice in choices.items() if choice[0] > 1}


def _fits_with(
    fits: Callable[[Sizes], bool], lowered: Callable[[int], Sizes], x: int
) -> bool:
    return fits(lowered(x))


def _largest(now: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `now` that fits, to two digits; 1 does."""
    low, high = 1, now
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    unit = 10 ** max(0, len(str(low)) - 2)
    return low // unit * unit
