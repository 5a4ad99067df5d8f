"""Which way of drawing start states is chosen: by device, work and memory."""

import jax
import jax.numpy as jnp
import pytest

import pgjax as pg
from pgjax._internal import resets, start_states
from pgjax._internal.resets import independent_resets, scan_of


def world(*, loops=0, size=1):
    """Environments whose reset takes so many loops over a state of that size."""

    def reset(key, num_envs):
        x = jax.random.normal(key, (num_envs, size))
        x = jax.lax.fori_loop(0, loops, lambda _, x: jnp.sin(x), x)
        return x[:, :1], x

    def step(key, state, action):
        over = jnp.ones(len(action), bool)
        return state[:, :1], state, state[:, 0], over, ~over

    return pg.Env("world", reset, step, pg.Box(-9.0, 9.0, (1,)), pg.Discrete(2), 9)


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(resets, "on_cpu", lambda: False)


def test_a_cpu_asks():
    assert independent_resets(world(), 2) == "spares"
    assert independent_resets(world(loops=10**6), 4096) == "spares"


@pytest.mark.parametrize(
    ("env", "num_envs", "chosen"),
    [
        (world(), 65_536, "fresh"),
        (world(loops=10**6), 4, "fresh"),
        (world(loops=10**6), 4096, "spares"),  # a reset of many steps
        (world(size=10_000), 4, "fresh"),
        (world(size=10_000), 2**14, "spares"),  # 655 MB for each step
    ],
)
def test_an_accelerator_asks_where_resets_are_large(accelerator, env, num_envs, chosen):
    assert independent_resets(env, num_envs) == chosen


def test_nothing_is_computed(accelerator):
    env = world()

    def reset(key, num_envs):
        assert isinstance(key, jax.core.Tracer)
        return env.reset(key, num_envs)

    assert independent_resets(env._replace(reset=reset), 4) == "fresh"


@pytest.mark.parametrize("name", ["CartPole-v1", "Asterix-MinAtar"])
def test_gymnax_draws_fresh_ones_on_an_accelerator(accelerator, name):
    assert independent_resets(pg.make_env(name), 4096) == "fresh"


def test_what_is_named_is_taken(accelerator):
    assert scan_of("spares", world(), 4, 8) is start_states.with_spares
    assert scan_of("auto", world(), 4, 8) is start_states.with_fresh_ones
    assert scan_of("pooled", world(), 4, 8).func is start_states.with_pool
