"""A walk along a line, as a JAX environment and the same one on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg

SIZE, START, LIMIT = 7, 3, 6
SPACES = pg.Box(0.0, 1.0, (SIZE,)), pg.Discrete(2)


def jax_walk() -> pg.Env:
    """Nothing about it is random: who goes to an end ends, who does not is cut."""

    def reset(key, num_envs):
        del key
        position = jnp.full(num_envs, START)
        return jax.nn.one_hot(position, SIZE), position

    def step(key, position, action):
        del key
        position = position + 2 * action - 1
        ended = (position == 0) | (position == SIZE - 1)
        reward = jnp.where(position == SIZE - 1, 1.0, -0.1)
        obs = jax.nn.one_hot(position, SIZE)
        return obs, position, reward, ended, jnp.zeros_like(ended)

    return pg.Env("walk", reset, step, *SPACES, max_steps=LIMIT)


class Walks:
    """The simulators of the other; they count what is done with them."""

    made, closed = 0, 0

    def __init__(self, num_envs):
        type(self).made += 1
        self.position = np.zeros(num_envs, int)
        self.seeds = []

    def start(self, seeds):
        self.seeds.append(seeds)
        self.position[:] = START
        return self.look()

    def restart(self, which):
        self.position[which] = START
        return self.look()

    def step(self, which, action):
        # The others' rows are nobody's business.
        self.position[which] += 2 * action[which] - 1
        ended = (self.position == 0) | (self.position == SIZE - 1)
        reward = np.where(self.position == SIZE - 1, 1.0, -0.1)
        obs = np.where(which[:, None], self.look(), np.nan)
        reward = np.where(which, reward, np.nan)
        return obs, reward, ended, np.zeros_like(ended)

    def look(self):
        return np.eye(SIZE)[self.position]

    def close(self):
        type(self).closed += 1


def host_walk(make=Walks) -> pg.HostEnv:
    obs = jax.ShapeDtypeStruct((SIZE,), np.float32)
    return pg.HostEnv("host walk", make, obs, *SPACES, max_steps=LIMIT)
