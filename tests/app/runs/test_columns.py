"""The page of the columns of metrics.csv has all of them, and no more."""

import pathlib
import re

import jax
import pytest

import pgjax as pg
from pgjax import algorithms
from pgjax.app.runs.metrics_writer import COLUMNS
from pgjax.app.settings.build import build
from pgjax.app.settings.run_settings import make_config

PAGE = pathlib.Path(pg.__file__).parent / "algorithms" / "README.md"
VARIANTS = {
    **{name: (name, {}) for name in algorithms.__all__},
    "reinforce with a critic": ("reinforce", {"baseline": "value"}),
    "ppo, all on": (
        "ppo",
        {"normalize_observations": True, "scale_rewards": True, "target_kl": 0.1},
    ),
    "reinforce, annealed": ("reinforce", {"anneal_learning_rate": True}),
    "ppo of continuous actions": ("ppo", {"env": "Pendulum-v1"}),
}


def documented():
    """Who writes each column, and its unit, by the page."""
    section = PAGE.read_text().split("## The columns of `metrics.csv`")[1]
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|(.*?)\|(.+)\|$", section, re.M)
    return {name: (who.strip(), unit.strip()) for name, unit, who, _ in rows}


def written(algorithm, given):
    """The columns of a run without a grid; nothing is compiled."""
    config = make_config(algorithm, "general", {**given, "num_envs": 4})
    _, rollout, learner, _ = build(config)

    def step(key):
        state = pg.init_train_state(key, rollout, learner)
        return pg.train_step(state, rollout, learner)[1]

    metrics = jax.eval_shape(step, jax.random.key(0))
    return {"seed", *COLUMNS, *metrics}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_column_that_is_written_is_documented(variant):
    algorithm, given = VARIANTS[variant]
    page, columns = documented(), written(algorithm, given)
    by_page = {
        name
        for name, (who, _) in page.items()
        if who == "all"
        or f"`{algorithm}`" in who.split(";")[0]
        or ("--baseline value" in who and given.get("baseline") == "value")
    }
    assert columns == by_page


def test_every_column_but_the_seed_has_a_unit():
    assert {name for name, (_, unit) in documented().items() if not unit} == {"seed"}
