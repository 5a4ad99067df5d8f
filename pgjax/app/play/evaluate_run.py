"""Playing with what a run has learned: evaluation and pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from rich.table import Table

import pgjax as pg
from pgjax.app import output
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.files import misfit_told
from pgjax.app.runs.params import load_params
from pgjax.app.runs.progress import Reporter
from pgjax.app.runs.results import (
    CONFIG,
    PARAMS,
    check_results,
    load_summary,
)
from pgjax.app.runs.summary import spread
from pgjax.app.settings.build import Experiment, build
from pgjax.app.settings.config import Config
from pgjax.app.settings.env_params import is_param
from pgjax.app.settings.grid import Agents, Group, label
from pgjax.app.settings.limits import check_episodes
from pgjax.app.settings.memory import exhaustion_told
from pgjax.app.settings.ranges import check_int
from pgjax.app.shown_names import in_words, one_line

_EPISODES = "take fewer --episodes".format  # what to do where memory runs out


class Trained(NamedTuple):
    """Agents of a run whose programs are the same but for numbers."""

    config: Config
    experiment: Experiment
    agents: Agents
    params: Any  # leaves (S, ...)


def load(run: pathlib.Path) -> list[Trained]:
    """The groups of a run, with the parameters of all agents.

    Raises:
      UsageError: if it is no run, has not been trained, or is damaged.
    """
    record, path = run_record.load_record(run), run / PARAMS
    if not record.batches and record.request.grid:
        raise UsageError(
            f"{run} is a sweep of a version before 0.2.0, which alone can read its "
            "parameters; `pgjax compare` and `pgjax report` take it"
        )
    if told := run_record.code_changed(record.content):
        Reporter().warn(f"{run}: {told}")
    with misfit_told(run / CONFIG):
        groups = record.request.groups
        experiments = [build(group.config) for group in groups]
    shapes = [_shapes(*pair) for pair in zip(groups, experiments, strict=True)]
    several = len(groups) > 1
    params = load_params(path, shapes if several else shapes[0])
    check_results(run, load_summary(run, list(record.request.grid)), CONFIG, PARAMS)
    return [
        Trained(group.config, experiment, group.agents, of)
        for group, experiment, of in zip(
            groups, experiments, params if several else [params], strict=True
        )
    ]


def _shapes(group: Group, experiment: Experiment) -> Any:
    def init(key: Any) -> Any:
        return pg.init_train_state(
            key, experiment.rollout, experiment.algorithm
        ).learner.params

    count = len(group.agents.seeds)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    return jax.eval_shape(jax.vmap(init), keys)


def choose(
    groups: Sequence[Trained], seed: int | None, where: Mapping[str, Any]
) -> tuple[Trained, int, Any]:
    """One agent: its group, its seed, and its parameters; by default the first.

    Args:
      groups: of a run.
      seed: its seed.
      where: its settings in the grid, by name; those that leave one agent.

    Raises:
      UsageError: if there is no such agent, or there are several.
    """
    labels = list(groups[0].agents.labels)
    own = {name.partition(".")[2]: name for name in labels if is_param(name)}
    where = {own.get(name, name): value for name, value in where.items()}
    if unknown := where.keys() - set(labels):
        known = f"its grid has {', '.join(labels)}" if labels else "it has no grid"
        raise UsageError(f"--where {min(unknown)}: {known}")
    found = [
        (group, i)
        for group in groups
        for i in range(len(group.agents.seeds))
        if all(
            str(group.agents.labels[name][i]) == str(label(value)).replace(",", "-")
            for name, value in where.items()
        )
    ]
    seeds = [int(group.agents.seeds[i]) for group, i in found]
    if not found:
        told = " ".join(f"{name}={value}" for name, value in where.items())
        there = "; ".join(
            f"{name}: {', '.join(_values_of(groups, name))}" for name in where
        )
        raise UsageError(f"no agent of the run has {told}; there are {there}")
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise UsageError(
            f"the run has no seed {seed}; it has {min(seeds)} to {max(seeds)}"
        )
    if seeds.count(seed) > 1 and labels:
        values = " ".join(
            f"{name}={groups[0].agents.labels[name][0]}"
            for name in labels
            if name not in where
        )
        raise UsageError(
            f"the run has {seeds.count(seed)} agents of seed {seed}: say which, "
            f"such as --where {values}"
        )
    group, i = found[seeds.index(seed)]
    params = jax.tree.map(lambda x: x[i], group.params)
    return _in_own_world(group, i), seed, params


def _in_own_world(group: Trained, i: int) -> Trained:
    """The group, whose environment has the parameters of one of its agents."""
    values = {k: float(x[i]) for k, x in group.agents.values.items() if is_param(k)}
    pieces = group.experiment.make(values)
    return group._replace(experiment=group.experiment._replace(**pieces._asdict()))


def _values_of(groups: Sequence[Trained], name: str) -> list[str]:
    """The values of a setting in the run's grid, as they are written."""
    found = (str(x) for group in groups for x in group.agents.labels[name])
    return list(dict.fromkeys(found))


