"""Users' own environments, through the commands."""

import json
import sys

import pandas
import pytest

from pgjax.app.cli import main

WALKS = """
import jax
import jax.numpy as jnp
import pgjax as pg

def make(size=9, slope=1.0):
    def reset(key, num_envs):
        position = jax.random.randint(key, (num_envs,), 3, size - 3)
        return jax.nn.one_hot(position, size), position

    def step(key, position, action):
        position = position + 2 * action - 1
        ends = (position == 0) | (position == size - 1)
        reward = slope * (1.0 + (position == size - 1))
        obs = jax.nn.one_hot(position, size)
        return obs, position, reward, ends, ends & False

    space = pg.Box(0.0, 1.0, (size,))
    return pg.Env("walk", reset, step, space, pg.Discrete(2), 20)

def wrong():
    env = make()
    return env._replace(observation_space=pg.Box(0.0, 0.5, (9,)))
"""
SMALL = ["--seeds", "1", "--num-envs", "2", "--num-steps", "4", "--hidden", "4"]
SMALL += ["--steps", "32", "--updates-per-chunk", "2", "--eval-episodes", "3"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walks")
    (folder / "some_walks.py").write_text(WALKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [x for x in sys.path if x])
        yield folder
    sys.modules.pop("some_walks", None)


def test_the_contract_of_a_name(here, capsys):
    assert main(["check-env", "some_walks:make", "--env-arg", "size=8"]) == 0
    told = capsys.readouterr().out
    assert "some_walks:make: observations (8,), actions 2 choices" in told
    assert "nothing is wrong; " in told
    assert main(["check-env", "some_walks:wrong"]) == 1
    told = capsys.readouterr().out
    assert "- an observation of 1 at [" in told
    assert "whose high is 0.5" in told
    assert main(["check-env", "some_walks:right"]) == 2
    assert "some_walks has no 'right'" in capsys.readouterr().err


def test_a_sweep_over_its_parameters_and_what_follows(here, capsys):
    train = ["sweep", "a2c", "--env", "some_walks:make", "--env-arg", "size=8"]
    train += ["--env-param", "slope", "0.0", "2.0", *SMALL, "--out", "run", "--quiet"]
    assert main([*train, "--eval-every", "16"]) == 0
    record = json.loads((here / "run/config.json").read_text())
    assert record["grid"] == {"env_param.slope": [0.0, 2.0]}
    assert record["settings"]["env_arg"] == {"size": 8}
    head, *_ = (here / "run/metrics.csv").read_text().splitlines()
    assert head.startswith("env_param.slope,seed,update")
    agents = json.loads((here / "run/summary.json").read_text())["agents"]
    # Each is evaluated in its own world.
    paid = {x["env_param.slope"]: x["sampled_return"]["mean"] for x in agents}
    assert paid[0.0] == 0.0 < paid[2.0]
    rows = pandas.read_csv(here / "run/evaluations.csv")
    own = rows.groupby("env_param.slope").mean_return
    assert own.size().tolist() == [2, 2]
    assert own.max()[0.0] == 0.0 < own.min()[2.0]
    capsys.readouterr()
    assert main(["evaluate", "run", "--episodes", "9"]) == 0
    told = capsys.readouterr().out
    assert "slope" in told
    assert main(["export", "run", "--where", "slope=2.0"]) == 0
    assert main(["compare", "run", "--where", "slope=2.0"]) == 0
    assert main(["compare", "run", "--against", "slope=0.0"]) == 0
    told = capsys.readouterr().out
    assert "slope" in told
    assert "config.json --env-param slope 2.0 --seed 1" in told
    assert "env_param" not in told
    assert main(["evaluate", "run", "--best-combination", "--format", "csv"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.startswith("env_param.slope,seed")
    assert row.startswith("2.0,0")
    assert main(["render", "run", "--where", "env_param.slope=2.0"]) == 2
    assert "no twin of some_walks:make" in capsys.readouterr().err
    with open("some_walks.py", "a") as file:
        file.write("# more")
    more = ["sweep", "--resume", "run", "--quiet", "--env-param", "slope"]
    assert main([*more, "0.0", "2.0", "4.0"]) == 0
    assert "the module of some_walks:make has changed" in capsys.readouterr().err
    again = json.loads((here / "run/summary.json").read_text())["agents"]
    assert [row["env_param.slope"] for row in again] == [0.0, 2.0, 4.0]
    (here / "some_walks.py").rename(here / "elsewhere.py")
    sys.modules.pop("some_walks", None)
    assert main(["evaluate", "run"]) == 2
    assert "there is no module 'some_walks'" in capsys.readouterr().err
