"""Settings: defaults, presets, options read off an algorithm's factory."""

import pytest

from pgjax.lab.config import (
    algorithm_options,
    from_json,
    make_config,
    run_options,
    to_json,
)
from pgjax.lab.errors import UsageError


def test_given_settings_override_the_preset_which_overrides_defaults():
    config = make_config("reinforce", "article", {"num_envs": 7})
    assert config.num_envs == 7
    assert config.solved_return == 450.0
    assert config.algorithm_options["reduction"] == "sum"
    assert config.seeds == run_options()["seeds"].default


@pytest.mark.parametrize(
    ("preset", "baseline"), [("article", "none"), ("article-baseline", "mean")]
)
def test_article_presets_follow_the_article(preset, baseline):
    config = make_config("reinforce", preset, {})
    assert config.time_limit_terminates
    assert (config.num_envs, config.hidden, config.activation) == (4, (128,), "relu")
    assert (config.initializer, config.learning_rate) == ("torch", 0.01)
    options = config.algorithm_options
    assert (options["gamma"], options["reduction"]) == (0.99, "sum")
    assert options["baseline"] == baseline
    assert not options["normalize_advantage"]
    assert config.steps == 400_000


def test_options_come_from_the_factory():
    options = algorithm_options("reinforce")
    assert options["gamma"].default == 0.99
    assert options["gamma"].type is float
    assert options["normalize_advantage"].type is bool
    assert "leave_one_out" in options["baseline"].choices
    assert all(option.help for option in options.values())


def test_json_round_trip():
    config = make_config("reinforce", "default", {"hidden": [16, 16]})
    assert from_json(to_json(config)) == config


def test_json_of_something_else_is_refused():
    data = to_json(make_config("reinforce", "default", {}))
    with pytest.raises(UsageError, match="not a config"):
        from_json(data | {"surprise": 1})
    with pytest.raises(UsageError, match="not a config"):
        from_json({})
    with pytest.raises(UsageError, match="--seeds must be at least 1, got 0"):
        from_json(data | {"seeds": 0})
