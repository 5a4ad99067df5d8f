"""Settings under a name: those that come with pgjax, and a person's own file."""

import inspect
import json

import pytest

import pgjax as pg
from pgjax.app.cli import main
from pgjax.app.settings import presets
from pgjax.app.settings.presets import PRESETS
from pgjax.app.settings.run_settings import make_config

OWN = """
[ppo]
env = "Pendulum-v1"
num-envs = 2
num_steps = 8
hidden = [4]
steps = 64
eval_episodes = 1
[a2c]
learning_rate = 0.5
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    return path


def test_presets_are_the_files_and_a_copy_of_them():
    found = pg.app.presets()
    assert found == PRESETS
    found["ppo"]["CartPole-v1"]["steps"] = 1
    assert pg.app.presets() != found


@pytest.mark.parametrize(
    ("algorithm", "name"), [(a, name) for a in PRESETS for name in PRESETS[a]]
)
def test_a_preset_is_every_setting_that_it_trains_with(algorithm, name):
    settings = pg.app.preset(algorithm, name)
    said = PRESETS[algorithm]["general"] | PRESETS[algorithm][name]
    assert said.items() <= settings.items()
    config = make_config(algorithm, name, {})
    assert settings == json.loads(json.dumps(config.settings))


def test_the_default_is_that_of_cartpole():
    assert pg.app.preset() == pg.app.preset("reinforce", "CartPole-v1")
    assert pg.app.preset("ppo")["steps"] == PRESETS["ppo"]["CartPole-v1"]["steps"]


@pytest.mark.parametrize("wrong", [("best",), ("ppo", "best")])
def test_a_name_that_there_is_not_is_told(wrong):
    with pytest.raises(pg.app.UsageError, match=r"unknown .* choose from"):
        pg.app.preset(*wrong)


def test_files_of_a_folder_are_named_after_their_place(tmp_path):
    (tmp_path / "brax").mkdir()
    (tmp_path / "brax" / "ant.toml").write_text("[ppo]\nsteps = 3\n")
    (tmp_path / "a.toml").write_text("[ppo]\nsteps = 2\n[a2c]\nsteps = 5\n")
    (tmp_path / "general.toml").write_text("[ppo]\nsteps = 1\n")
    found = presets.read_folder(tmp_path)
    assert list(found["ppo"]) == ["general", "a", "brax:ant"]  # general comes first
    assert found["ppo"]["brax:ant"] == {"steps": 3}
    assert found["a2c"] == {"a": {"steps": 5}}


def test_a_preset_of_a_suite_is_the_default_of_its_environment(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(PRESETS["ppo"], "brax:ant", {"steps": 3})
        name, settings = presets.choose_preset("ppo", "default", "brax:ant")
    assert (name, settings["steps"], settings["env"]) == ("brax:ant", 3, "brax:ant")


def test_a_file_of_ones_own_comes_between_general_and_what_is_given(own):
    settings = pg.app.preset("ppo", str(own))
    assert settings["env"] == "Pendulum-v1"
    assert settings["num_envs"] == 2  # written as a flag
    assert settings["adam_epsilon"] == PRESETS["ppo"]["general"]["adam_epsilon"]
    config = make_config("ppo", str(own), {"num_envs": 4})
    assert config.num_envs == 4
    assert pg.app.preset("a2c", str(own))["learning_rate"] == 0.5


def test_a_run_of_ones_own_preset_is_made_again_without_the_file(own, tmp_path):
    once, again = tmp_path / "once", tmp_path / "again"
    command = ["train", "ppo", "--preset", str(own), "--seeds", "1", "--quiet"]
    assert main([*command, "--out", str(once)]) == 0
    own.unlink()
    config = ["--config", str(once / "config.json"), "--quiet"]
    assert main(["train", *config, "--out", str(again)]) == 0
    for name in ("params.npz", "metrics.csv"):
        assert (once / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "mine.toml is missing"),
        ("[ppo", "mine.toml is damaged: it is not TOML"),
        ("\xff", "mine.toml is damaged: it is not TOML"),
        ("steps = 3", r"mine.toml has steps outside of any table.*such as \[ppo\]"),
        ("[pp0]", "mine.toml: unknown algorithm 'pp0'; did you mean ppo"),
        ("[a2c]", r"mine.toml has no settings of \[ppo\]: it has \[a2c\]"),
        ("", r"mine.toml has no settings of \[ppo\]: it has nothing"),
        ("[ppo]\nnum-envs = 1\nnum_envs = 2", "mine.toml has num_envs twice"),
        ("[ppo]\nlerning_rate = 1.0", "mine.toml: no option lerning_rate of ppo"),
        ("[ppo]\nnum_envs = 0", "mine.toml: num_envs"),
        ("[ppo]\nlearning_rate = [0.1, 0.2]", "mine.toml: learning_rate"),
        ("[ppo]\n[ppo.gamma]\nx = 1", "mine.toml: gamma"),
        ("[ppo]\nhidden = 5", "mine.toml: hidden must be ints, got 5"),
        ('[ppo]\nenv = ["Catch-bsuite"]', "mine.toml: env must be str, got "),
        ("[ppo]\nsteps = 2024-01-01", "mine.toml: steps must be int, got "),
        ("[ppo]\ngamma = nan", "mine.toml: gamma must be in"),
        ("[ppo]\n[a2c]\nhidden = 5", "mine.toml: hidden must be ints, got 5"),
        ("[ppo]\nenv_arg = {a = 2024-01-01}", "mine.toml: env_arg takes names"),
        ("[ppo]\nenv_param = {a = [1]}", "mine.toml: env_param a must be a number"),
        ("[ppo]\nenv_param = 3", "mine.toml: env_param must be dict, got 3"),
        ("[ppo]\nnum_minibatches = 7", "mine.toml: num_minibatches must divide"),
        ("ppo = 3", r"mine.toml: ppo must be a table of settings, \[ppo\], got 3"),
        *(
            (f"[ppo]\n{name} = 3", rf"mine.toml: {name} is no setting .* of ppo only")
            for name in ("preset", "algorithm", "log", "out", "devices")
        ),
    ],
)
def test_a_file_that_cannot_be_is_told_in_a_line(own, text, says):
    own.unlink()
    if text is not None:
        own.write_bytes(text.encode("latin-1"))
    with pytest.raises(pg.app.UsageError, match=says) as error:
        pg.app.preset("ppo", str(own))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["hidden = 5", 'env = ["CartPole-v1"]', "out = 3"])
def test_the_command_tells_it_before_its_flags_have_defaults(own, text, capsys):
    own.write_text(f"[ppo]\n{text}\n")
    for rest in ([], ["--help"], ["--env", "CartPole-v1", "Acrobot-v1"]):
        assert main(["sweep", "ppo", "--preset", str(own), *rest]) == 2
        told = capsys.readouterr().err
        assert f"{own}: {text.split()[0]} " in told
        assert len(told.splitlines()) == 1


def test_what_a_preset_cannot_have_is_not_offered(own):
    own.write_text("[ppo]\nxyz = 1\n")
    with pytest.raises(
        pg.app.UsageError, match=r"no option xyz of ppo: there are "
    ) as e:
        pg.app.preset("ppo", str(own))
    names = str(e.value).partition("there are ")[2].split(", ")
    assert "steps" in names
    assert not presets.NO_SETTINGS & {*names}


@pytest.mark.parametrize("env", [{"a": 1}, 3])
def test_an_environment_without_a_name_is_told(env):
    with pytest.raises(pg.app.UsageError, match="--env must be str"):
        make_config("ppo", "default", {"env": env})


def test_names_that_are_no_settings_are_the_arguments_of_train():
    arguments = inspect.signature(pg.app.train).parameters.keys()
    assert arguments - {"settings"} == presets.NO_SETTINGS
