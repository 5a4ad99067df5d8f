"""The oracles' tasks as gymnax environments, and policies for them."""

from __future__ import annotations

from typing import Any

from pgjax import Categorical, DiagGaussian, Network
from pgjax.networks.products import product

# isort: split
# Importing gymnax starts JAX, and pgjax has a flag to set before that.
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from oracles import gaussian, tabular


@struct.dataclass
class State(environment.EnvState):
    time: int
    place: jax.Array


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 1


class OracleEnv(environment.Environment):
    """What both kinds have in common; `task` is what they play."""

    task: Any

    @property
    def default_params(self):
        return Params(max_steps_in_episode=self.task.limit)


def tabular_class(task: tabular.Task) -> type:
    """The environment of a table; observations are one-hot."""
    states, actions = task.reward.shape

    def draw(key, probabilities):
        cumulative = jnp.asarray(np.cumsum(probabilities, -1), jnp.float32)
        return lambda *index: jnp.minimum(
            jnp.sum(jax.random.uniform(key) >= cumulative[index]), states - 1
        )

    class Tabular(OracleEnv):
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

    Tabular.task = task
    return Tabular


def gaussian_class(task: gaussian.GaussianTask) -> type:
    """The environment of numbers; the observation is the state."""

    class Gaussian(OracleEnv):
        def reset_env(self, key, params):
            state = State(time=0, place=jnp.float32(task.start))
            return self.look(state), state

        def step_env(self, key, state, action, params):
            s, a = state.place, action[0]
            reward = -jnp.square(s - 1.0) - task.cost * a**2 + 0.5 * s * a
            place = task.decay * s + task.push * a
            after = State(time=state.time + 1, place=place)
            return self.look(after), after, reward, jnp.bool_(False), {}

        def look(self, state):
            return state.place[None]

        def action_space(self, params=None):
            return spaces.Box(-task.bound, task.bound, (1,), jnp.float32)

        def observation_space(self, params):
            return spaces.Box(-jnp.inf, jnp.inf, (1,), jnp.float32)

    Gaussian.task = task
    return Gaussian


def env_name(task: Any) -> str:
    return f"Oracle-{task.name}"


for _task in tabular.TASKS.values():
    if env_name(_task) not in gymnax.registered_envs:
        gymnax.register(env_name(_task), tabular_class(_task))
for _other in gaussian.TASKS.values():
    if env_name(_other) not in gymnax.registered_envs:
        gymnax.register(env_name(_other), gaussian_class(_other))


def network(task: Any, critic: np.ndarray | None) -> Network:
    """The task's policy, and its critic if there is one.

    Parameters are "theta", the policy's, and "value", a table or a polynomial.
    """
    continuous = isinstance(task, gaussian.GaussianTask)

    def init(key, obs):
        del key, obs
        params = {"theta": jnp.asarray(task.theta, jnp.float32)}
        if critic is not None:
            params["value"] = jnp.asarray(critic, jnp.float32)
        return params

    def apply(params, obs):
        theta, features = params["theta"], obs
        if continuous:
            features = jnp.concatenate([jnp.ones_like(obs), obs, obs**2], axis=-1)
            distribution = DiagGaussian(theta[0] * obs, jnp.full_like(obs, theta[1]))
        else:
            distribution = Categorical(product(obs, theta))
        value = None if critic is None else product(features, params["value"])
        return distribution, value

    return Network(init, apply)
