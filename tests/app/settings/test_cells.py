"""The cells of a study: which settings go where, and what is refused."""

import pytest

from pgjax.app.errors import UsageError
from pgjax.app.settings.cells import (
    Asked,
    cells_of,
    make_asked,
    only_somewhere,
    with_more,
)

ENVS = ["CartPole-v1", "Pendulum-v1"]


def test_there_is_a_cell_for_each_pair():
    asked = make_asked(
        ["ppo", "a2c"], ENVS, "default", {"clip": [0.1, 0.2], "seeds": 3}
    )
    cells = list(cells_of(asked))
    assert [cell.name for cell in cells] == [
        "ppo-CartPole-v1",
        "a2c-CartPole-v1",
        "ppo-Pendulum-v1",
        "a2c-Pendulum-v1",
    ]
    assert cells[2].given == {"clip": [0.1, 0.2], "seeds": 3, "env": "Pendulum-v1"}
    assert cells[3].given == {"seeds": 3, "env": "Pendulum-v1"}  # A2C has no clip


def test_directories_of_like_names_are_told_apart():
    asked = make_asked(["ppo"], ["a/b", "a:b", "a-b"], "default", {})
    names = [cell.name for cell in cells_of(asked)]
    assert names == ["ppo-a-b", "ppo-a-b+", "ppo-a-b++"]


def test_without_an_environment_it_is_that_of_the_preset():
    assert make_asked(["ppo", "a2c"], [], "default", {}).env == ["CartPole-v1"]
    assert make_asked(["ppo"], [], "seven-joint-arm", {}).env == ["Reacher-misc"]


@pytest.mark.parametrize(
    ("algorithms", "envs", "settings", "says"),
    [
        (["ppo", "ppo"], ENVS, {}, "--algorithm has ppo twice: give it once"),
        (["ppo"], ["A", "A"], {}, "--env has A twice: give it once"),
        (["ppo", "dqn"], ENVS, {}, "unknown algorithm 'dqn'; choose from"),
        ([], ENVS, {}, "--algorithm needs a value"),
        (["ppo"], [3], {}, "--env takes names, got 3"),
        (
            ["a2c", "trpo"],
            ENVS,
            {"clips": 0.1},
            "no option --clips of a2c or trpo: there are",
        ),
        (["ppo", "a2c"], ENVS, {"clips": 0.1}, "perhaps --clip is meant"),
    ],
)
def test_names_that_cannot_be_are_told(algorithms, envs, settings, says):
    with pytest.raises(UsageError, match=says):
        make_asked(algorithms, envs, "default", settings)


def test_more_is_asked_with_all_that_there_is():
    asked = make_asked(["ppo", "a2c"], ENVS, "default", {"seeds": 2, "gamma": 0.9})
    more = {"env": [*ENVS, "Acrobot-v1"], "seeds": 4}
    now = with_more(asked, more, study="s")
    assert (now.env, now.algorithm) == ([*ENVS, "Acrobot-v1"], ["ppo", "a2c"])
    assert now.settings == {"seeds": 4, "gamma": 0.9}
    assert with_more(asked, {}, study="s") == asked
    with pytest.raises(UsageError, match=r"s has --env CartPole-v1 Pendulum-v1: leave"):
        with_more(asked, {"env": "Acrobot-v1"}, study="s")
    with pytest.raises(UsageError, match="to add, a2c too"):
        with_more(asked, {"algorithm": ["ppo", "trpo"]}, study="s")
    with pytest.raises(UsageError, match="s has --preset default, got general"):
        with_more(asked, {"preset": "general"}, study="s")


def test_where_a_setting_goes_is_told():
    asked = make_asked(["ppo", "a2c"], ENVS, "default", {"clip": 0.1, "log_std": -1.0})
    cells = list(cells_of(asked))
    taken = [
        (cell, {"clip"} if cell.env == "CartPole-v1" else {"clip", "log_std"})
        for cell in cells
    ]
    taken = [
        (cell, dict.fromkeys(names - ({"clip"} if cell.algorithm == "a2c" else set())))
        for cell, names in taken
    ]
    assert only_somewhere(asked, taken) == (
        "--clip for ppo only; --log-std for ppo on Pendulum-v1 and a2c on Pendulum-v1 "
        "only"
    )
    assert only_somewhere(Asked(["a2c"], ENVS, "default", {}, []), taken) == ""
