"""Programs are compiled once for all that acts alike, and anew for what does not."""

import functools
import gc
import types
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax._internal import compilation
from pgjax._internal.compilation import jit_once

COMPILED = [0]


def _count(name, seconds, **_):
    del seconds
    COMPILED[0] += name == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count)


def user_env():
    """One that a user wrote: a walk of three steps, paid by its actions."""

    def reset(key, num):
        del key
        return jnp.zeros((num, 1)), jnp.zeros(num)

    def step(key, state, action):
        noise = jax.random.uniform(key, state.shape)
        reward, no = action.astype(jnp.float32) + noise, jnp.zeros(len(action), bool)
        return (state + 1)[:, None], state + 1, reward, no, no

    return pg.Env("walk", reset, step, pg.Box(0.0, 3.0, (1,)), pg.Discrete(2), 3)


ENVS = {"gymnax": pg.make_env("CartPole-v1", time_limit=5), "user": user_env()}


def make_network(env):
    width = env.observation_space.shape[0]

    def init(key, obs):
        del obs
        return {"theta": jax.random.normal(key, (width, 2)), "value": jnp.zeros(width)}

    def apply(params, obs):
        return pg.Categorical(obs @ params["theta"]), obs @ params["value"]

    return pg.Network(init, apply)


def evaluation(env, *, greedy):
    network = make_network(env)
    params = network.init(jax.random.key(0), None)

    def call(i):
        def policy(params, obs):  # written anew each time
            return network.apply(params, obs)[0]

        key = jax.random.key(i)
        return pg.evaluate(key, env, policy, params, num_episodes=3, greedy=greedy)

    return call


def sweeping(env, *, grid, num_seeds=2):
    network, rollout = make_network(env), pg.unroll(env, 2, 4)

    def call(i):
        return pg.sweep(
            lambda **values: pg.ppo(network, optax.sgd(0.1), num_epochs=1, **values),
            grid,
            rollout,
            num_seeds=num_seeds,
            num_updates=1,
            seed=i,
        )

    return call


def training(env):
    network, rollout = make_network(env), pg.unroll(env, 2, 3)

    def call(i):
        algorithm = pg.a2c(network, optax.sgd(0.1))  # made anew each time
        return pg.train(jax.random.key(i), rollout, algorithm, num_updates=2)

    return call


def stepping(env):
    network, rollout = pg.actor_critic(env, (4,)), pg.unroll(env, 2, 3)

    def call(i):
        algorithm = pg.a2c(network, optax.sgd(0.1))
        state = pg.init_train_state(jax.random.key(i), rollout, algorithm)
        for _ in range(2):
            state, metrics = pg.train_step(state, rollout, algorithm)
        return state, metrics

    return call


# Of gymnax's, whose parts are others, one of each driver.
OF_GYMNAX = ("evaluate sampled", "sweep floats", "train by steps")
CALLS = {
    f"{name} {what}": functools.partial(make, env, **options)
    for name, env in ENVS.items()
    for what, (make, options) in {
        "evaluate greedy": (evaluation, {"greedy": True}),
        "evaluate sampled": (evaluation, {"greedy": np.bool_(False)}),
        "evaluate either": (evaluation, {"greedy": jnp.array(True)}),
        "sweep floats": (sweeping, {"grid": {"gamma": [0.9, 0.99]}}),
        "sweep both": (
            sweeping,
            {"grid": {"num_minibatches": [1, 2], "clip": [0.1, 0.2]}},
        ),
        "sweep nothing": (sweeping, {"grid": {}, "num_seeds": 1}),
        "train": (training, {}),
        "train by steps": (stepping, {}),
    }.items()
    if name == "user" or what in OF_GYMNAX
}


@pytest.mark.parametrize("name", CALLS)
def test_a_second_call_compiles_nothing(name):
    call = CALLS[name]()
    results = []
    for i in range(3):
        COMPILED[0] = 0
        results.append(jax.tree.leaves(jax.block_until_ready(call(i))))
        assert (COMPILED[0] > 0) == (i == 0), (i, COMPILED[0])
    # And the seed is no constant of the program.
    if name.startswith("user") and "greedy" not in name and "either" not in name:
        first, second, _ = results
        assert any(
            not np.array_equal(plain(x), plain(y))
            for x, y in zip(first, second, strict=True)
        )


def plain(x):
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def test_parameters_are_arguments_of_the_program():
    env = ENVS["user"]

    def policy(params, obs):
        return pg.Categorical(jnp.broadcast_to(params, (*obs.shape[:-1], 2)))

    returns = [
        pg.evaluate(jax.random.key(0), env, policy, jnp.array(x), num_episodes=4)[0]
        for x in ([0.0, 1.0], [1.0, 0.0])
    ]
    np.testing.assert_allclose(returns[0] - returns[1], 3.0, rtol=1e-6)


def test_a_policy_is_traced_once():
    chex.clear_trace_counter()
    env = ENVS["user"]

    @chex.assert_max_traces(n=2)  # the check of what it gives, and the program
    def policy(params, obs):
        return pg.Categorical(obs @ params)

    for i in range(3):
        pg.evaluate(jax.random.key(i), env, policy, jnp.ones((1, 2)), num_episodes=2)


def scaled(factor):
    return lambda x: factor * x


def scaled_by_default(factor):
    return lambda x, factor=factor: factor * x


def scaled_by_a_part(factor):
    return functools.partial(lambda factor, x: factor * x, factor)


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x


