"""Every algorithm and wrapper under JAX's other settings, and with other numbers.

Shapes only, unless a test says otherwise: two updates, so that a state which changes
its types under the first is found.
"""

import contextlib
import functools

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from turns import in_turns, slow

import pgjax as pg

ADAM = optax.adam(1e-3)
ENVS = {name: pg.make_env(name) for name in ("CartPole-v1", "Pendulum-v1")}
SMALL = {"num_epochs": 2, "num_minibatches": 2}
ALGORITHMS = {
    "reinforce": (pg.reinforce, {"discount_states": True}),
    "reinforce mean": (pg.reinforce, {"baseline": pg.episode_mean}),
    "reinforce batch": (
        pg.reinforce,
        {"baseline": pg.batch_mean, "normalize_advantage": True},
    ),
    "reinforce others": (pg.reinforce, {"baseline": pg.leave_one_out}),
    "reinforce value": (pg.reinforce, {"baseline": pg.value_baseline}),
    "a2c": (pg.a2c, {"normalize_advantage": True, "lam": 0.9}),
    "a2c n-step": (pg.a2c, {"n_step": 2}),
    "ppo": (pg.ppo, {"target_kl": 0.1, "value_clip": 0.2, **SMALL}),
    "ppo batch": (pg.ppo, {"normalize_over": "batch", **SMALL}),
    "trpo": (pg.trpo, SMALL),
}
WRAPPERS = {
    "normalize_observations": pg.normalize_observations,
    "scale_rewards": pg.scale_rewards,
    "all": lambda algorithm: pg.normalize_observations(pg.scale_rewards(algorithm)),
}


@contextlib.contextmanager
def both():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


SETTINGS = {
    "x64": lambda: jax.enable_x64(True),
    "strict": lambda: jax.numpy_dtype_promotion("strict"),
    "both": both,
}


def network_of(name, env):
    if name == "reinforce others":
        return pg.mlp_policy(env, (4,))
    return pg.actor_critic(env, (4,), state_dependent_std=name == "a2c")


def rollout_of(algorithm, env):
    return pg.episodes(env, 4) if algorithm.complete_episodes else pg.unroll(env, 4, 8)


def traced(algorithm, env):
    rollout, key = rollout_of(algorithm, env), jax.random.key(0)
    return jax.eval_shape(
        lambda key: pg.train(key, rollout, algorithm, num_updates=2), key
    )


# Each setting with one of them, and both settings with either.
SETTING_AND_ENV = [("x64", "CartPole-v1"), ("strict", "Pendulum-v1")]
SETTING_AND_ENV += [("both", env) for env in ENVS]


@pytest.mark.parametrize(
    ("algorithm", "setting_and_env"), in_turns(ALGORITHMS, SETTING_AND_ENV)
)
def test_every_algorithm_under_every_setting(algorithm, setting_and_env):
    setting, env = setting_and_env
    make, options = ALGORITHMS[algorithm]
    with SETTINGS[setting]():
        network = network_of(algorithm, ENVS[env])
        traced(make(network, ADAM, **options), ENVS[env])


WRAPPED = [("a2c", name, "CartPole-v1") for name in WRAPPERS]
WRAPPED += [(name, "all", "Pendulum-v1") for name in ("reinforce", "ppo", "trpo")]


@pytest.mark.parametrize(("wrapped", "setting"), in_turns(WRAPPED, SETTINGS))
def test_every_wrapper_under_every_setting(wrapped, setting):
    algorithm, wrapper, env = wrapped
    make, options = ALGORITHMS[algorithm]
    with SETTINGS[setting]():
        network = network_of(algorithm, ENVS[env])
        inner = make(network, pg.anneal(ADAM, env_steps=1000), **options)
        traced(WRAPPERS[wrapper](inner), ENVS[env])


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_drivers_under_every_setting(setting):
    env, key = ENVS["CartPole-v1"], jax.random.key(0)
    algorithm = pg.a2c(pg.mlp_policy(env, (4,)), ADAM)
    with SETTINGS[setting]():
        algorithm = pg.a2c(pg.actor_critic(env, (4,)), ADAM)
        state, _ = traced(algorithm, env)
        params = state.learner.params
        jax.eval_shape(
            lambda key, params: pg.evaluate(
                key, env, algorithm.policy, params, num_episodes=4
            ),
            key,
            params,
        )


