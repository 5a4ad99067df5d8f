"""Parameters of the environment, from the command, a file and Python."""

import json

import jax
import numpy as np
import pytest

from pgjax.app.command_line import read
from pgjax.app.errors import UsageError
from pgjax.app.settings.build import build
from pgjax.app.settings.config_file import read_config
from pgjax.app.settings.env_params import params_apart, params_of, params_together
from pgjax.app.settings.request import extended, make_request

SMALL = {"num_envs": 2, "num_steps": 4, "hidden": (4,), "seeds": 1, "steps": 64}
LENGTH = "env_param.length"


def given(*words, command="sweep"):
    return read([command, "ppo", *words])[1].get("env_param")


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["gravity=5.0"], {"gravity": 5.0}),
        (["gravity=5", "length=1e-1"], {"gravity": 5.0, "length": 0.1}),
        (["gravity", "5"], {"gravity": 5.0}),
        (["length", "0.5", "1"], {"length": [0.5, 1.0]}),
        (
            ["length", "1", "2", "--env-param", "gravity=5"],
            {"length": [1.0, 2.0], "gravity": 5.0},
        ),
        (["ramping=true"], {"ramping": True}),
    ],
)
def test_the_flag_takes_one_value_or_several(words, params):
    assert given("--env-param", *words) == params


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["length", "1", "2"], "--env-param length has one value here; `pgjax sweep`"),
        (["length"], "takes NAME=VALUE, or NAME VALUE, got 'length'"),
        (["length=x"], "--env-param length must be a number, got 'x'"),
        (["length", "x"], "--env-param length must be a number, got 'x'"),
        (["2x=1"], "takes NAME=VALUE, got '2x=1'"),
        (["length=1", "2"], "takes NAME=VALUE, got 'length=1 2'"),
    ],
)
def test_what_it_cannot_read_is_told(words, says, capsys):
    with pytest.raises(SystemExit):
        given("--env-param", *words, command="train")
    assert says in capsys.readouterr().err


def test_they_are_settings_of_their_own_in_a_record():
    settings = {"steps": 3, "env_param": {"gravity": 5.0}}
    apart = params_apart(settings)
    assert apart == {"steps": 3, "env_param.gravity": 5.0}
    assert params_of(apart) == {"gravity": 5.0}
    assert params_together(apart) == settings


def test_lists_are_a_grid():
    params = {"length": [0.25, 1], "gravity": 5}
    request = make_request("ppo", "general", SMALL | {"env_param": params})
    assert request.grid == {LENGTH: [0.25, 1.0]}
    assert request.settings["env_param.gravity"] == 5.0
    (group,) = request.groups  # one compilation
    np.testing.assert_array_equal(group.agents.values[LENGTH], [0.25, 1.0])
    assert group.config.env_param == {"gravity": 5.0, "length": 0.25}
    flags = SMALL | {"env": "Asterix-MinAtar", "env_param": {"ramping": [True, False]}}
    assert len(make_request("ppo", "general", flags).groups) == 2


def test_a_file_gives_the_same(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[env_param]\nlength = [0.25, 1.0]\n")
    settings = read_config(path).settings
    request = make_request("ppo", "general", SMALL | settings)
    again = make_request(
        "ppo", "general", json.loads(json.dumps({**request.settings, **request.grid}))
    )
    assert request == again
    assert request.grid == {LENGTH: [0.25, 1.0]}


def test_agents_of_other_parameters_are_made_in_one_program():
    params = {"length": [0.25, 1.0]}
    request = make_request("ppo", "general", SMALL | {"env_param": params})
    make = build(request.groups[0].config).make

    def turn(values):
        env = make(values).env
        _, state = env.reset(jax.random.key(0), 3)
        return env.step(jax.random.key(1), state, np.ones(3, np.int32))[0][:, 3]

    short, long = jax.vmap(turn)({LENGTH: np.float32([0.25, 1.0])})
    assert np.abs(short).min() > 2 * np.abs(long).max()


def test_a_run_may_be_given_more_values_of_one():
    params = {"length": [0.25, 1.0], "gravity": 5.0}
    before = make_request("ppo", "general", SMALL | {"env_param": params})
    more = {"env_param": {"length": [0.25, 1.0, 2.0]}}
    after = extended(before, more, run="run")
    assert after.grid == {LENGTH: [0.25, 1.0, 2.0]}
    assert extended(before, {"env_param": {"gravity": 5.0}}, run="run") == before
    for params, says in (
        ({"gravity": 6.0}, r"--env-param gravity 6.0 \(the run: 5.0\)"),
        ({"length": [1.0, 2.0]}, "--env-param length .*0.25 too"),
        ({"gravity": [5.0, 6.0]}, "run has one --env-param gravity, 5.0, compiled"),
    ):
        with pytest.raises(UsageError, match=says):
            extended(before, {"env_param": params}, run="run")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"lenght": 1.0}, "no parameter 'lenght'; did you mean length"),
        ({"length": "far"}, "--env-param length must be a number"),
        ({"length": float("nan")}, "--env-param length must be finite, got nan"),
        ({"length": 1e300}, "--env-param length must be at most"),
        ({"a b": 1.0}, "--env-param takes names and numbers, got 'a b'"),
        (3, "--env-param must be dict, got 3"),
        ({"length": [0.5, "far"]}, "--env-param length must be a number"),
    ],
)
def test_what_no_parameter_can_be_is_told(params, says):
    with pytest.raises(UsageError, match=says):
        built(SMALL | {"env_param": params})


def built(given):
    return [build(x.config) for x in make_request("ppo", "general", given).groups]


def test_another_environment_is_without_them():
    from pgjax.app.settings.config_file import ConfigFile
    from pgjax.app.train_command import _with_file

    settings = {"env": "CartPole-v1", "env_param.length": 1.0, "steps": 3}
    file = ConfigFile(settings, [], recorded=True)
    _, rest = _with_file(file, {"env": "Pendulum-v1"})
    assert "env_param.length" not in rest
    assert _with_file(file, {})[1]["env_param.length"] == 1.0
