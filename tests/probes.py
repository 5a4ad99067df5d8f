"""Probe environments and policies: each one pins a single part, in a few steps.

Importing this file registers them with gymnax; `pg.make_env` then knows their names.
"""

from __future__ import annotations

import functools

from pgjax import Categorical, DiagGaussian, Network, train
from pgjax.networks.products import product

# isort: split
# Importing gymnax starts JAX, and pgjax has a flag to set before that.
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces


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


class Target(Probe):
    """One step and a continuous action; pays its squared distance to the observation.

    The action, within (-1, 1), is to be half of what is observed, which is 1 or -1.
    """

    def draw(self, key):
        return jnp.where(jax.random.bernoulli(key), 1.0, -1.0)

    def look(self, state):
        return state.value[None]

    def step_env(self, key, state, action, params):
        after = state.replace(time=state.time + 1)
        reward = -jnp.square(action[0] - 0.5 * state.value)
        return self.look(after), after, reward, jnp.bool_(True), {}

    def action_space(self, params=None):
        return spaces.Box(-1.0, 1.0, (1,), jnp.float32)


class Clock(Probe):
    """Reward 1 for ever; observes the time, modulo 3, where the limit is."""

    obs_shape = (3,)

    @property
    def default_params(self):
        return Params(max_steps_in_episode=3)

    def look(self, state):
        return jax.nn.one_hot(state.time % 3, 3)


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
    Target,
    Clock,
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
        value = product(obs, params["value"]) if critic else None
        return Categorical(product(obs, params["theta"])), value

    return Network(init, apply)


def gaussian_network(num_actions: int) -> Network:
    """Means, and values, linear in a flat observation; a log-std of its own each."""

    def init(key, obs):
        del key
        return {
            "theta": jnp.zeros((obs.shape[-1], num_actions)),
            "log_std": jnp.zeros(num_actions),
            "value": jnp.zeros(obs.shape[-1]),
        }

    def apply(params, obs):
        mean = product(obs, params["theta"])
        axes = (1,) * (mean.ndim - 1) + (num_actions,)
        log_std = jnp.broadcast_to(params["log_std"].reshape(axes), mean.shape)
        return DiagGaussian(mean, log_std), product(obs, params["value"])

    return Network(init, apply)


SOLVABLE = {
    # What is observed where it matters, and the actions that pay 1.
    "Bandit-probe": ([[1.0], [-1.0]], [1, 0]),
    "Delayed-probe": ([[1.0, 0.0]], [1]),
}


def assert_solves(name, rollout, algorithm, *, num_updates, num_seeds=8):
    """From every seed: from chance to over 0.95 in the last ten updates."""
    obs, best = SOLVABLE[name]
    run = jax.jit(
        functools.partial(
            train, rollout=rollout, algorithm=algorithm, num_updates=num_updates
        )
    )
    first = []
    for key in jax.random.split(jax.random.key(0), num_seeds):
        state, metrics = run(key)
        policy = algorithm.policy(state.learner.params, np.array(obs, np.float32))
        np.testing.assert_array_equal(policy.mode(), best)
        curve, count = (np.asarray(metrics[x]) for x in ("episode_return", "episodes"))
        # Late episodes are right with probability p > 0.95, each a coin.
        error = np.sqrt(0.95 * 0.05 / count[-10:].sum())
        assert curve[-10:].mean() > 0.95 - 5 * error, curve
        first.append((curve[0], count[0]))
    start, count = np.array(first).T
    assert abs(start.mean() - 0.5) < 5 * 0.5 / np.sqrt(count.sum())


def assert_same_alone_and_together(run, hyperparameters):
    """Agents of different seeds and hyperparameters, alone and under one `vmap`.

    `run` maps a key and hyperparameters to a train state and metrics.
    """
    alone, together = jax.jit(run), jax.jit(jax.vmap(run))
    settings = np.array(list(hyperparameters.values()), np.float32)
    keys = jax.random.split(jax.random.key(0), settings.shape[1])
    state, metrics = together(keys, *settings)
    for i, key in enumerate(keys):
        own_state, own_metrics = alone(key, *settings[:, i])
        # What happened is the same to the bit; parameters may round otherwise.
        for name in ("env_steps", "episodes", "episode_return", "recent_return"):
            np.testing.assert_array_equal(metrics[name][i], own_metrics[name])
        jax.tree.map(
            lambda x, own, i=i: np.testing.assert_allclose(x[i], own, atol=1e-5),
            state.learner.params,
            own_state.learner.params,
        )
    # Neither the seed nor any hyperparameter is without effect: the test could fail.
    others = [(keys[1], settings[:, 0])]
    for row in range(len(settings)):
        changed = settings[:, 0].copy()
        changed[row] = settings[row, 1]
        others.append((keys[0], changed))
    want, _ = alone(keys[0], *settings[:, 0])
    for key, values in others:
        got, _ = alone(key, *values)
        error = jax.tree.map(
            lambda x, y: jnp.abs(x - y).max(), got.learner.params, want.learner.params
        )
        assert max(jax.tree.leaves(error)) > 1e-3, values


def countdown_steps(start):
    """How many steps an episode of `Countdown` runs before its terminal state."""
    return 1 + jnp.floor(5 * start).astype(jnp.int32)
