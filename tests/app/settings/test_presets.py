"""Settings under a name, from Python."""

import json

import pytest

import pgjax as pg
from pgjax.app.settings.config import make_config
from pgjax.app.settings.presets import PRESETS


def test_presets_are_the_file_and_a_copy_of_it():
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
