"""Measures a case: the whole training step, its stages, and what limits each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pgjax._internal.complete_episodes import SEGMENT
from pgjax._internal.meshes import check_replicas
from pgjax.bench import hlo, timing
from pgjax.bench.cases import Case
from pgjax.bench.ceilings import Gauges
from pgjax.bench.comparison import Spread, plain
from pgjax.bench.roofline import Ceilings, Verdict, judge, largest_cached
from pgjax.bench.stages import (
    ENVIRONMENT_STEPS,
    Experience,
    Pieces,
    gather,
    pieces_of,
    stages,
    whole_step,
)

WHOLE = "whole step"


class Stage(NamedTuple):
    """What a stage, or the whole step, takes per environment step that counts."""

    name: str
    nanoseconds: Spread
    cost: hlo.Cost  # per environment step
    memory: int  # bytes of the program's arguments, results and temporaries


class Result(NamedTuple):
    """What a case came to."""

    case: Case
    num_devices: int
    steps_per_second: Spread
    compile_seconds: float  # of the program that trains, traced and compiled
    cached_seconds: float  # the same, from the compilation cache on disk
    padding: float  # share of the steps taken that follow an episode's end
    episode_length: float  # mean length of those that ended; NaN without any
    stages: tuple[Stage, ...]  # the last one is the whole step


def measure(
    case: Case,
    devices: Sequence[jax.Device],
    gauges: Gauges,
    *,
    rounds: int,
    with_stages: bool = True,
) -> Result:
    """Measures a case.

    Every repetition starts from the same state and does the same work, so that the
    spread is the machine's.

    Args:
      case: what to measure.
      devices: where to run.
      gauges: that of so many of the devices, since not every case uses all of them;
        its ceilings are measured anew when the case is done.
      rounds: repetitions of everything, in turns.
      with_stages: whether stages are measured apart, too.
    """
    pieces = pieces_of(case, devices)
    gauge = gauges.of(
        len(pieces.devices)
    )  # measures, if it is the first case of so many
    init, steps = whole_step(case, pieces)
    state = jax.jit(init)(case.spec.seed)
    compiled, seconds, cached = _compile(steps, state, case.spec.updates)
    state, _ = _train(compiled, state, case)
    _, metrics = jax.block_until_ready(compiled(state))
    if case.spec.num_agents == 1:
        check_replicas(state.learner.params)
    counted = int(np.asarray(metrics["env_steps"]).sum(dtype=np.int64))
    episodes = np.asarray(metrics["episodes"], np.float64)
    lengths = np.asarray(metrics["episode_length"]) * episodes
    experience = gather(case, pieces, _params_of_one(case, state))
    programs: dict[str, Any] = {WHOLE: (compiled, (state,), counted)}
    if with_stages:
        for name, (stage, arguments) in stages(case, pieces, experience).items():
            steps_of = _steps_of(name, case, experience)
            programs[name] = (stage.compile(), arguments, steps_of)
    durations = timing.take_turns(
        {name: partial(run, *inputs) for name, (run, inputs, _) in programs.items()},
        rounds=rounds,
    )
    measured = tuple(
        _stage(name, programs[name], durations[name], pieces, experience)
        for name in (*list(programs)[1:], WHOLE)
    )
    if case.precision == "float32":
        for stage in measured:
            gauge.raise_to(stage.cost, stage.nanoseconds.minimum * 1e-9)
    gauge.measure()
    return Result(
        case,
        len(pieces.devices),
        timing.spread(counted / durations[WHOLE]),
        seconds,
        cached,
        _padding(experience),
        float(np.nansum(lengths) / episodes.sum()) if episodes.sum() else math.nan,
        measured,
    )


def verdict(stage: Stage, ceilings: Ceilings) -> Verdict:
    """How near a stage comes to the ceilings of the devices that it ran on."""
    seconds = stage.nanoseconds.median * 1e-9
    return judge(stage.cost, seconds, ceilings)


def bound(result: Result, ceilings: Ceilings) -> float:
    """Environment steps per second if the ceiling met first were all that limits."""
    whole = result.stages[-1]
    return 1e9 / whole.nanoseconds.median * verdict(whole, ceilings).bound


def to_json(result: Result, ceilings: Ceilings) -> dict[str, Any]:
    """A result as plain JSON data, each stage with its shares of the ceilings."""
    record = plain(result) | {"bound": bound(result, ceilings)}
    for stage, told in zip(result.stages, record["stages"], strict=True):
        found = verdict(stage, ceilings)
        told |= {"shares": plain(found.shares), "limit": found.limit}
    return record


def _compile(fn: Callable, state: Any, updates: int) -> tuple[Any, float, float]:
    """Traces and compiles, then again with what the cache on disk has kept of it.

    Returns:
      The program, the seconds that it took at first, and those of the second time.
    """
    seconds = []
    with timing.own_cache():
        for _ in range(2):
            jax.clear_caches()
            start = time.perf_counter()
            jitted = jax.jit(lambda state: fn(state, updates))
            compiled = jitted.lower(state).compile()
            seconds.append(time.perf_counter() - start)
    return compiled, seconds[0], seconds[1]


def _train(compiled: Callable, state: Any, case: Case) -> tuple[Any, Any]:
    """Trains for as many updates as the case wants before it is timed."""
    metrics = None
    for _ in range(-(-case.spec.trained // case.spec.updates)):
        # Waited for: CPU devices that exchange sums may block each other otherwise.
        state, metrics = jax.block_until_ready(compiled(state))
    return state, metrics


def _params_of_one(case: Case, state: Any) -> Any:
    params = state.learner.params
    if case.spec.num_agents > 1:
        params = jax.tree.map(lambda x: x[0], params)
    return jax.tree.map(np.asarray, params)


def _steps_of(name: str, case: Case, experience: Experience) -> int:
    """The environment steps that a stage's work is for."""
    if name == "environment":
        workers, _, num_envs = experience.batch.reward.shape
        return workers * num_envs * (case.spec.num_steps or ENVIRONMENT_STEPS)
    return int(experience.steps.sum())


def _padding(experience: Experience) -> float:
    workers, _, num_envs = experience.batch.reward.shape
    taken = workers * num_envs * experience.played
    return 1.0 - float(experience.steps.sum()) / taken


def _stage(
    name: str,
    program: tuple,
    seconds: np.ndarray,
    pieces: Pieces,
    experience: Experience,
) -> Stage:
    compiled, _, steps = program
    weight = experience.batch.weight
    cost = hlo.count(
        compiled.as_text(),
        loops=_loops(name, pieces, experience),
        taken=float(experience.steps.sum()) / weight.size,
        cached=largest_cached(pieces.devices[0]),
    )
    cost = hlo.times(cost, len(pieces.devices))
    return Stage(
        name,
        timing.spread(seconds / steps * 1e9),
        hlo.times(cost, 1 / steps),
        _memory(compiled) * len(pieces.devices),
    )


def _loops(name: str, pieces: Pieces, experience: Experience) -> list[float]:
    """How often the loops run whose length the compiler does not know, outermost first.

    Blocks of agents, where there are many; then segments of complete episodes, and
    their steps.
    """
    segments = -(-experience.played // SEGMENT)
    steps = [float(segments), experience.played / segments]
    in_blocks = name == WHOLE and pieces.num_blocks
    return [float(pieces.num_blocks), *steps] if in_blocks else steps


def _memory(compiled: Any) -> int:
    analysis = compiled.memory_analysis()
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
