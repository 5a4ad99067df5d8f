"""The contract names what is wrong with an environment, and nothing else."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg

N = 16  # environments side by side


def reset(key, num):
    position = jax.random.uniform(key, (num,), minval=-0.5, maxval=0.5)
    return look(position), {"x": position, "time": jnp.zeros(num, jnp.int32)}


def look(position):
    return jnp.stack([position, jnp.square(position)], axis=1)


def walk(state, action, noise):
    """A walk that ends 2 away from the middle, or after 12 steps."""
    x = state["x"] + 0.5 * jnp.clip(action[:, 0], -1.0, 1.0) + noise
    state = {"x": jnp.clip(x, -2.0, 2.0), "time": state["time"] + 1}
    ends, cut = jnp.abs(x) >= 2.0, state["time"] >= 12
    return look(state["x"]), state, -jnp.abs(state["x"]), ends, cut


def step(key, state, action):
    return walk(state, action, 0.1 * jax.random.normal(key, (len(action),)))


RIGHT = pg.Env(
    "walk", reset, step, pg.Box(-4.0, 4.0, (2,)), pg.Box(-1.0, 1.0, (1,)), 12
)


def starting(change):
    return RIGHT._replace(reset=lambda key, num: change(key, *reset(key, num)))


def stepping(change):
    """What a step returns, changed; `change` is given the state before as well."""

    def wrong(key, state, action):
        return change(key, state, *step(key, state, action))

    return RIGHT._replace(step=wrong)


def stateful(begin, move):
    """A walk with `more` in its state, from which its noise comes."""

    def start(key, num):
        key, own = jax.random.split(key)
        obs, state = reset(key, num)
        return obs, state | {"more": begin(own, num)}

    def go(key, state, action):
        more, noise = move(key, state["more"], len(action))
        plain = {"x": state["x"], "time": state["time"]}
        obs, plain, *rest = walk(plain, action, noise)
        return obs, plain | {"more": more}, *rest

    return RIGHT._replace(reset=start, step=go)


def draw(keys):
    return 0.1 * jax.vmap(jax.random.normal)(keys)


def resets_by_itself(key, state, obs, after, reward, ends, cut):
    fresh_obs, fresh = reset(key, len(obs))
    done = ends | cut
    after = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, after)
    return jnp.where(done[:, None], fresh_obs, obs), after, reward, ends, cut


def forgets_the_end(key, state, obs, after, reward, ends, cut):
    return obs, after, reward, ends & False, cut & False


def only_after(limit):
    def change(key, state, obs, after, reward, ends, cut):
        return obs, after, reward, ends & False, after["time"] >= limit

    return change


def numpy_reset(key, num):
    position = jnp.asarray(np.random.default_rng().uniform(size=num), jnp.float32)
    return look(position), {"x": position, "time": jnp.zeros(num, jnp.int32)}


def one_key_for_all(key, num):
    x = jnp.broadcast_to(jax.random.uniform(key), (num,))
    return look(x), {"x": x, "time": jnp.zeros(num, jnp.int32)}


def same_noise(key, state, obs, after, reward, ends, cut):
    x = jnp.clip(state["x"] + jax.random.normal(key), -2.0, 2.0)
    return look(x), after | {"x": x}, reward, ends, cut


def weak(key, obs, state):
    return obs, state | {"time": jnp.broadcast_to(0, len(obs))}


def on_the_host(key, state, action):
    if "Batch" in type(action).__name__ or "Vmap" in type(action).__name__:
        raise TypeError("no rule to map it")
    return step(key, state, action)


def unclipped(key, state, action):
    _, state, *rest = step(key, state, action)
    state = state | {"x": state["x"] + 1e-3 * action[:, 0]}
    return look(jnp.clip(state["x"], -2, 2)), state, *rest


def time_noise(key, state, obs, after, reward, ends, cut):
    x = jnp.clip(after["x"] + draw(jax.vmap(jax.random.key)(state["time"])), -2.0, 2.0)
    return look(x), after | {"x": x}, reward, ends, cut


WRONG = {
    # Its shapes and types: what rollouts say of it as well.
    "no batch axis": (
        starting(lambda key, obs, state: (obs[0], state)),
        r"env.reset: obs must be of shape \(3, 2\).*no axis of environments",
    ),
    "a batch of one": (
        starting(lambda key, obs, state: (obs.squeeze(), state)),
        r"obs must be of shape \(1, 2\)",
    ),
    "reward column": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r[:, None], e, c)),
        r"reward must be of shape \(3,\).*write reward.squeeze\(-1\)",
    ),
    "integer reward": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r.astype(int), e, c)),
        "a reward of floats, got int32",
    ),
    "float flag": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r, e * 1.0, c)),
        r"boolean terminated, got float32.*write terminated.astype\(bool\)",
    ),
    "one flag": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r, e | c)),
        "must return .obs, state, reward, terminated, truncated., got 4",
    ),
    "observation drifts": (
        stepping(lambda k, s, o, a, r, e, c: (o.astype(jnp.bfloat16), a, r, e, c)),
        "obs was float32.3,2. and became bfloat16",
    ),
    "state drifts": (
        stepping(lambda k, s, o, a, r, e, c: (o, a | {"time": a["x"]}, r, e, c)),
        r"state\['time'\] was int32\[3\] and became float32",
    ),
    "an if": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r, e, c) if r[0] > 0 else None),
        "env.step failed when it was called with .*TracerBoolConversionError",
    ),
    "a limit that is none": (RIGHT._replace(max_steps=0), "max_steps must be at least"),
    # What it computes.
    "weak type": (
        starting(weak),
        r"env.reset returns a weakly typed state\['time'\].*jnp.int32",
    ),
    "not to be mapped": (
        RIGHT._replace(step=on_the_host),
        "fails under jax.vmap.*no rule to map it.*operations of JAX only",
    ),
    "own key in reset": (
        RIGHT._replace(reset=lambda key, num: reset(jax.random.key(3), num)),
        "env.reset draws random numbers from a key of its own, the same in every call",
    ),
    "numpy in reset": (
        RIGHT._replace(reset=numpy_reset),
        "env.reset gives something else for the same key .*NumPy's",
    ),
    "numpy in step": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r + np.random.rand(), e, c)),
        "env.step gives something else for the same key, state and action",
    ),
    "one key for all in reset": (
        RIGHT._replace(reset=one_key_for_all),
        "env.reset draws one obs for all environments: one key is used for all; split",
    ),
    "one key for all in step": (
        stepping(same_noise),
        "env.step draws one obs for all environments: one key is used for all; split",
    ),
    "own key in step": (
        stepping(
            lambda k, s, o, a, r, e, c: step(jax.random.key(3), s, s["x"][:, None])
        ),
        "env.step draws random numbers from a key of its own, the same at every step",
    ),
    "a key that is never split": (
        stateful(jax.random.split, lambda key, keys, num: (keys, draw(keys))),
        r"draws random numbers from state\['more'\], which stays what it is",
    ),
    "a key made of the time": (
        stepping(time_noise),
        r"draws random numbers from state\['time'\], which begins alike in all",
    ),
    "a key used twice": (
        stepping(
            lambda k, s, o, a, r, e, c: (o, a, r + jax.random.normal(k, r.shape), e, c)
        ),
        r"env.step draws from one key twice.*jax.random.split\(key\)",
    ),
    "environments mixed": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r - r.mean(), e, c)),
        "environments influence each other",
    ),
    "actions not clipped": (
        RIGHT._replace(step=unclipped),
        r"an action outside env.action_space gives something else.*jnp.clip",
    ),
    "observation out of space": (
        RIGHT._replace(observation_space=pg.Box(-4.0, np.array([4.0, 1.0]), (2,))),
        r"an observation of [\d.]+ at \[1\] is outside .* whose high is 1 there",
    ),
    "observation below the space": (
        RIGHT._replace(observation_space=pg.Box(0.0, 4.0, (2,))),
        r"an observation of -[\d.]+ at \[0\] is outside .* whose low is 0 there",
    ),
    "NaN": (
        stepping(lambda k, s, o, a, r, e, c: (jnp.log(o), a, r, e, c)),
        "an observation that is not finite",
    ),
    "a reward of infinity": (
        stepping(lambda k, s, o, a, r, e, c: (o, a, r / (r < -1), e, c)),
        "a reward that is not finite",
    ),
    "NaN in the state": (
        stateful(
            lambda key, num: jnp.zeros(num),
            lambda key, more, num: (jnp.sqrt(more - 1.0), 0.0),
        ),
        "a state with NaN in it",
    ),
    "resets by itself": (
        stepping(resets_by_itself),
        "where an episode ends, env.step returns what a reset does",
    ),
    "its limit is beyond": (
        stepping(only_after(20)),
        "its own time limit, 20 steps, is beyond env.max_steps, 12",
    ),
    "a limit that never comes": (
        stepping(forgets_the_end)._replace(max_steps=2**31 - 1),
        "no episode ended in [\\d,]+ steps, and env.max_steps, 2,147,483,647, is far",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name):
    env, says = WRONG[name]
    found = pg.check_env(env, num_envs=N, seconds=3.0)
    assert any(re.search(says, line) for line in found), found
    assert len(found) <= 2, found  # and what follows from it
    assert not any("\n" in line for line in found)


def advanced(key, keys, num):
    both = jax.vmap(jax.random.split)(keys)
    return both[:, 0], draw(both[:, 1])


# Unusual, and right.
FINE = {
    "the walk": RIGHT,
    "a limit of the library": stepping(forgets_the_end),
    "keys in the state": stateful(jax.random.split, advanced),
    "raw keys in the state": stateful(
        lambda key, num: jax.vmap(jax.random.key_data)(jax.random.split(key, num)),
        lambda key, raw, num: (
            jax.vmap(jax.random.key_data)(
                advanced(key, jax.random.wrap_key_data(raw), num)[0]
            ),
            advanced(key, jax.random.wrap_key_data(raw), num)[1],
        ),
    ),
    "a level that is drawn at a reset": stateful(
        lambda key, num: jax.random.normal(key, (num,)),
        lambda key, level, num: (level, 0.1 * level),
    ),
    "a fixed start": RIGHT._replace(
        reset=lambda key, num: (
            look(jnp.zeros(num)),
            {"x": jnp.zeros(num), "time": jnp.zeros(num, jnp.int32)},
        )
    ),
    "an unbounded space": RIGHT._replace(
        observation_space=pg.Box(-math.inf, math.inf, (2,)),
        action_space=pg.Box(-np.inf, np.inf, (1,)),
    ),
    "an own limit that is nearer": RIGHT._replace(max_steps=40),
    "wrapped": pg.frame_stack(pg.time_limit(RIGHT, 9, terminates=True), 2),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_right_is_not(name):
    assert pg.check_env(FINE[name], num_envs=N) == []


# All of gymnax's 26 were tried, but for MNISTBandit, which downloads its images: these
# mistakes, and MetaMaze's, which observes its reward of 10, are all that it makes.
GYMNAX = {
    "CartPole-v1": [],
    "Pendulum-v1": [],
    "Catch-bsuite": [],
    "UmbrellaChain-bsuite": [],
    "DiscountingChain-bsuite": [],
    "MemoryChain-bsuite": [r"an observation of -1 at \[2\] is outside"],
    "GaussianBandit-misc": [r"at \[0\] is outside .* low", r"at \[0\] .* high"],
    "FrozenLake-misc": [],
}


@pytest.mark.parametrize("name", GYMNAX)
def test_gymnax_is_right_but_for_some_spaces(name):
    found = pg.check_env(pg.make_env(name), num_envs=64)
    for says, line in zip(GYMNAX[name], found, strict=True):
        assert re.search(says, line)


def test_arguments_of_a_wrong_kind_are_told():
    with pytest.raises(TypeError, match="env must be of type Env"):
        pg.check_env("CartPole-v1")
    with pytest.raises(ValueError, match="num_envs must be at least 2"):
        pg.check_env(RIGHT, num_envs=1)


def test_strict_promotion_changes_nothing():
    with jax.numpy_dtype_promotion("strict"):
        assert pg.check_env(pg.make_env("Catch-bsuite"), num_envs=8, seconds=5) == []
