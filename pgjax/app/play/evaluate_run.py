"""Playing with what a run has learned: evaluation and pictures."""

from __future__ import annotations

import pathlib
from functools import partial
from typing import Any

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
from pgjax.app.runs.results import check_results, load_summary
from pgjax.app.runs.summary import spread
from pgjax.app.settings.build import Experiment, build
from pgjax.app.settings.config import Config
from pgjax.app.settings.limits import check_episodes
from pgjax.app.settings.memory import exhaustion_told
from pgjax.app.settings.ranges import check_int
from pgjax.app.shown_names import one_line

_EPISODES = "take fewer --episodes".format  # what to do where memory runs out


def load(run: pathlib.Path) -> tuple[Config, Experiment, Any]:
    """A run's config, its pieces, and the parameters of all its agents."""
    config = run_record.load_config(run)
    with misfit_told(run / "config.json"):
        experiment = build(config)

    def init(key: Any) -> Any:
        return pg.init_train_state(
            key, experiment.rollout, experiment.algorithm
        ).learner.params

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), config.seeds))
    like = jax.eval_shape(jax.vmap(init), keys)
    params = load_params(run / "params.npz", like)
    check_results(run, load_summary(run), "config.json", "params.npz")
    return config, experiment, params


def params_of(config: Config, params: Any, agent: int | None) -> Any:
    """The parameters of one agent, by its seed; by default the first.

    Raises:
      UsageError: if the run has no such seed.
    """
    numbers = range(config.seed, config.seed + config.seeds)
    agent = numbers[0] if agent is None else agent
    if agent not in numbers:
        raise UsageError(
            f"the run has no seed {agent}; it has {numbers[0]} to {numbers[-1]}"
        )
    return jax.tree.map(lambda x: x[agent - config.seed], params)


def evaluate(run: str, *, backend: str, episodes: int, seed: int) -> int:
    """Evaluates every agent of a run, greedy and sampled, and prints a table."""
    check_int("episodes", episodes)
    check_int("seed", seed)
    config, experiment, params = load(pathlib.Path(run))
    if backend == "gymnax":
        check_episodes(config, experiment, episodes)
    play = {"gymnax": _play_gymnax, "gymnasium": _play_gymnasium}[backend]
    table = Table(
        title=one_line(
            f"{config.algorithm} on {config.env}, {backend}: returns of {episodes} "
            "complete episodes"
        ),
        title_justify="left",
    )
    for column in ("seed", "greedy mean", "std", "min", "sampled mean", "std", "min"):
        table.add_column(column, justify="right")
    with exhaustion_told(_EPISODES), Reporter().phase("playing", "played"):
        greedy, sampled = (
            play(experiment, params, episodes, seed, greedy=greedy)
            for greedy in (True, False)
        )
    for i in range(config.seeds):
        spreads = (spread(greedy[i]), spread(sampled[i]))
        numbers = [x for s in spreads for x in (s["mean"], s["std"], s["min"])]
        cells = ["" if x is None else f"{x:.1f}" for x in numbers]
        table.add_row(str(config.seed + i), *cells)
    output.console().print(table)
    return 0


def returns_in_gymnasium(
    run: pathlib.Path, *, episodes: int, seed: int, greedy: bool = True
) -> np.ndarray:
    """Returns of a run's agents in the real Gymnasium, (agents, episodes)."""
    _, experiment, params = load(run)
    return _play_gymnasium(experiment, params, episodes, seed, greedy=greedy)


def _play_gymnax(
    experiment: Experiment, params: Any, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    @jax.jit
    @jax.vmap
    def play(params: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), int(greedy))
        returns, _ = pg.evaluate(
            key,
            experiment.env,
            experiment.algorithm.policy,
            params,
            num_episodes=episodes,
            greedy=greedy,
        )
        return returns

    return np.asarray(play(params))


def _play_gymnasium(
    experiment: Experiment, params: Any, episodes: int, seed: int, *, greedy: bool
) -> np.ndarray:
    from pgjax.app.play import gymnasium_envs

    env, algorithm = experiment.env, experiment.algorithm
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


def render(run: str, *, out: str | None, agent: int | None, seed: int) -> int:
    """Plays one episode of a run's agent in Gymnasium and writes it as a GIF."""
    from pgjax.app.play.gif import write_gif

    check_int("seed", seed)
    if agent is not None:
        check_int("agent", agent)
    directory = pathlib.Path(run)
    config, experiment, params = load(directory)
    own = params_of(config, params, agent)
    path = pathlib.Path(out) if out else directory / "policy.gif"
    if path.suffix != ".gif":
        raise UsageError(f"--out must end in .gif, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--out is in {path.parent}, which is no directory")
    num_frames = write_gif(path, experiment, own, seed=seed)
    seed = config.seed if agent is None else agent
    print(f"{one_line(path)}: {num_frames} frames of seed {seed}'s greedy policy")
    return 0
