"""An episode of an environment on the host, in pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import pgjax as pg
from pgjax._internal.host_envs import HostEnvs
from pgjax.app.errors import UsageError
from pgjax.app.settings.make_env import Named, make_env
from pgjax.app.settings.run_settings import Config
from pgjax.types import PolicyFn


def frames(
    config: Config, policy: PolicyFn, params: Any, *, seed: int
) -> Iterator[np.ndarray]:
    """Yields one episode of the greedy policy, (height, width, 3) uint8 images.

    Raises:
      UsageError: if the environment draws no pictures.
    """
    if not config.env.startswith("gymnasium:"):
        raise UsageError(f"{config.env} cannot be drawn: only gymnax's and Gymnasium's")
    # pygame looks for a sound card and a display, which we do not need.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    options = {**config.env_arg, "render_mode": "rgb_array"}
    env = make_env(Named(config.env, options, config.env_param, config.time_limit))
    assert isinstance(env, pg.HostEnv)
    act = jax.jit(lambda params, obs: policy(params, obs).mode())
    one = np.ones(1, bool)
    with contextlib.closing(HostEnvs(env, 1)) as envs:
        envs.start(np.full(1, seed, np.uint32))
        for _ in range(env.max_steps):
            yield np.asarray(envs.simulators.render())
            if envs.step(np.asarray(act(params, envs.obs)), one).done[0]:
                break
