"""Grids of settings: groups that compile alike, and who is in them."""

import jax
import jax.numpy as jnp
import pytest

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.settings.build import build
from pgjax.app.settings.grid import ONE_VALUE, agents_of, is_mapped
from pgjax.app.settings.request import make_request
from pgjax.app.settings.run_settings import make_config, run_options
from pgjax.app.settings.signature_options import algorithm_options

GIVEN = {"seeds": 2, "seed": 7, "steps": 100}


def groups_of(algorithm="reinforce", given=GIVEN, **grid):
    return make_request(algorithm, "default", given | grid).groups


def test_floats_share_a_group_and_every_seed_meets_every_value():
    (group,) = groups_of(learning_rate=[0.1, 0.2], gamma=[0.5, 0.9, 1.0])
    agents = group.agents
    assert set(agents.values) == {"learning_rate", "gamma"}
    values = agents.values["learning_rate"], agents.values["gamma"]
    rows = list(zip(agents.seeds, *values, strict=True))
    assert len(rows) == len(set(rows)) == 12
    assert rows[:2] == [(7, 0.1, 0.5), (8, 0.1, 0.5)]
    assert rows[-1] == (8, 0.2, 1.0)
    assert list(agents.labels) == ["learning_rate", "gamma"]


def test_what_changes_code_or_shapes_makes_groups():
    groups = groups_of(
        baseline=["none", "value"], learning_rate=[0.1, 0.2], hidden=[(8,), (16, 8)]
    )
    assert len(groups) == 4
    seen = [(g.config.algorithm_options["baseline"], g.config.hidden) for g in groups]
    assert seen == [
        ("none", (8,)),  # as the options are ordered, not as they were given
        ("value", (8,)),
        ("none", (16, 8)),
        ("value", (16, 8)),
    ]
    for group in groups:
        assert group.agents.values["learning_rate"].tolist() == [0.1, 0.1, 0.2, 0.2]
        assert set(group.agents.values) == {"learning_rate"}
    assert groups[2].agents.labels["hidden"].tolist() == ["16-8"] * 4


def test_none_for_a_float_is_a_group_of_its_own():
    without, with_values = groups_of("ppo", target_kl=[None, 0.01, 0.02])
    assert without.config.algorithm_options["target_kl"] is None
    assert without.agents.values == {}
    assert without.agents.labels["target_kl"].tolist() == ["none"] * 2
    assert with_values.agents.values["target_kl"].tolist() == [0.01, 0.01, 0.02, 0.02]


def test_a_grid_without_values_is_the_seeds():
    (group,) = groups_of()
    alone = agents_of(make_config("reinforce", "default", GIVEN))
    assert group.agents.seeds.tolist() == alone.seeds.tolist() == [7, 8]
    assert group.agents.labels == alone.labels == {}


def test_the_first_impossible_combination_is_told():
    with pytest.raises(UsageError, match=r"--gamma must be in \[0, 1\], got 1.5"):
        groups_of(gamma=[0.9, 1.5], learning_rate=[0.1, 0.2])
    with pytest.raises(UsageError, match="--num-envs must be at least 2 to leave one"):
        groups_of(num_envs=[1, 2])


def test_some_agents_are_taken_with_all_that_is_theirs():
    (group,) = groups_of(gamma=[0.5, 0.9])
    some = group.agents.take(slice(1, 3))
    assert some.seeds.tolist() == [8, 7]
    assert some.values["gamma"].tolist() == [0.5, 0.9]
    assert some.labels["gamma"].tolist() == [0.5, 0.9]


@pytest.mark.parametrize("algorithm", pg.algorithms.__all__)
def test_every_float_setting_can_be_mapped(algorithm):
    small = {"seeds": 1, "num_envs": 4, "num_steps": 8, "hidden": (4,)}
    small |= {"scale_rewards": True, "normalize_observations": True}
    if algorithm != "reinforce":
        small |= {"env": "Pendulum-v1", "anneal_learning_rate": True}
    options = run_options() | algorithm_options(algorithm)
    names = [
        name
        for name, option in options.items()
        if option.type is float and name not in ONE_VALUE
    ]
    assert {"learning_rate", "gamma", "max_gradient_norm"} <= set(names)
    assert all(is_mapped(options[name], 0.5) for name in names)
    config = make_config(algorithm, "default", small | dict.fromkeys(names, 0.5))
    rollout, make = build(config)[1::2]

    def train(key, values):
        learner = make(values).algorithm
        state = pg.init_train_state(key, rollout, learner)
        return pg.train_step(state, rollout, learner)[1]["env_steps"]

    values = {name: jnp.array([0.5, 0.6]) for name in names}
    keys = jax.random.split(jax.random.key(0), 2)
    assert jax.eval_shape(jax.vmap(train), keys, values).shape == (2,)
