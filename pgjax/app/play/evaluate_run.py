"""Playing with what a run has learned: evaluation and pictures."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

import pgjax as pg
from pgjax._internal.host_evaluate import Player
from pgjax.app.errors import UsageError
from pgjax.app.play import kept_scores
from pgjax.app.play.chosen_agents import (
    Trained,
    choose,
    restrict,
    runs_with,
    wanted,
)
from pgjax.app.play.kept_scores import PARAMS_OF, Which
from pgjax.app.runs import run_record
from pgjax.app.runs.files import misfit_told
from pgjax.app.runs.params import load_params
from pgjax.app.runs.progress import Reporter
from pgjax.app.runs.results import CONFIG, check_results, load_summary
from pgjax.app.runs.study_record import is_study
from pgjax.app.settings.build import Experiment, build
from pgjax.app.settings.env_params import is_param
from pgjax.app.settings.free_memory import exhaustion_told
from pgjax.app.settings.grid import Group
from pgjax.app.settings.limits import check_episodes
from pgjax.app.settings.ranges import check_int
from pgjax.app.shown_names import one_line
from pgjax.app.tables import Format

_EPISODES = "take fewer --episodes".format  # what to do where memory runs out
_PLACES = {"trained": "where it was trained", "gymnasium": "in Gymnasium"}


def load(run: pathlib.Path, which: Which = "last") -> list[Trained]:
    """The groups of a run, with the parameters of all agents.

    Args:
      run: its directory.
      which: those after the last update, or of the evaluation while training that had
        the highest mean return (the earliest of several).

    Raises:
      UsageError: if it is no run, has not been trained, is damaged, or has not kept the
        best.
    """
    name = PARAMS_OF[which]
    record, path = run_record.load_record(run), run / name
    if which == "best" and record.request.settings.get("eval_every") is None:
        raise UsageError(
            f"{run} has not kept the best: train it with --eval-every N, or take "
            "--which last"
        )
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
    check_results(run, load_summary(run, list(record.request.grid)), CONFIG, name)
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


def evaluate(
    run: str,
    *,
    backend: Literal["trained", "gymnasium"] = "trained",
    episodes: int = 100,
    seed: int = 0,
    which: Which = "last",
    where: dict | None = None,
    best_combination: bool = False,
    format: Format = "text",
) -> int:
    """Plays complete episodes with every agent of a run, and prints a table.

    Once greedily, and once with sampled actions. The scores are kept in the run's
    directory, in scores/.

    Args:
      run: its directory, as made by pgjax train; or that of a study, for all its runs.
      backend: where to play: where they were trained, or in the real Gymnasium.
      episodes: for each agent.
      seed: of the episodes.
      which: its last policies, or the best that --eval-every has found.
      where: only agents with these settings of its grid, such as learning_rate=0.01;
        of a study, algorithm and env, too.
      best_combination: only agents of the best combination, as pgjax compare names it;
        of a study, of the best of each run.
      format: text for people; json, csv or latex, with nothing else on stdout.
    """
    check_int("episodes", episodes)
    check_int("seed", seed)
    asked: dict[str, Any] = {"backend": backend, "which": which}
    asked |= {"episodes": episodes, "seed": seed}
    directory = pathlib.Path(run)
    several = is_study(directory)
    taken = runs_with(directory, where or {}) if several else [(directory, where)]
    loaded = [
        (path, _wanted_of(path, own, which, best=best_combination))
        for path, own in taken
    ]
    for group in (group for _, groups in loaded for group in groups):
        if backend == "trained":
            size = len(group.agents.seeds)
            check_episodes(group.config, group.experiment, episodes, size)
        elif isinstance(group.experiment.env, pg.HostEnv):
            told = f"{group.config.env} is played where it was trained"
            raise UsageError(f"{told}: leave out --backend gymnasium")
    rows: list[dict[str, Any]] = []
    apart: dict[str, None] = dict.fromkeys(("algorithm", "env") if several else ())
    with exhaustion_told(_EPISODES), Reporter().phase("playing", "played"):
        for path, groups in loaded:
            config, names = groups[0].config, list(groups[0].agents.labels)
            own = _play(path, groups, asked, names)
            about = {"algorithm": config.algorithm, "env": config.env}
            rows += [about | row if several else row for row in own]
            apart |= dict.fromkeys(names)
    what = one_line(directory) if several else f"{config.algorithm} on {config.env}"
    title = (
        f"{what}, {_PLACES[backend]}, {which} policies: returns of {episodes} complete "
        "episodes"
    )
    rows = [dict.fromkeys(apart, "") | row for row in rows]
    paths = [kept_scores.path_of(path, **asked) for path, _ in loaded]
    kept_scores.show(title, rows, list(apart), asked, format, paths)
    return 0


def _wanted_of(
    run: pathlib.Path, where: Mapping[str, Any] | None, which: Which, *, best: bool
) -> list[Trained]:
    """The groups of a run, with those agents that are wanted."""
    groups = load(run, which)
    chosen = wanted(run, where, best=best)
    return restrict(groups, chosen) if chosen else groups


def _play(
    run: pathlib.Path,
    groups: Sequence[Trained],
    asked: Mapping[str, Any],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Plays with agents of a run, and keeps what they came to: a row for each."""
    play = {"trained": _play_as_trained, "gymnasium": _play_gymnasium}[asked["backend"]]
    rows = []
    for group in groups:
        both = (
            play(group, asked["episodes"], asked["seed"], greedy=greedy)
            for greedy in (True, False)
        )
        rows += kept_scores.rows_of(group.agents, *both)
    path = kept_scores.path_of(run, **asked)
    with Reporter().failure_told(f"{path} was not written"):
        kept_scores.keep(run, path, asked, rows, names)
    return rows


