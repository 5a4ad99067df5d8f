"""Whatever `make_env` takes, and what it says of all else."""

import sys

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest
from gymnax.wrappers.purerl import LogWrapper

import pgjax as pg
from pgjax.envs import suites

MODULE = """
import gymnax
import jax.numpy as jnp
import pgjax as pg

class Short(gymnax.environments.classic_control.cartpole.CartPole):
    @property
    def name(self):
        return "CartPole-v1"

def walk(size=5, slope=1.0, *, limit=20):
    def reset(key, num_envs):
        position = jnp.full(num_envs, size // 2)
        return position[:, None] * 1.0, position

    def step(key, position, action):
        position = position + 2 * action - 1
        ends = (position == 0) | (position == size - 1)
        return position[:, None] * 1.0, position, slope * action, ends, ends & False

    space = pg.Box(0.0, float(size), (1,))
    return pg.Env("walk", reset, step, space, pg.Discrete(2), limit)

MADE = walk()
NUMBER = 3
def again(name="CartPole-v1"): return name
def a_class(): return Short
def nothing(): pass
def broken(): raise RuntimeError("no such track")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "tracks.py").write_text(MODULE)
    (tmp_path / "wrong.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("tracks", None)


def first(env, num=3):
    """What comes of one step, whatever the environment is named."""
    obs, state = env.reset(jax.random.key(0), num)
    action = jnp.ones((num, *env.action_space.shape), jnp.int32)
    return obs, *env.step(jax.random.key(1), state, action)


def assert_alike(env, other):
    assert jax.tree.all(jax.tree.map(np.array_equal, env[3:6], other[3:6]))
    jax.tree.map(np.testing.assert_array_equal, first(env), first(other))


CartPole = type(gymnax.make("CartPole-v1")[0])


@pytest.mark.parametrize(
    "what",
    ["gymnax:CartPole-v1", CartPole(), CartPole, lambda: CartPole(), lambda: CartPole],
)
def test_gymnax_environments_in_any_form_are_that_of_the_name(what):
    env = pg.make_env(what)
    assert env.name == "CartPole-v1"
    assert_alike(env, pg.make_env("CartPole-v1"))


def test_an_environment_is_returned_as_it_is():
    env = pg.make_env("CartPole-v1")
    assert pg.make_env(env) is env
    assert pg.make_env(env, time_limit=7).max_steps == 7


def test_a_time_limit_of_any_environment_may_be_a_terminal_state():
    env = pg.make_env("Noise-probe", time_limit=10)
    env = pg.make_env(env, time_limit=2, time_limit_terminates=True)
    _, state = env.reset(jax.random.key(0), 3)
    for ends in (False, True):
        _, state, _, terminated, truncated = env.step(
            jax.random.key(1), state, jnp.ones(3, int)
        )
        np.testing.assert_array_equal(terminated, [ends] * 3)
        assert not truncated.any()


def test_a_class_takes_options_and_a_time_limit():
    arm = type(gymnax.make("Reacher-misc")[0])
    env = pg.make_env(arm, num_joints=2, time_limit=9)
    assert (env.action_space.shape, env.max_steps) == ((2,), 9)
    with pytest.raises(TypeError, match="num_wheels"):
        pg.make_env(arm, num_wheels=2)


def test_names_of_a_module(module):
    env = pg.make_env("tracks:walk", size=9, params={"slope": 2.0}, time_limit=4)
    assert (env.name, env.observation_space.high, env.max_steps) == ("walk", 9.0, 4)
    assert first(env)[3].tolist() == [2.0] * 3
    assert pg.make_env("tracks:MADE").max_steps == 20
    assert pg.make_env("tracks:again", name="Pendulum-v1").name == "Pendulum-v1"
    for of_gymnax in ("tracks:Short", "tracks:a_class"):
        # By its own name, it could pass for the one that it is made from.
        env = pg.make_env(of_gymnax, params={"gravity": 5.0})
        assert env.name == f"{of_gymnax}(gravity=5)"


def test_parameters_of_a_function_may_be_traced(module):
    def reward(slope):
        return first(pg.make_env("tracks:walk", params={"slope": slope}))[3][0]

    rewards = jax.jit(jax.vmap(reward))(jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(rewards, [0.5, 2.0])


@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        (3, {}, 'make_env takes a name such as "CartPole-v1", .*; got 3'),
        (None, {}, "; got None"),
        (np.zeros(3), {}, "; got ndarray"),
        ("nowhere:make", {}, "no module 'nowhere'.* no such suite; .*gymnax"),
        ("tracks:wolk", {}, "tracks has no 'wolk'; did you mean walk"),
        ("tracks.lanes:make", {}, "there is no module 'tracks.lanes'"),
        ("a b:make", {}, "'a b:make' must be \"module:name\""),
        ("tracks:", {}, "must be .module:name."),
        ("wrong:make", {}, "importing wrong failed: ZeroDivisionError: division"),
        ("tracks:NUMBER", {}, "; got 3"),
        ("tracks:nothing", {}, "tracks:nothing must return .* it returned None"),
        ("gymnax:CartPole", {}, "unknown environment 'CartPole'; did you mean CartP"),
        ("tracks:walk", {"wings": 2}, "unexpected keyword argument 'wings'"),
        (
            "tracks:walk",
            {"params": {"slop": 1.0}},
            "tracks:walk has no parameter 'slop'; did you mean slope",
        ),
        (
            "tracks:MADE",
            {"params": {"slope": 1.0}},
            "tracks:MADE is made already, and cannot be given params slope",
        ),
        ("tracks:MADE", {"size": 1}, "made already, and cannot be given size: give"),
        (CartPole(), {"size": 1}, "CartPole-v1 is made already, and cannot be"),
        (LogWrapper(CartPole()), {}, "LogWrapper is a wrapper of gymnax"),
        (
            type("Old", (), {"reset_env": 1, "step_env": 2, "name": "Old"})(),
            {},
            ("Old is no environment of gymnax 1.0: Old has no is_truncated"),
        ),
    ],
)
def test_what_it_cannot_make_is_told(module, what, options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        pg.make_env(what, **options)


def test_an_error_of_a_users_function_is_its_own(module):
    with pytest.raises(RuntimeError, match="no such track"):
        pg.make_env("tracks:broken")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite whose file is there; its package is not."""
    import pgjax.envs

    (tmp_path / "atoms_envs.py").write_text(
        "import pgjax as pg\n"
        "def make(name, *, time_limit=None, charge=1.0):\n"
        "    half = time_limit and time_limit / 2\n"
        "    params = {'gravity': charge, 'length': half or 1.0}\n"
        "    return pg.make_env('CartPole-v1', params=params, time_limit=time_limit)\n"
    )
    (tmp_path / "molecules_envs.py").write_text("import no_such_package")
    monkeypatch.setattr(pgjax.envs, "__path__", [*pgjax.envs.__path__, str(tmp_path)])
    monkeypatch.setattr(suites, "_folders", lambda: [tmp_path])
    yield
    sys.modules.pop("pgjax.envs.atoms_envs", None)