def evaluate(
    run: str,
    *,
    backend: Literal["gymnax", "gymnasium"] = "gymnax",
    episodes: int = 100,
    seed: int = 0,
) -> int:
    """Plays complete episodes with every agent of a run, and prints a table.

    Once greedily, and once with sampled actions.

    Args:
      run: its directory, as made by pgjax train.
      backend: where to play, as trained or in the real Gymnasium.
      episodes: for each agent.
      seed: of the episodes.
    """
    check_int("episodes", episodes)
    check_int("seed", seed)
    groups = load(pathlib.Path(run))
    if backend == "gymnax":
        for group in groups:
            size = len(group.agents.seeds)
            check_episodes(group.config, group.experiment, episodes, size)
    play = {"gymnax": _play_gymnax, "gymnasium": _play_gymnasium}[backend]
    config = groups[0].config
    table = Table(
        title=one_line(
            f"{config.algorithm} on {config.env}, {backend}: returns of {episodes} "
            "complete episodes"
        ),
        title_justify="left",
    )
    for name in groups[0].agents.labels:
        table.add_column(in_words(name).replace(" ", "\n"), no_wrap=True)
    for column in ("seed", "greedy mean", "std", "min", "sampled mean", "std", "min"):
        table.add_column(column, justify="right")
    with exhaustion_told(_EPISODES), Reporter().phase("playing", "played"):
        for group in groups:
            greedy, sampled = (
                play(group, episodes, seed, greedy=greedy) for greedy in (True, False)
            )
            for i, number in enumerate(group.agents.seeds):
                settings = [one_line(x[i]) for x in group.agents.labels.values()]
                spreads = (spread(greedy[i]), spread(sampled[i]))
                numbers = [x for s in spreads for x in (s["mean"], s["std"], s["min"])]
                cells = ["" if x is None else f"{x:.1f}" for x in numbers]
                table.add_row(*settings, str(number), *cells)
    output.console().print(table)
    return 0


def returns_in_gymnasium(
    run: pathlib.Path, *, episodes: int, seed: int, greedy: bool = True
) -> np.ndarray:
    """Returns of a run's agents in the real Gymnasium, (agents, episodes)."""
    return np.concatenate(
        [_play_gymnasium(group, episodes, seed, greedy=greedy) for group in load(run)]
    )


def _play_gymnax(
    group: Trained, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    @jax.jit
    @jax.vmap
    def play(params: Any, values: Any) -> Any:
        env, _, algorithm = group.experiment.make(values)
        key = jax.random.fold_in(jax.random.key(seed), int(greedy))
        returns, _ = pg.evaluate(
            key,
            env,
            algorithm.policy,
            params,
            num_episodes=episodes,
            greedy=greedy,
        )
        return returns

    worlds = {k: x for k, x in group.agents.values.items() if is_param(k)}
    worlds = {k: np.asarray(x, np.float32) for k, x in worlds.items()}
    return np.asarray(play(group.params, worlds))


def _play_gymnasium(
    group: Trained, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    from pgjax.app.play import gymnasium_envs

    (env, _, algorithm, _), params = group.experiment, group.params
    num_agents = len(jax.tree.leaves(params)[0])
    act = gymnasium_envs.make_actor(env, algorithm.policy, greedy=greedy)
    return np.stack(
        [
            gymnasium_envs.evaluate(
                env,
                partial(act, jax.tree.map(lambda x, i=i: x[i], params)),
                num_episodes=episodes,
                seed=seed,
            )
            for i in range(num_agents)
        ]
    )


def render(
    run: str,
    *,
    out: str | None = None,
    agent: int | None = None,
    where: dict | None = None,
    seed: int = 0,
) -> int:
    """Plays one episode of a run's agent in the real Gymnasium, and writes it as a GIF.

    Args:
      run: its directory, as made by pgjax train.
      out: the GIF to write (default: RUN/policy.gif).
      agent: the agent's seed (default: the run's first).
      where: its settings in the run's grid, such as learning_rate=0.01.
      seed: of the episode.
    """
    from pgjax.app.play.gif import write_gif

    check_int("seed", seed)
    if agent is not None:
        check_int("agent", agent)
    directory = pathlib.Path(run)
    group, number, params = choose(load(directory), agent, where or {})
    path = pathlib.Path(out) if out else directory / "policy.gif"
    if path.suffix != ".gif":
        raise UsageError(f"--out must end in .gif, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--out is in {path.parent}, which is no directory")
    num_frames = write_gif(path, group.experiment, params, seed=seed)
    print(f"{one_line(path)}: {num_frames} frames of seed {number}'s greedy policy")
    return 0