@pytest.mark.parametrize(
    ("algorithm", "setting"),
    in_turns(["reinforce value", "ppo", "trpo"], ["x64", "strict"]),
)
def test_it_runs_under_every_setting(algorithm, setting):
    make, options = ALGORITHMS[algorithm]
    env, key = pg.make_env("Countdown-probe"), jax.random.key(0)
    with SETTINGS[setting]():
        annealed = pg.anneal(ADAM, env_steps=1000)
        inner = make(probes.linear_network(critic=True), annealed, **options)
        wrapped = WRAPPERS["all"](inner)
        rollout = rollout_of(wrapped, env)
        state, metrics = pg.train(key, rollout, wrapped, num_updates=2)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.learner.params))
    assert np.isfinite(metrics["gradient_norm"]).all()


NUMBERS = {
    "np.float32": np.float32,
    "np.float64": np.float64,
    "np.int64": np.int64,
    "int": int,
    "0-d": np.asarray,
    "jnp.float32": jnp.float32,
    "jnp.int32": jnp.int32,
}
COUNTS = {
    "np.float32": np.int32,
    "np.float64": np.uint8,
    "np.int64": np.int64,
    "int": int,
    "0-d": np.asarray,
    "jnp.float32": jnp.uint32,
    "jnp.int32": jnp.int32,
}
FLOATS = {"gamma": 1.0, "entropy_coefficient": 0.0, "value_coefficient": 1.0}
CASES = {
    "reinforce": (pg.reinforce, FLOATS, {}),
    "a2c": (pg.a2c, FLOATS | {"lam": 1.0}, {}),
    "a2c n-step": (pg.a2c, FLOATS, {"n_step": 2}),
    "ppo": (
        pg.ppo,
        FLOATS | {"lam": 0.0, "clip": 1.0, "target_kl": 1.0, "value_clip": 1.0},
        SMALL,
    ),
    "trpo": (
        pg.trpo,
        {"gamma": 1.0, "lam": 1.0, "max_kl": 1.0, "damping": 1.0},
        SMALL | {"cg_iterations": 2, "max_backtracks": 1},
    ),
}
WRAPPER_OPTIONS = {
    "anneal": (pg.anneal, {"env_steps": 100.0}, {}),
    "scale_rewards": (pg.scale_rewards, {"gamma": 1.0, "clip": 2.0}, {}),
    "normalize_observations": (pg.normalize_observations, {"clip": 2.0}, {}),
}


@functools.cache
def program_of(case, setting, kind):
    """The text of an update, with its constants, of an algorithm of such numbers."""
    network = probes.linear_network(critic=True)
    number, count = NUMBERS.get(kind, float), COUNTS.get(kind, int)
    with SETTINGS.get(setting, contextlib.nullcontext)():
        make, floats, counts = (CASES | WRAPPER_OPTIONS)[case]
        options = {name: number(x) for name, x in floats.items()}
        options |= {name: count(x) for name, x in counts.items()}
        if case in CASES:
            return program(make(network, ADAM, **options))
        if case == "anneal":
            return program(pg.a2c(network, make(ADAM, **options)))
        return program(make(pg.a2c(network, ADAM), **options))


def program(algorithm):
    batch = batches.episodes() if algorithm.complete_episodes else batches.rollout()

    def run(key, batch):
        learner = algorithm.init(key, batch.obs[0])
        return algorithm.update(key, learner, batch)

    return str(jax.make_jaxpr(run)(jax.random.key(0), batch))


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("setting", ["x64", slow("default")])
@pytest.mark.parametrize("case", [*CASES, *WRAPPER_OPTIONS])
def test_a_number_is_a_number_whatever_it_comes_as(case, setting, kind):
    assert program_of(case, setting, kind) == program_of(case, setting, "float")
