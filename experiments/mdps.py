"""Small tabular tasks whose policy gradient can be computed exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pgjax as pg

GAMMA = 0.99
HORIZON = 200  # tasks end by themselves long before


class MDP(NamedTuple):
    """A tabular task: every step ends the episode with probability `ending`."""

    name: str
    transition: np.ndarray  # (S, A, S) where an episode goes if it goes on
    reward: np.ndarray  # (S, A)
    start: np.ndarray  # (S,)
    ending: np.ndarray  # (S, A)
    theta: np.ndarray  # (S, A) preferences of the policy that is looked at


def chain() -> MDP:
    """Six states in a row, and a reward only for leaving the last one."""
    states, actions = 6, 2
    transition = np.zeros((states, actions, states))
    for s in range(states):
        transition[s, 0, min(s + 1, states - 1)] = 1.0  # on
        transition[s, 1, max(s - 1, 0)] = 1.0  # back
    reward = np.zeros((states, actions))
    reward[-1, 0] = 1.0
    ending = np.full((states, actions), 0.05)
    ending[-1, 0] = 1.0
    theta = np.zeros((states, actions))
    theta[:, 0] = 0.5
    return MDP("chain", transition, reward, np.eye(states)[0], ending, theta)


def random_mdp(seed: int = 7) -> MDP:
    """Five states and three actions, with rewards of mean and deviation 1."""
    rng = np.random.default_rng(seed)
    states, actions = 5, 3
    return MDP(
        "random MDP",
        rng.dirichlet(np.ones(states), (states, actions)),
        1.0 + rng.normal(size=(states, actions)),
        rng.dirichlet(np.ones(states)),
        np.full((states, actions), 0.1),
        0.5 * rng.normal(size=(states, actions)),
    )


def exact(mdp: MDP) -> tuple[np.ndarray, np.ndarray]:
    """The gradient by theta, (S, A), and V, (S,): linear algebra in float64.

    sum_s d(s) sum_a pi(a | s) (Q(s, a) - V(s)) grad log pi(a | s), with d(s) the
    expected number of visits, as REINFORCE without gamma^t estimates it.
    """
    policy = np.exp(mdp.theta) / np.exp(mdp.theta).sum(1, keepdims=True)
    onward = (1 - mdp.ending)[..., None] * mdp.transition  # (S, A, S)
    step = np.einsum("sa,sat->st", policy, onward)
    identity = np.eye(len(step))
    visits = np.linalg.solve(identity - step.T, mdp.start)
    value = np.linalg.solve(identity - GAMMA * step, (policy * mdp.reward).sum(1))
    action_value = mdp.reward + GAMMA * onward @ value
    return visits[:, None] * policy * (action_value - value[:, None]), value


def make_env(mdp: MDP) -> pg.Env:
    """The task as an environment, with one-hot observations."""
    states, actions = mdp.reward.shape
    transition, reward = jnp.log(mdp.transition), jnp.asarray(mdp.reward, jnp.float32)
    start, ending = jnp.log(mdp.start), jnp.asarray(mdp.ending, jnp.float32)

    def look(state: Any) -> Any:
        return jax.nn.one_hot(state[0], states)

    def reset(key: Any, num: int) -> tuple[Any, Any]:
        state = jax.random.categorical(key, start, shape=(num,)), jnp.zeros(num, int)
        return look(state), state

    def step(key: Any, state: Any, action: Any) -> tuple:
        place, time = state
        to_key, end_key = jax.random.split(key)
        after = jax.random.categorical(to_key, transition[place, action])
        ends = jax.random.uniform(end_key, place.shape) < ending[place, action]
        state = after, time + 1
        late = state[1] >= HORIZON
        return look(state), state, reward[place, action], ends, late

    low, high = np.zeros(states), np.ones(states)
    space = pg.Box(low, high, (states,))
    return pg.Env(mdp.name, reset, step, space, pg.Discrete(actions), HORIZON)
