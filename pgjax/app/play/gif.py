"""An episode as an animated GIF."""

from __future__ import annotations

import itertools
import pathlib
from functools import partial
from typing import Any

from PIL import Image

import pgjax as pg
from pgjax.app.play import gymnasium_envs, host_frames
from pgjax.app.play.chosen_agents import Trained

WIDTH = 400  # pixels
EVERY = 2  # steps per frame
FRAME_MILLISECONDS = 40  # 25 frames a second


def write_gif(path: pathlib.Path, group: Trained, params: Any, *, seed: int) -> int:
    """Writes one episode of the greedy policy in Gymnasium; returns the frame count.

    Raises:
      UsageError: if Gymnasium has no twin of the environment.
    """
    env, algorithm = group.experiment.env, group.experiment.algorithm
    if isinstance(env, pg.HostEnv):
        policy = algorithm.policy
        episode = host_frames.frames(group.config, policy, params, seed=seed)
    else:
        actor = gymnasium_envs.make_actor(env, algorithm.policy, greedy=True)
        act = partial(actor, params)
        episode = gymnasium_envs.frames(env, act, seed=seed)
    images = [_small(frame) for frame in itertools.islice(episode, 0, None, EVERY)]
    first, *rest = images
    first.save(
        path,
        save_all=True,
        append_images=rest,
        duration=FRAME_MILLISECONDS,
        loop=0,
        optimize=True,
    )
    return len(images)


def _small(frame: Any) -> Image.Image:
    image = Image.fromarray(frame)
    height = round(image.height * WIDTH / image.width)
    return image.resize((WIDTH, height), Image.Resampling.LANCZOS).quantize(32)