def scaled_by_itself(factor):
    def fn(x, depth=2):
        return fn(x, depth - 1) if depth else factor * x

    return fn


@pytest.mark.parametrize(
    "make", [scaled, scaled_by_default, scaled_by_a_part, scaled_by_itself]
)
@pytest.mark.parametrize(
    ("same", "other"),
    [
        ([2.0, 2.0], 3.0),
        ([2, 2], 2.0),
        ([np.arange(3), np.arange(3)], np.arange(1, 4)),
        ([0.0, 0.0], -0.0),
        ([float("nan"), float("nan")], 1.0),
    ],
    ids=str,
)
def test_functions_that_act_alike_are_one(make, same, other):
    first, second, third = (jit_once(make(x)) for x in (*same, other))
    assert first is second
    assert third is not first
    np.testing.assert_array_equal(third(np.ones(3)), other * np.ones(3))


def change_object(box):
    box.thing.factor = 3.0


def change_list(box):
    box.list[0] = 3.0


def change_dict(box):
    box.dict["factor"] = 3.0


def change_array(box):
    box.array[0] = 3.0


def change_global(box):
    del box
    globals()["FACTOR"] = 3.0


FACTOR = 2.0


def closures():
    box = types.SimpleNamespace(
        thing=Scaled(2.0), list=[2.0], dict={"factor": 2.0}, array=np.array([2.0])
    )
    thing, items, names, array = box.thing, box.list, box.dict, box.array
    return box, {
        change_object: lambda x: thing.factor * x,
        change_list: lambda x: items[0] * x,
        change_dict: lambda x: names["factor"] * x,
        change_array: lambda x: array[0] * x,
        change_global: lambda x: FACTOR * x,
    }


@pytest.mark.parametrize(
    "change",
    [change_object, change_list, change_dict, change_array, change_global],
)
def test_what_has_changed_is_compiled_anew(change, monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    box, functions = closures()
    fn = functions[change]
    assert jit_once(fn)(1.0) == 2.0
    change(box)
    assert jit_once(fn)(1.0) == 3.0


def test_methods_go_by_their_object():
    one, other = Scaled(2.0), Scaled(3.0)
    assert jit_once(one.__call__)(1.0) == 2.0
    assert jit_once(other.__call__)(1.0) == 3.0
    assert jit_once(one.__call__) is jit_once(one.__call__)


def test_what_is_traced_is_not_kept():
    before = compilation._jitted.cache_info().currsize

    @jax.jit
    def outer(factor):
        return jit_once(lambda x: factor * x)(2.0)

    with jax.checking_leaks():
        assert outer(3.0) == 6.0
    assert compilation._jitted.cache_info().currsize == before


def test_shares_of_other_numbers_of_devices_are_other_programs():
    def fn(x):
        return x * jax.lax.axis_size("env")

    for size in (2, 3):
        mapped = jax.vmap(lambda x: jit_once(fn)(x), axis_name="env")
        np.testing.assert_array_equal(mapped(jnp.ones(size)), [size] * size)


def test_old_programs_and_what_they_refer_to_are_let_go():
    big = Scaled(2.0)
    gone = weakref.ref(big)
    jit_once(lambda x, big=big: big(x))(1.0)
    del big
    for i in range(compilation.MAX_PROGRAMS):
        jit_once(lambda x, i=i: x + i)
    gc.collect()
    assert gone() is None


def test_too_much_to_look_at_is_compiled_each_time():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    many = [[i] for i in range(2 * compilation.MAX_PARTS)]
    for things in (deep, many):

        def fn(x, things=things):
            return x + len(things)

        assert jit_once(fn) is not jit_once(fn)
        assert jit_once(fn)(1) == 1 + len(things)


def test_under_jit_and_vmap_it_is_the_same():
    env = ENVS["user"]
    call = functools.partial(
        pg.evaluate, env=env, policy=make_policy(), num_episodes=3, greedy=False
    )
    keys, params = jax.random.split(jax.random.key(1), 2), jnp.ones((2, 1, 2))
    alone = [call(key, params=x)[0] for key, x in zip(keys, params, strict=True)]
    mapped = jax.vmap(lambda key, x: call(key, params=x)[0])
    np.testing.assert_allclose(mapped(keys, params), alone, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(mapped)(keys, params), alone, rtol=1e-6)


def make_policy():
    return lambda params, obs: pg.Categorical(obs @ params)


class Setting:
    """What a user's function may read, from the class or from an object of it."""

    reward = 1.0


class Slotted:
    __slots__ = ("reward",)


HOLDER, SLOTTED, NAMES = Setting(), Slotted(), {1.0}
MODULE = types.ModuleType("somebodys_own")


@pytest.mark.parametrize(
    ("read", "change"),
    [
        (lambda: Setting.reward, lambda x: setattr(Setting, "reward", x)),
        (lambda: HOLDER.reward, lambda x: setattr(HOLDER, "reward", x)),
        (lambda: SLOTTED.reward, lambda x: setattr(SLOTTED, "reward", x)),
        (lambda: MODULE.reward, lambda x: setattr(MODULE, "reward", x)),
        (lambda: max(NAMES), lambda x: (NAMES.clear(), NAMES.add(x))),
    ],
    ids=["class", "object", "slots", "module", "set"],
)
def test_what_a_function_reads_may_change(read, change):
    change(1.0)
    assert jit_once(lambda x: x * read())(2.0) == 2.0
    change(5.0)
    assert jit_once(lambda x: x * read())(2.0) == 10.0
