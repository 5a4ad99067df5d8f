"""Settings that would do nothing are told, and no others."""

import re

import chex
import jax
import numpy as np
import pytest

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.build import build
from pgjax.app.settings.request import make_request
from pgjax.app.settings.run_settings import from_settings, make_config, run_options
from pgjax.app.settings.signature_options import algorithm_options
from pgjax.app.settings.unused import check_effects, erased, unused

# Settings of the loop around an update, or of its evaluation.
OF_THE_DRIVER = {
    *("seeds", "seed", "steps", "env_devices", "solved_return", "until_solved"),
    *("log_every", "updates_per_chunk", "eval_episodes", "eval_every"),
    *("env", "env_arg"),
}
BASE = {"num_envs": 4, "num_steps": 4, "hidden": (3,), "time_limit": 8}
OTHERS = {
    "num_envs": 8,
    "num_steps": 8,
    "hidden": (4,),
    "time_limit": 9,
    "activation": "silu",
    "baseline": "batch_mean",
    "reduction": "steps",
    "n_step": 2,
    "num_minibatches": 2,
    "log_std": -1.0,
    "env_param": {"gravity": 5.0},
}


def with_values(config, values):
    settings = {**config.settings, **values}
    return from_settings(config.algorithm, config.preset, settings)


def config_of(algorithm, **given):
    preset = {"normalize_observations": False, "anneal_learning_rate": False}
    return make_config(algorithm, "general", {**preset, **BASE, **given})


def program(config):
    """The text of what a run starts with, and of a train step."""
    _, rollout, algorithm, _ = build(config)

    def run(key):
        state = pg.init_train_state(key, rollout, algorithm)
        return pg.train_step(state, rollout, algorithm)

    text = str(jax.make_jaxpr(run)(jax.random.key(0)))
    return re.sub(r"0x[0-9a-f]+", "", text)  # addresses of functions


def another(name, option, value):
    """Another value of a setting."""
    if name in OTHERS:
        return OTHERS[name]
    if option.type is bool:
        return not value
    if option.choices:
        return next(choice for choice in option.choices if choice != value)
    return 0.75 * value if value else 0.5


def settings_of(algorithm):
    shared = run_options() if algorithm == "a2c" else {}
    options = shared | algorithm_options(algorithm)
    return {name: x for name, x in options.items() if name not in OF_THE_DRIVER}


@pytest.mark.parametrize("algorithm", pg.algorithms.__all__)
def test_every_setting_changes_the_program_or_is_told(algorithm):
    config = config_of(algorithm)
    before, told = program(config), unused(config, build(config))
    assert program(config) == before
    for name, option in settings_of(algorithm).items():
        value = getattr(config, name, None)
        value = config.algorithm_options.get(name, value)
        if option.type is int and name not in OTHERS:
            changed = with_values(config, {name: value + 1})
        else:
            changed = with_values(config, {name: another(name, option, value)})
        if name in told:
            with pytest.raises(UsageError, match="would do nothing"):
                check_effects({name: 1}, [(config, build(config))])
        else:
            assert program(changed) != before, name


ONE_GRADIENT_STEP = {"num_epochs": 1, "num_minibatches": 1}
# Settings that are told to do nothing, in a run of others.
SAME_PROGRAM = [
    ("reinforce", {}, {"num_steps": 8}),
    ("reinforce", {}, {"resets": "fresh"}),
    ("reinforce", {"baseline": "batch_mean"}, {"value_coefficient": 5.0}),
    ("a2c", {"n_step": 2}, {"lam": 0.3}),
    ("a2c", {}, {"log_std": -1.0}),
]
SAME_PARAMETERS = [
    ("reinforce", {"baseline": "none"}, {"time_limit_terminates": True}),
    ("a2c", {"num_steps": 1}, {"lam": 0.3}),
    ("ppo", ONE_GRADIENT_STEP, {"clip": 0.01}),
]


@pytest.mark.parametrize(("algorithm", "given", "changed"), SAME_PROGRAM)
def test_what_is_told_is_not_in_the_program(algorithm, given, changed):
    configs = config_of(algorithm, **given), config_of(algorithm, **given, **changed)
    for config in configs:
        assert changed.keys() <= unused(config, build(config)).keys()
    assert program(configs[0]) == program(configs[1])


