"""The trained policy in the real Gymnasium: evaluation and frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import jax
import numpy as np

from pgjax.app.errors import UsageError
from pgjax.app.play.list_environments import TWINS
from pgjax.types import Box, Env, PolicyFn

Act = Callable[[Any, np.ndarray], np.ndarray]  # (key, obs (N, ...)) -> actions (N, ...)


def make_actor(env: Env, policy: PolicyFn, *, greedy: bool) -> Callable:
    """A function of parameters, a key and NumPy observations, to NumPy actions."""

    @jax.jit
    def act(params: Any, key: Any, obs: Any) -> Any:
        distribution = policy(params, obs)
        return distribution.mode() if greedy else distribution.sample(key)

    def act_numpy(params: Any, key: Any, obs: np.ndarray) -> np.ndarray:
        action = np.asarray(act(params, key, obs.astype(np.float32)))
        if isinstance(env.action_space, Box):
            action = np.clip(action, env.action_space.low, env.action_space.high)
        return action

    return act_numpy


def evaluate(env: Env, act: Act, *, num_episodes: int, seed: int) -> np.ndarray:
    """Plays complete episodes, side by side; returns their (num_episodes,) returns.

    Raises:
      UsageError: if Gymnasium has no such environment.
    """
    games = [make_twin(env) for _ in range(num_episodes)]
    obs = np.stack([game.reset(seed=seed + i)[0] for i, game in enumerate(games)])
    returns = np.zeros(num_episodes)
    alive = np.ones(num_episodes, bool)
    key = jax.random.key(seed)
    for step in range(env.max_steps):
        action = act(jax.random.fold_in(key, step), obs)
        for i in np.flatnonzero(alive):
            obs[i], reward, terminated, truncated, _ = games[i].step(action[i])
            returns[i] += reward
            alive[i] = not (terminated or truncated)
        if not alive.any():
            break
    for game in games:
        game.close()
    return returns


def frames(env: Env, act: Act, *, seed: int) -> Iterator[np.ndarray]:
    """Yields one episode as (height, width, 3) uint8 images.

    Raises:
      UsageError: if Gymnasium cannot draw the environment.
    """
    game = make_twin(env, render_mode="rgb_array")
    obs, _ = game.reset(seed=seed)
    key = jax.random.key(seed)
    for step in range(env.max_steps):
        yield np.asarray(game.render())
        action = act(jax.random.fold_in(key, step), obs[None])[0]
        obs, _, terminated, truncated, _ = game.step(action)
        if terminated or truncated:
            break
    game.close()


def make_twin(env: Env, **options: Any) -> gymnasium.Env:
    """Gymnasium's environment of the same name and time limit.

    Raises:
      UsageError: if there is none.
    """
    if env.name not in TWINS:
        raise UsageError(
            f"Gymnasium has no twin of {env.name}; it has {', '.join(TWINS)}"
        )
    # pygame looks for a sound card and a display, which we do not need.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    return gymnasium.make(env.name, max_episode_steps=env.max_steps, **options)