def returns_in_gymnasium(
    run: pathlib.Path, *, episodes: int, seed: int, greedy: bool = True
) -> np.ndarray:
    """Returns of a run's agents in the real Gymnasium, (agents, episodes)."""
    return np.concatenate(
        [_play_gymnasium(group, episodes, seed, greedy=greedy) for group in load(run)]
    )


def _play_as_trained(
    group: Trained, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    if isinstance(group.experiment.env, pg.HostEnv):
        return _play_on_host(group, episodes, seed, greedy=greedy)

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


def _play_on_host(
    group: Trained, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    """The same where the environments live on the host: agent after agent."""
    env, policy = group.experiment.env, group.experiment.algorithm.policy
    assert isinstance(env, pg.HostEnv)
    key = jax.random.fold_in(jax.random.key(seed), int(greedy))
    with contextlib.closing(Player(env, episodes)) as player:
        returns = [
            player.play(
                key,
                policy,
                jax.tree.map(lambda x, i=i: x[i], group.params),
                greedy=greedy,
            ).returns
            for i in range(len(group.agents.seeds))
        ]
    return np.stack(returns)


def _play_gymnasium(
    group: Trained, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    from pgjax.app.play import gymnasium_envs

    (env, _, algorithm, _), params = group.experiment, group.params
    assert isinstance(env, pg.Env)
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
    best_combination: bool = False,
    seed: int = 0,
    which: Which = "last",
) -> int:
    """Plays one episode of a run's agent in the real Gymnasium, and writes it as a GIF.

    Args:
      run: its directory, as made by pgjax train.
      out: the GIF to write (default: RUN/policy.gif).
      agent: the agent's seed (default: the run's first).
      where: its settings in the run's grid, such as learning_rate=0.01.
      best_combination: an agent of the best combination, as pgjax compare names it.
      seed: of the episode.
      which: its last policy, or the best that --eval-every has found.
    """
    from pgjax.app.play.gif import write_gif

    check_int("seed", seed)
    if agent is not None:
        check_int("agent", agent)
    directory = pathlib.Path(run)
    groups = load(directory, which)
    chosen = wanted(directory, where, best=best_combination)
    group, number, params = choose(groups, agent, chosen)
    path = pathlib.Path(out) if out else directory / "policy.gif"
    if path.suffix != ".gif":
        raise UsageError(f"--out must end in .gif, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--out is in {path.parent}, which is no directory")
    num_frames = write_gif(path, group, params, seed=seed)
    print(f"{one_line(path)}: {num_frames} frames of seed {number}'s greedy policy")
    return 0
