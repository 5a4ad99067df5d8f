"""Parts that are wrong are told by name, before anything is computed."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal.contract import check_env

BOX = pg.Box(-1.0, 1.0, (3,))
KEY = jax.random.key(0)


def reset(key, num):
    return jax.random.uniform(key, (num, 3)), {"time": jnp.zeros(num, jnp.int32)}


def step(key, state, action):
    obs, _ = reset(key, len(action))
    no = jnp.zeros(len(action), bool)
    return obs, {"time": state["time"] + 1}, obs[:, 0], no, no


ENV = pg.Env("right", reset, step, BOX, pg.Discrete(2), 4)


def changed(index, change):
    """The environment whose step changes one of the five things that it returns."""

    def wrong(key, state, action):
        result = list(step(key, state, action))
        result[index] = change(result[index])
        return tuple(result)

    return ENV._replace(step=wrong)


def starting(change):
    return ENV._replace(reset=lambda key, num: change(*reset(key, num)))


def returning(change):
    return ENV._replace(step=lambda *given: change(*step(*given)))


def if_on_traced(key, state, action):
    if action[0] == 1:
        return step(key, state, action)
    return None


def unbatched_reset(key, num):
    del num
    return jnp.zeros(3), {"time": jnp.int32(0)}


ENVIRONMENTS = {
    "not one": ("CartPole-v1", "env must be of type Env"),
    "reset no function": (ENV._replace(reset=3), "env.reset must be a function, got 3"),
    "obs alone": (
        starting(lambda obs, state: obs),
        r"env.reset must return \(obs, state\), got float32\[2,3\]",
    ),
    "three of reset": (
        starting(lambda obs, state: (obs, state, {})),
        r"env.reset must return \(obs, state\), got 3 values",
    ),
    "no batch axis": (
        ENV._replace(reset=unbatched_reset),
        r"env.reset: obs must be of shape \(2, 3\).*got float32\[3\]; it has no axis",
    ),
    "another observation": (
        starting(lambda obs, state: (obs[:, :2], state)),
        r"obs must be of shape \(2, 3\) \(of env.observation_space.*got float32\[2,2\]",
    ),
    "a dict of observations": (
        starting(lambda obs, state: ({"a": obs}, state)),
        r"env.reset: obs must be one array, got \{a: float32\[2,3\]\}",
    ),
    "state without batch": (
        starting(lambda obs, state: (obs, {"time": jnp.int32(0)})),
        r"2 as their first axis; state\['time'\] is int32\[\]",
    ),
    "four values": (
        returning(lambda obs, state, reward, done, _: (obs, state, reward, done)),
        r"env.step must return \(obs, state, reward, terminated, truncated\), got 4",
    ),
    "six values": (
        returning(lambda *parts: (*parts, {})),
        r"env.step must return \(obs, state, reward, terminated, truncated\), got 6",
    ),
    "no tuple": (returning(lambda *parts: parts[0]), "env.step must return"),
    "reward column": (
        changed(2, lambda x: x[:, None]),
        r"env.step: reward must be of shape \(2,\).*float32\[2,1\]; write .*squeeze",
    ),
    "one reward": (changed(2, jnp.sum), r"reward must be of shape .*got float32\[\]"),
    "integer reward": (
        changed(2, lambda x: x.astype(int)),
        r"reward of floats, got int32\[2\]; write reward.astype\(jnp.float32\)",
    ),
    "boolean reward": (changed(2, lambda x: x > 0), "reward of floats, got bool"),
    "float flag": (
        changed(3, lambda x: x.astype(float)),
        r"boolean terminated, got float32\[2\]; write terminated.astype\(bool\)",
    ),
    "integer flag": (changed(4, lambda x: x + 0), "boolean truncated, got int32"),
    "one flag": (changed(4, jnp.any), r"truncated must be of shape \(2,\)"),
    "observation drifts": (
        changed(0, lambda x: x.astype(jnp.bfloat16)),
        r"the obs of env.reset; obs was float32\[2,3\] and became bfloat16\[2,3\]",
    ),
    "state drifts": (
        changed(1, lambda state: {"time": state["time"] * 1.0}),
        r"state\['time'\] was int32\[2\] and became float32\[2\]",
    ),
    "state shrinks": (
        changed(1, lambda state: {"time": state["time"][:1]}),
        r"state\['time'\] was int32\[2\] and became int32\[1\]",
    ),
    "state changes": (
        changed(1, lambda state: state | {"more": state["time"]}),
        r"the structure.*state was \{time: int32\[2\]\} and became \{more",
    ),
    "python's if": (
        ENV._replace(step=if_on_traced),
        r"env.step failed when it was called with \(key.*\[\], \{time: int32\[2\]\}, "
        r"int32\[2\]\): TracerBoolConversionError",
    ),
    "one that fails": (
        ENV._replace(reset=lambda key: None),
        r"env.reset failed when it was called with \(key, 2\): TypeError",
    ),
    "no limit": (ENV._replace(max_steps=0), "env.max_steps must be at least 1, got 0"),
    "float limit": (ENV._replace(max_steps=9.5), "env.max_steps must be an integer"),
    "endless": (ENV._replace(max_steps=2**31), "env.max_steps must be below"),
    "a number for a space": (
        ENV._replace(action_space=2),
        "env.action_space must be a pg.Discrete or a pg.Box, .*got 2",
    ),
    "no choice": (
        ENV._replace(action_space=pg.Discrete(0)),
        "env.action_space.n must be at least 1",
    ),
    "shape a number": (
        ENV._replace(observation_space=pg.Box(0.0, 1.0, 3)),
        "env.observation_space.shape must be a tuple, got 3",
    ),
    "bounds of another shape": (
        ENV._replace(action_space=pg.Box(np.zeros(2), 1.0, (3,))),
        r"action_space.low has shape \(2,\), which does not broadcast to .*\(3,\)",
    ),
}
DOORS = {
    "episodes": lambda env: pg.episodes(env, 2),
    "unroll": lambda env: pg.unroll(env, 2, 3),
    "evaluate": lambda env: pg.evaluate(KEY, env, policy, (), num_episodes=2),
}


def policy(params, obs):
    del params
    return pg.Categorical(jnp.zeros((*obs.shape[:-1], 2)))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name, door):
    env, says = ENVIRONMENTS[name]
    with pytest.raises((TypeError, ValueError), match=says):
        DOORS[door](env)


def test_an_error_of_the_users_own_is_the_cause():
    with pytest.raises(TypeError) as told:
        check_env(ENVIRONMENTS["python's if"][0], 2)
    assert isinstance(told.value.__cause__, jax.errors.TracerBoolConversionError)
    names = [frame.name for frame in told.traceback]
    assert "check_env" in names
    cause = told.value.__cause__.__traceback__
    found = []
    while cause:
        found.append(cause.tb_frame.f_code.co_name)
        cause = cause.tb_next
    assert "if_on_traced" in found


def init(key, obs):
    del key
    return {"w": jnp.zeros((obs.shape[-1], 2)), "v": jnp.zeros(obs.shape[-1])}


def apply(params, obs):
    return pg.Categorical(obs @ params["w"]), obs @ params["v"]


def networked(change=None, init=init):
    change = change or (lambda distribution, value: (distribution, value))
    return pg.Network(init, lambda params, obs: change(*apply(params, obs)))


class NoPytree:
    def sample(self, key): ...
    def log_prob(self, action): ...
    def entropy(self): ...
    def kl(self, other): ...
    def mode(self): ...


class NoEntropy(NamedTuple):
    logits: Any

    def sample(self, key):
        return pg.Categorical(self.logits).sample(key)

    def log_prob(self, action):
        return pg.Categorical(self.logits).log_prob(action)

    def mode(self):
        return pg.Categorical(self.logits).mode()


NETWORKS = {
    "logits": (
        networked(lambda d, v: d.logits),
        r"network.apply must return \(distribution, value\).*got float32\[2,2\]",
    ),
    "logits and value": (
        networked(lambda d, v: (d.logits, v)),
        r"network.apply must give a distribution, .*got float32\[2,2\], without sample",
    ),
    "distribution alone": (
        networked(lambda d, v: d),
        r"must return \(distribution, value\).*got Categorical\(logits=",
    ),
    "three": (networked(lambda d, v: (d, v, ())), "must return .distribution, value"),
    "nothing": (networked(lambda d, v: None), "distribution, value.*got None"),
    "value column": (
        networked(lambda d, v: (d, v[:, None])),
        r"value must be of shape \(2,\).*float32\[2,1\]; write value.squeeze\(-1\)",
    ),
    "one value": (networked(lambda d, v: (d, v.sum())), r"value must be of shape \(2,"),
    "values of actions": (
        networked(lambda d, v: (d, d.logits)),
        r"value must be of shape \(2,\).*got float32\[2,2\]",
    ),
    "no entropy": (
        networked(lambda d, v: (NoEntropy(d.logits), v)),
        "without entropy, kl",
    ),
    "no pytree": (
        networked(lambda d, v: (NoPytree(), v)),
        "gives a NoPytree, which is no pytree: make it a NamedTuple",
    ),
    "params with a name": (
        networked(init=lambda key, obs: init(key, obs) | {"name": "mlp"}),
        r"network.init must return a params of arrays; params\['name'\] is of type str",
    ),
    "init fails": (
        networked(init=lambda key, obs: jnp.ones(2) @ obs[0]),
        r"network.init failed when it was called with \(key.*\[\], float32\[2,3\]\)",
    ),
    "apply fails": (
        networked(lambda d, v: (d, v @ jnp.ones(7))),
        r"network.apply failed when it was called with \(\{w: float32\[3,2\]",
    ),
    "another number of actions": (
        networked(lambda d, v: (pg.Categorical(jnp.zeros((len(v), 3))), v)),
        "chooses among 3 actions, and the environment right has 2",
    ),
    "continuous actions": (
        networked(lambda d, v: (pg.DiagGaussian(d.logits, d.logits), v)),
        r"actions must be of shape \(2,\) \(of env.action_space, Discrete\(2\)",
    ),
    "one continuous action": (
        networked(lambda d, v: (pg.DiagGaussian(v, v, event_ndim=0), v)),
        "the policy must give integer actions",
    ),
}
TRAINED = {
    "reinforce": lambda network: (pg.episodes(ENV, 2), pg.reinforce(network, SGD)),
    "ppo": lambda network: (
        pg.unroll(ENV, 2, 4),
        pg.normalize_observations(pg.ppo(network, SGD)),
    ),
}
SGD = optax.sgd(0.1)


@pytest.mark.parametrize("how", TRAINED)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, how):
    network, says = NETWORKS[name]
    rollout, algorithm = TRAINED[how](network)
    with pytest.raises(TypeError, match=says):
        pg.train(KEY, rollout, algorithm, num_updates=1)


def test_a_policy_that_returns_all_of_the_network():
    with pytest.raises(TypeError, match="the policy must give a distribution"):
        pg.evaluate(KEY, ENV, apply, init(KEY, jnp.ones((2, 3))), num_episodes=1)


def test_parameters_of_another_environment():
    params = {"w": jnp.zeros((7, 2)), "v": jnp.zeros(7)}
    says = r"the policy failed when it was called with \(\{.*w: float32\[7,2\].*\[2,3\]"
    with pytest.raises(TypeError, match=says):
        pg.evaluate(
            KEY, ENV, lambda params, obs: apply(params, obs)[0], params, num_episodes=2
        )


def made(change=lambda learner, metrics: (learner, metrics), start=lambda x: x):
    """An algorithm that learns nothing, with another `update` or `init`."""

    def first(key, obs):
        params = init(key, obs)
        return start(pg.Learner(params, jnp.int32(0)))

    def update(key, learner, batch):
        del key
        learner = learner._replace(opt_state=learner.opt_state + 1)
        return change(learner, {"loss": batch.reward.mean()})

    return pg.Algorithm(first, update, lambda params, obs: apply(params, obs)[0])


ALGORITHMS = {
    "params of init": (
        made(start=lambda learner: learner.params),
        r"must return a state that has params, such as pg.Learner\(.*, got \{w: ",
    ),
    "a name in init": (
        made(start=lambda learner: learner._replace(opt_state="sgd")),
        "algorithm.init must return a learner of arrays; learner.opt_state is .* str",
    ),
    "learner alone": (
        made(lambda x, m: x),
        r"must return \(learner, metrics\), got the learner alone: Learner",
    ),
    "params of update": (
        made(lambda x, m: (x.params, m)),
        r"\(learner, metrics\), the first with params, .* got \{.*w:",
    ),
    "a loss": (made(lambda x, m: (x, m["loss"])), "the second a dict of scalars, got"),
    "a curve": (
        made(lambda x, m: (x, {"loss": jnp.zeros(4)})),
        r"a dict of scalars; loss is float32\[4\]",
    ),
    "type drifts": (
        made(lambda x, m: (x._replace(opt_state=x.opt_state * 1.0), m)),
        r"learner.opt_state was int32\[\] and became float32\[\]",
    ),
    "shape drifts": (
        made(lambda x, m: (x._replace(params=x.params | {"v": jnp.zeros(4)}), m)),
        r"learner.params\['v'\] was float32\[3\] and became float32\[4\]",
    ),
    "structure drifts": (
        made(lambda x, m: (x._replace(opt_state=()), m)),
        r"learner was Learner\(params=.* and became Learner",
    ),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Opaque:
    """A state that is no tuple, and whose params are a part of something else."""

    everything: dict

    @property
    def params(self):
        return self.everything["params"]


def test_a_state_may_be_any_pytree_with_params():
    def first(key, obs):
        return Opaque({"params": init(key, obs), "count": jnp.int32(0)})

    def update(key, state, batch):
        after = state.everything | {"count": state.everything["count"] + 1}
        return Opaque(after), {}

    algorithm = made()._replace(init=first, update=update)
    wrapped = pg.scale_rewards(pg.normalize_observations(algorithm))
    state, _ = pg.train(KEY, pg.unroll(ENV, 2, 3), wrapped, num_updates=2)
    assert state.learner.inner.inner.everything["count"] == 2
    params = state.learner.params.params
    jax.tree.map(np.testing.assert_array_equal, params, state.learner.inner.params[0])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms(name):
    algorithm, says = ALGORITHMS[name]
    with pytest.raises(TypeError, match=says):
        pg.train(KEY, pg.unroll(ENV, 2, 3), algorithm, num_updates=2)


class Custom(NamedTuple):
    """A distribution of a user's own, which has no `noise`."""

    logits: Any

    def sample(self, key):
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action):
        return pg.Categorical(self.logits).log_prob(action)

    def entropy(self):
        return pg.Categorical(self.logits).entropy()

    def kl(self, other):
        return pg.Categorical(self.logits).kl(other)

    def mode(self):
        return jnp.argmax(self.logits, axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    """A state that is no dict, with a key and a weak type in it."""

    key: Any
    time: Any


def odd_env():
    def start(key, num):
        keys = jax.random.split(key, num)
        return jnp.broadcast_to(1.0, (num, 3)), State(keys, jnp.broadcast_to(0, num))

    def go(key, state, action):
        del key
        time = state.time + jnp.ones_like(state.time, jnp.int32)
        obs = jnp.broadcast_to(jnp.float32(1.0), (len(action), 3))
        reward = jnp.where(action == 1, 1.0, 0.0)  # a weak type
        return [obs, State(state.key, time), reward, time > 2, time > 3]

    return pg.Env("odd", start, go, BOX, pg.Discrete(2), np.int64(4))


@pytest.mark.parametrize("env", [ENV, odd_env()], ids=lambda env: env.name)
@pytest.mark.parametrize("distribution", [pg.Categorical, Custom])
def test_what_is_right_passes(env, distribution):
    def change(categorical, value):
        return distribution(categorical.logits), value

    network = networked(change)
    algorithms = [pg.reinforce(network, SGD), made()]
    rollouts = [pg.episodes(env, 2), pg.unroll(env, 2, 4)]
    for rollout, algorithm in zip(rollouts, algorithms, strict=True):
        state, _ = pg.train(KEY, rollout, algorithm, num_updates=1)
        params = state.learner.params
        pg.evaluate(KEY, env, algorithm.policy, params, num_episodes=2, greedy=False)


@pytest.mark.parametrize("name", ["Pendulum-v1", "Catch-bsuite", "FrozenLake-misc"])
def test_environments_of_gymnax_pass(name):
    check_env(pg.make_env(name), 2)


def test_a_check_computes_nothing():
    def forbidden(x):
        raise AssertionError("this was computed")

    def watched(key, num):
        obs, state = reset(key, num)
        jax.debug.callback(forbidden, obs)
        return obs, state

    check_env(ENV._replace(reset=watched), 2)
    jax.effects_barrier()


def test_an_environment_of_one_number_of_environments_passes():
    bonus = jnp.arange(4.0)

    def paid(key, state, action):
        obs, state, reward, *flags = step(key, state, action)
        return obs, state, reward + bonus, *flags

    env = ENV._replace(step=paid)
    pg.unroll(env, 4, 2)
    with pytest.raises(TypeError, match=r"env\.step failed"):
        pg.unroll(env, 3, 2)


def test_an_environment_that_asks_which_device_it_is_on_passes():
    def own(key, num):
        return reset(jax.random.fold_in(key, jax.lax.axis_index("env")), num)

    pg.unroll(ENV._replace(reset=own), 2, 2)
