"""gymnax's classic control against Gymnasium's: the same transitions, flags included.

From the same states, with the same actions, one step each. gymnax computes in float32,
Gymnasium in float64; a step may differ by rounding, and a flag where a state is within
rounding of a threshold. One difference is real: gymnax 1.0.1's MountainCarContinuous
does not stop the car at the left wall, where Gymnasium sets its velocity to 0.
"""

import gymnasium
import jax
import numpy as np
import pytest

import pgjax as pg
from pgjax._internal.xla import on_cpu

STEPS = 4000


def cartpole(rng):
    # Up to the thresholds of position (2.4) and angle (12 degrees): what has ended
    # already is not stepped.
    scale = [2.4, 2.0, 0.2, 2.0]
    return rng.uniform(-1, 1, (STEPS, 4)) * scale, rng.integers(0, 2, STEPS)


def pendulum(rng):
    states = rng.uniform(-1, 1, (STEPS, 2)) * [np.pi, 8.0]
    return states, rng.uniform(-3, 3, (STEPS, 1))  # beyond the bounds too


def acrobot(rng):
    scale = [np.pi, np.pi, 4 * np.pi, 9 * np.pi]
    return rng.uniform(-1, 1, (STEPS, 4)) * scale, rng.integers(0, 3, STEPS)


def mountain_car(rng):
    states = rng.uniform([-1.2, -0.07], [0.45, 0.07], (STEPS, 2))
    return states, rng.integers(0, 3, STEPS)


def continuous_mountain_car(rng):
    states, _ = mountain_car(rng)
    return states, rng.uniform(-1.5, 1.5, (STEPS, 1))


FIELDS = {
    "CartPole-v1": (cartpole, ("x", "x_dot", "theta", "theta_dot")),
    "Pendulum-v1": (pendulum, ("theta", "theta_dot")),
    "Acrobot-v1": (
        acrobot,
        ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    ),
    "MountainCar-v0": (mountain_car, ("position", "velocity")),
    "MountainCarContinuous-v0": (continuous_mountain_car, ("position", "velocity")),
}


def theirs(name, states, actions):
    """Observations, rewards and terminations of Gymnasium, one step from each state."""
    game = gymnasium.make(name).unwrapped
    game.reset(seed=0)
    outcomes = []
    for state, action in zip(states, actions, strict=True):
        game.state = np.array(state, np.float64)
        if hasattr(game, "steps_beyond_terminated"):
            game.steps_beyond_terminated = None
        obs, reward, terminated, _, _ = game.step(
            int(action) if np.ndim(action) == 0 else action
        )
        outcomes.append((obs, float(reward), terminated))
    return [np.array(x) for x in zip(*outcomes, strict=True)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_step_is_gymnasiums(name):
    make, fields = FIELDS[name]
    states, actions = make(np.random.default_rng(0))
    states = states.astype(np.float32).astype(np.float64)
    env = pg.make_env(name)
    _, state = env.reset(jax.random.key(0), STEPS)
    columns = {
        field: np.float32(states[:, i]).reshape(np.shape(getattr(state, field)))
        for i, field in enumerate(fields)
    }
    clipped = actions
    if isinstance(env.action_space, pg.Box):  # pgjax hands over what is within bounds
        clipped = np.clip(actions, env.action_space.low, env.action_space.high)
        clipped = clipped.astype(np.float32)
    obs, _, reward, terminated, truncated = env.step(
        jax.random.key(1), state.replace(**columns), clipped
    )
    true_obs, true_reward, true_terminated = theirs(name, states, clipped)
    atol = {"Acrobot-v1": 2e-3}.get(name, 1e-4)  # four steps of Runge-Kutta
    rtol = 1e-4 if on_cpu() else 5e-4  # sines and cosines are less exact elsewhere
    obs = np.array(obs)
    if name == "MountainCarContinuous-v0":
        wall = (true_obs[:, 0] == np.float32(-1.2)) & (obs[:, 1] < 0)
        assert wall.any()
        assert (true_obs[wall, 1] == 0).all()
        obs[wall, 1] = 0.0  # and nothing else differs
    np.testing.assert_allclose(obs, true_obs, atol=atol, rtol=rtol)
    np.testing.assert_allclose(reward, true_reward, atol=1e-4, rtol=1e-5)
    different = np.flatnonzero(np.asarray(terminated) != true_terminated)
    assert len(different) <= 2, states[different]
    assert not np.asarray(truncated).any()


@pytest.mark.parametrize("name", FIELDS)
def test_time_limits_are_gymnasiums(name):
    limit = gymnasium.spec(name).max_episode_steps
    assert pg.make_env(name).max_steps == limit
