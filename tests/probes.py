"""Probe environments and policies: each one pins a single part, in a few steps.

Importing this file registers them with gymnax; `pg.make_env` then knows their names.
"""

from __future__ import annotations

import gymnax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from pgjax import Categorical, Network


@struct.dataclass
class State(environment.EnvState):
    time: int
    value: jax.Array  # what the probe draws at a reset, or in a step


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 4


class Probe(environment.Environment):
    """Two actions, a scalar value drawn from [0, 1) at reset, no terminal state."""

    obs_shape: tuple[int, ...] = (1,)

    @property
    def default_params(self):
        return Params()

    def draw(self, key):
        return jax.random.uniform(key)

    def reset_env(self, key, params):
        state = State(time=0, value=self.draw(key))
        return self.look(state), state

    def step_env(self, key, state, action, params):
        after = state.replace(time=state.time + 1, value=self.move(key, state, action))
        reward, terminated = self.outcome(state, action, after)
        return self.look(after), after, reward, terminated, {}

    def look(self, state):
        return jnp.ones(1)

    def move(self, key, state, action):
        return state.value

    def outcome(self, state, action, after):
        return jnp.float32(1.0), jnp.bool_(False)

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(-jnp.inf, jnp.inf, self.obs_shape, jnp.float32)


class ConstantTruncates(Probe):
    """Reward 1 and the same observation for ever; cut after 3 steps."""

    @property
    def default_params(self):
        return Params(max_steps_in_episode=3)


class ConstantTerminates(Probe):
    """Reward 1 and the same observation; a terminal state after 3 steps."""

    def outcome(self, state, action, after):
        return jnp.float32(1.0), after.time >= 3


class Bandit(Probe):
    """One step; the observation's sign says which action pays 1."""

    def draw(self, key):
        return jnp.where(jax.random.bernoulli(key), 1.0, -1.0)

    def look(self, state):
        return state.value[None]

    def outcome(self, state, action, after):
        return jnp.float32((action == 1) == (state.value > 0)), jnp.bool_(True)


class Delayed(Probe):
    """Two steps; the second one pays 1 if the *first* action was 1."""

    obs_shape = (2,)

    def look(self, state):
        return jax.nn.one_hot(state.time, 2)

    def move(self, key, state, action):
        return jnp.where(state.time == 0, action.astype(jnp.float32), state.value)

    def outcome(self, state, action, after):
        second = after.time == 2
        return jnp.where(second, state.value, 0.0), second


class Countdown(Probe):
    """Observes (start, time); ends after 1 to 5 steps, as the start says; limit 4.

    Starts below 0.6 terminate, those below 0.8 reach the terminal state and the limit
    in the same step, the others are truncated. Action 1 in step t pays t + 1, an int.
    """

    obs_shape = (2,)

    def look(self, state):
        return jnp.stack([state.value, jnp.float32(state.time)])

    def outcome(self, state, action, after):
        steps = 1 + jnp.floor(5 * state.value).astype(jnp.int32)
        return after.time * action, after.time >= steps


class Noise(Probe):
    """Observes, and is paid, the number that the step drew from its key."""

    def look(self, state):
        return state.value[None]

    def move(self, key, state, action):
        return jax.random.uniform(key)

    def outcome(self, state, action, after):
        return after.value, jnp.bool_(False)


class Echo(Probe):
    """Two continuous actions within (-1, -0.5) and (1, 0.5); observes what it got."""

    obs_shape = (2,)

    def draw(self, key):
        return jnp.zeros(2)

    def look(self, state):
        return state.value

    def move(self, key, state, action):
        return action

    def action_space(self, params=None):
        high = jnp.array([1.0, 0.5])
        return spaces.Box(-high, high, (2,), jnp.float32)


@struct.dataclass
class TimelessParams:
    scale: float = 1.0


class Timeless(Probe):
    """Parameters without a time limit."""

    @property
    def default_params(self):
        return TimelessParams()

    def is_truncated(self, state, params):
        return jnp.bool_(False)


PROBES = (
    ConstantTruncates,
    ConstantTerminates,
    Bandit,
    Delayed,
    Countdown,
    Noise,
    Echo,
    Timeless,
)
for _probe in PROBES:
    if f"{_probe.__name__}-probe" not in gymnax.registered_envs:
        gymnax.register(f"{_probe.__name__}-probe", _probe)


def linear_network(critic: bool = False) -> Network:
    """Logits, and values, linear in a flat observation; zeros at first."""

    def init(key, obs):
        del key
        params = {"theta": jnp.zeros((obs.shape[-1], 2))}
        return params | {"value": jnp.zeros(obs.shape[-1])} if critic else params

    def apply(params, obs):
        value = obs @ params["value"] if critic else None
        return Categorical(obs @ params["theta"]), value

    return Network(init, apply)


def countdown_steps(start):
    """How many steps an episode of `Countdown` runs before its terminal state."""
    return 1 + jnp.floor(5 * start).astype(jnp.int32)
