"""The environment that a config names, in a module of the current directory."""

import sys

import pytest

from pgjax.app.errors import UsageError
from pgjax.app.settings.make_env import Named, make_env, source_digest

TRACKS = """
import jax.numpy as jnp
import pgjax as pg

def make(size=9, slope=1.0):
    def reset(key, num_envs):
        position = jnp.full(num_envs, size // 2)
        return position[:, None] * 1.0, position

    def step(key, position, action):
        position = position + 2 * action - 1
        ends = (position == 0) | (position == size - 1)
        reward = slope * (position == size - 1)
        return position[:, None] * 1.0, position, reward, ends, ends & False

    space = pg.Box(0.0, float(size), (1,))
    return pg.Env("CartPole-v1", reset, step, space, pg.Discrete(2), 20)

def broken():
    raise KeyError("no such track")

def crooked():
    return make()._replace(reset=lambda key, num: (jnp.zeros(num), 1 / 0))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "race_tracks.py").write_text(TRACKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x])
    yield tmp_path
    sys.modules.pop("race_tracks", None)


def test_a_module_of_the_current_directory(here):
    env = make_env(Named("race_tracks:make", {"size": 5}, {"slope": 2.0}, 7))
    assert (env.max_steps, env.observation_space.high) == (7, 5.0)
    assert env.name == "race_tracks:make"  # whatever it says: it has no twin


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            Named("race_tracks:broken"),
            r"^cannot make race_tracks:broken: 'no such track' "
            r"\(KeyError in race_tracks.py, line 20\)$",
        ),
        (
            Named("race_tracks:make", {"wings": 2}),
            "cannot make race_tracks:make with wings=2: .*argument 'wings'",
        ),
        (Named("race_tracks:mak"), "race_tracks has no 'mak'; did you mean make"),
        (Named("no_tracks:make"), "there is no module 'no_tracks'"),
        (Named("race_tracks:make", {}, {"x": 1.0}), "no parameter 'x'; there are size"),
        (Named("race_tracks:make", {"time_limit": 1}), "cannot set time_limit, which"),
        (Named("CartPole"), "unknown environment 'CartPole'; did you mean CartPole-v1"),
    ],
)
def test_what_cannot_be_made_is_a_line(here, named, says):
    with pytest.raises(UsageError, match=says) as told:
        make_env(named)
    assert "\n" not in str(told.value)


def test_a_change_of_the_module_is_seen(here):
    before = source_digest("race_tracks:make")
    assert len(before) == 64
    with open("race_tracks.py", "a") as file:
        file.write("# more")
    assert source_digest("race_tracks:make") != before
    assert source_digest("CartPole-v1") is None
    assert source_digest("no_tracks:make") is None