def test_an_environment_of_a_suite(suite):
    env = pg.make_env("atoms:Ion", params={"charge": 2.0}, time_limit=7)
    assert (env.name, env.max_steps) == ("CartPole-v1(gravity=2, length=3.5)", 7)
    with pytest.raises(ValueError, match="gymnax, atoms, molecules"):
        pg.make_env("particles:Ion")
    with pytest.raises(ValueError, match="atoms has no parameter 'spin'; there are"):
        pg.make_env("atoms:Ion", params={"spin": 2.0})


def test_a_suite_that_is_not_installed_says_how_to_install_it(suite):
    with pytest.raises(ImportError) as told:
        pg.make_env("molecules:Water")
    assert str(told.value) == (
        "molecules cannot be imported (ModuleNotFoundError: No module named "
        "'no_such_package'); pip install 'pgjax-rl[molecules]' installs it"
    )


def test_suites_are_the_files_that_serve_one():
    names = suites.suite_names()
    assert "brax" in names
    assert "gymnax" not in names
    for name in names:
        file = suites._folders()[0] / f"{name}_envs.py"
        assert "def make(" in file.read_text(), name


@pytest.mark.parametrize("name", ["Noise-probe", "Countdown-probe"])
def test_it_trains_on_what_it_was_given(name):
    """The doors take an object's environment as they take a name's."""
    probe = {f"{x.__name__}-probe": x for x in probes.PROBES}[name]
    run = jax.jit(lambda key: pg.unroll(pg.make_env(probe()), 3, 4).init(key))
    named = jax.jit(lambda key: pg.unroll(pg.make_env(name), 3, 4).init(key))
    jax.tree.map(
        np.testing.assert_array_equal, run(jax.random.key(0)), named(jax.random.key(0))
    )
