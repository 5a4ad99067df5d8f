"""The tasks of `oracles.tabular` as gymnax environments, and policies for them."""

from __future__ import annotations

from pgjax import Categorical, Network

# isort: split
# Importing gymnax starts JAX, and pgjax has a flag to set before that.
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from oracles.tabular import TASKS, Task


@struct.dataclass
class State(environment.EnvState):
    time: int
    place: jax.Array


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 1


def make_class(task: Task) -> type:
    """The environment of a task; observations are one-hot."""
    states, actions = task.reward.shape

    def draw(key, probabilities):
        cumulative = jnp.asarray(np.cumsum(probabilities, -1), jnp.float32)
        return lambda *index: jnp.minimum(
            jnp.sum(jax.random.uniform(key) >= cumulative[index]), states - 1
        )

    class Tabular(environment.Environment):
        @property
        def default_params(self):
            return Params(max_steps_in_episode=task.limit)

        def reset_env(self, key, params):
            state = State(time=0, place=draw(key, task.start)())
            return self.look(state), state

        def step_env(self, key, state, action, params):
            to_key, end_key = jax.random.split(key)
            place = draw(to_key, task.transition)(state.place, action)
            ending = jnp.asarray(task.ending, jnp.float32)[state.place, action]
            reward = jnp.asarray(task.reward, jnp.float32)[state.place, action]
            after = State(time=state.time + 1, place=place)
            ends = jax.random.uniform(end_key) < ending
            return self.look(after), after, reward, ends, {}

        def look(self, state):
            return jax.nn.one_hot(state.place, states)

        def action_space(self, params=None):
            return spaces.Discrete(actions)

        def observation_space(self, params):
            return spaces.Box(0.0, 1.0, (states,), jnp.float32)

    Tabular.__name__ = f"Tabular{task.name.title()}"
    return Tabular


def env_name(task: Task) -> str:
    return f"Tabular-{task.name}"


for _task in TASKS.values():
    if env_name(_task) not in gymnax.registered_envs:
        gymnax.register(env_name(_task), make_class(_task))


def network(task: Task, critic: np.ndarray | None) -> Network:
    """The task's policy, and a table of values if there is one."""

    def init(key, obs):
        del key, obs
        params = {"theta": jnp.asarray(task.theta, jnp.float32)}
        if critic is not None:
            params["value"] = jnp.asarray(critic, jnp.float32)
        return params

    def apply(params, obs):
        value = obs @ params["value"] if critic is not None else None
        return Categorical(obs @ params["theta"]), value

    return Network(init, apply)
