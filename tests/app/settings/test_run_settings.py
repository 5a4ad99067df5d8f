"""Settings: defaults, presets, options read off an algorithm's factory."""

import json

import jax
import pytest

import pgjax as pg
from pgjax import init_train_state, train_step
from pgjax.app.errors import UsageError
from pgjax.app.settings.build import build
from pgjax.app.settings.presets import PRESETS
from pgjax.app.settings.run_settings import (
    from_settings,
    make_config,
    run_options,
    to_settings,
)

KEY = jax.random.key(0)


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


def test_json_round_trip():
    config = make_config("reinforce", "default", {"hidden": [16, 16]})
    settings = json.loads(json.dumps(to_settings(config)))
    assert from_settings("reinforce", config.preset, settings) == config


def test_json_of_something_else_is_refused():
    config = make_config("reinforce", "default", {})
    data = to_settings(config)
    with pytest.raises(
        UsageError, match="no option --surprise of reinforce: there are gamma"
    ):
        from_settings("reinforce", "default", data | {"surprise": 1})
    with pytest.raises(UsageError, match="perhaps --gamma is meant"):
        from_settings("reinforce", "default", data | {"gama": 1})
    with pytest.raises(UsageError, match="no value of --baseline"):
        from_settings("reinforce", "default", {})
    with pytest.raises(UsageError, match="--seeds must be at least 1, got 0"):
        from_settings("reinforce", "default", data | {"seeds": 0})
    assert config.settings["hidden"] == (128,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalize_observations", "false"),
        ("shared_torso", 1),
        ("learning_rate", None),
        ("learning_rate", float("nan")),
        ("adam_epsilon", None),
        ("log_std", "x"),
        ("seeds", 2.5),
        ("seeds", True),
        ("hidden", [64.5]),
        ("solved_return", "high"),
        ("time_limit", True),
        ("env", 5),
        ("env_arg", None),
        ("hidden", 64),
        ("clip", None),
    ],
)
def test_damaged_values_are_told(name, value):
    config = make_config("ppo", "default", {})
    data = to_settings(config)
    assert from_settings("ppo", config.preset, data) == config
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        from_settings("ppo", config.preset, data | {name: value})


def test_an_environment_has_its_own_preset():
    assert make_config("ppo", "default", {}).preset == "CartPole-v1"
    pendulum = make_config("ppo", "default", {"env": "Pendulum-v1"})
    assert (pendulum.preset, pendulum.algorithm_options["gamma"]) == (
        "Pendulum-v1",
        0.9,
    )
    other = make_config("ppo", "default", {"env": "Pong-misc"})
    assert (other.preset, other.env, other.learning_rate) == (
        "general",
        "Pong-misc",
        2.5e-4,
    )
    arm = make_config("ppo", "seven-joint-arm", {})
    assert (arm.env, arm.env_arg) == ("Reacher-misc", {"num_joints": 7})


def test_a_given_flag_overrides_the_preset():
    config = make_config("ppo", "default", {"gamma": 0.5, "max_gradient_norm": None})
    assert config.algorithm_options["gamma"] == 0.5
    assert config.max_gradient_norm is None


@pytest.mark.parametrize(
    ("algorithm", "preset"),
    [
        (algorithm, preset)
        for algorithm, presets in PRESETS.items()
        for preset in ("general", *presets)
    ],
)
def test_every_preset_is_a_config_that_can_be_built(algorithm, preset):
    config = make_config(algorithm, preset, {})
    env, rollout, learner, _ = build(config)
    state = jax.eval_shape(lambda key: init_train_state(key, rollout, learner), KEY)
    shape = jax.eval_shape(lambda s: train_step(s, rollout, learner), state)[1]
    assert shape["env_steps"].shape == ()
    assert env.name == config.env


@pytest.mark.parametrize(
    ("steps", "updates_per_chunk", "complete", "length"),
    [
        (200, 2**24, True, 50),  # an episode has a step at least
        (200, 2**24, False, 7),
        (10**6, 10, True, 10),
        (10**6, 10, False, 10),
        (1, 10, True, 1),
    ],
)
def test_a_chunk_has_no_more_updates_than_a_run(
    steps, updates_per_chunk, complete, length
):
    given = {"steps": steps, "updates_per_chunk": updates_per_chunk}
    config = make_config("a2c", "general", {**given, "num_envs": 4, "num_steps": 8})
    assert config.chunk_length(complete_episodes=complete) == length


@pytest.mark.parametrize("anneal", [False, True])
@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_the_steps_that_can_be_counted_are_told(algorithm, anneal):
    sizes = {"num_envs": 4, "num_steps": 8, "anneal_learning_rate": anneal}
    most = 2**32 - 1
    fits = make_config(algorithm, "general", {**sizes, "steps": 32 * most})
    build(fits)
    beyond = make_config(algorithm, "general", {**sizes, "steps": 32 * most + 1})
    with pytest.raises(UsageError, match=f"take --steps {32 * most} at most"):
        build(beyond)


@pytest.mark.parametrize(
    ("algorithm", "env_steps"), [("a2c", 128), ("trpo", 128), ("reinforce", 100)]
)
def test_the_learning_rate_falls_to_zero_where_a_run_ends(
    algorithm, env_steps, monkeypatch
):
    annealed, anneal = [], pg.anneal
    monkeypatch.setattr(
        pg, "anneal", lambda opt, **kw: annealed.append(kw) or anneal(opt, **kw)
    )
    sizes = {"steps": 100, "num_envs": 4}
    sizes |= {} if algorithm == "reinforce" else {"num_steps": 8}
    for flag in (False, True):
        given = sizes | {"anneal_learning_rate": flag}
        build(make_config(algorithm, "general", given))
    assert annealed == [{"env_steps": env_steps}]