@pytest.mark.parametrize(("algorithm", "given", "changed"), SAME_PARAMETERS)
def test_what_is_told_moves_no_parameter(algorithm, given, changed):
    params = []
    for values in ({}, changed):
        config = config_of(algorithm, **given, **values)
        experiment = build(config)
        assert changed.keys() <= unused(config, experiment).keys()
        _, rollout, learner, _ = experiment
        state = pg.init_train_state(jax.random.key(0), rollout, learner)
        step = jax.jit(lambda s, r=rollout, a=learner: pg.train_step(s, r, a)[0])
        params.append(step(state).learner.params)
    chex.assert_trees_all_close(*params, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["value_clip", "target_kl"])
def test_limits_of_one_gradient_step_are_refused(name):
    config = config_of("ppo", **ONE_GRADIENT_STEP, **{name: 0.01})
    with pytest.raises(UsageError, match=f"{name} limits what the gradient steps"):
        build(config)


def test_a_grid_may_have_a_setting_that_some_groups_do_not_use():
    grid = {"baseline": ["none", "value"], "value_coefficient": [0.1, 0.2]}
    for group in make_request("reinforce", "general", BASE | grid).groups:
        _, rollout, _, make = build(group.config)

        def run(values, make=make, rollout=rollout):
            learner = make(values).algorithm
            state = pg.init_train_state(jax.random.key(0), rollout, learner)
            return pg.train_step(state, rollout, learner)[1]

        values = {name: np.float32(x[0]) for name, x in group.agents.values.items()}
        assert jax.eval_shape(run, values)["env_steps"].shape == ()


@pytest.mark.parametrize(
    ("algorithm", "given", "value"),
    [
        ("reinforce", {"baseline": "value"}, ("value_coefficient", 0.3)),
        ("ppo", {"num_epochs": 2, "num_minibatches": 1}, ("clip", 0.3)),
        ("a2c", {"env": "Pendulum-v1"}, ("log_std", -1.0)),
        ("reinforce", {}, ("time_limit_terminates", False)),  # off already
        ("a2c", {}, ("n_step", None)),
    ],
)
def test_what_does_something_is_not_told(algorithm, given, value):
    config = config_of(algorithm, **given)
    check_effects(dict([value]), [(config, build(config))])


def test_a_setting_of_a_grid_needs_an_effect_in_one_group():
    configs = [config_of("reinforce", baseline=x) for x in ("none", "value")]
    groups = [(config, build(config)) for config in configs]
    check_effects({"value_coefficient": [0.1, 0.2]}, groups)
    with pytest.raises(UsageError, match="--value-coefficient would do nothing"):
        check_effects({"value_coefficient": [0.1, 0.2]}, groups[:1])


NOTHING_LEARNED = [
    ("ppo", {"num_minibatches": 16, "normalize_advantage": True}),
    ("ppo", {"num_envs": 1, "num_steps": 1, "num_minibatches": 1}),
    ("a2c", {"num_envs": 1, "num_steps": 1, "normalize_advantage": True}),
    ("trpo", {"num_envs": 1, "num_steps": 1, "num_minibatches": 1}),
    ("reinforce", {"time_limit": 1, "baseline": "mean"}),
    ("reinforce", {"time_limit": 1, "num_envs": 1, "baseline": "batch_mean"}),
    (
        "reinforce",
        {"time_limit": 1, "num_envs": 1, "normalize_advantage": True}
        | {"baseline": "none"},
    ),
]


@pytest.mark.parametrize(("algorithm", "given"), NOTHING_LEARNED)
def test_advantages_that_vanish_are_told(algorithm, given):
    config = config_of(algorithm, **given)
    with pytest.raises(UsageError, match="nothing would be learned: "):
        check_effects({}, [(config, build(config))])


@pytest.mark.parametrize("algorithm", pg.algorithms.__all__)
def test_the_usual_settings_learn(algorithm):
    config = config_of(algorithm)
    assert erased(config, build(config)) is None
