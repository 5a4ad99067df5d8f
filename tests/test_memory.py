"""How many agents are said to fit."""

import jax
import pytest

from pgjax.lab import memory
from pgjax.lab.build import build
from pgjax.lab.config import make_config
from pgjax.lab.errors import UsageError

EXPERIMENT = build(make_config("reinforce", "general", {"hidden": [4]}))
IDLE, RUNNING = memory.bytes_per_agent(EXPERIMENT)


def free(monkeypatch, needed):
    monkeypatch.setattr(memory, "free_bytes", lambda: needed / memory.SHARE + 1)


def test_an_agent_keeps_little_and_needs_its_experience_while_it_trains():
    # 5 episodes of 500 steps, with observations of four numbers and what follows them.
    assert RUNNING > 5 * 500 * (4 + 4) * 4
    assert IDLE < RUNNING / 10


@pytest.mark.parametrize("fit", [1, 2, 7])
def test_while_few_fit_each_needs_room_to_train(fit, monkeypatch):
    free(monkeypatch, fit * (IDLE + RUNNING))
    assert memory.agents_that_fit(EXPERIMENT, 10 * fit, block=1000) == fit


def test_beyond_those_that_run_side_by_side_agents_only_keep_their_state(monkeypatch):
    side_by_side = 2 * len(jax.devices())
    free(monkeypatch, side_by_side * RUNNING + 500 * IDLE)
    assert memory.agents_that_fit(EXPERIMENT, 5000, block=2) == 500


def test_batches_are_of_about_equal_size(monkeypatch):
    free(monkeypatch, 10 * (IDLE + RUNNING))
    assert memory.agents_that_fit(EXPERIMENT, 21, block=1000) == 7
    assert memory.agents_that_fit(EXPERIMENT, 3, block=1000) == 3


def test_where_not_one_fits_it_is_said(monkeypatch):
    free(monkeypatch, 0.9 * (IDLE + RUNNING))
    with pytest.raises(UsageError, match="fewer --num-envs"):
        memory.agents_that_fit(EXPERIMENT, 1, block=1)


@pytest.mark.parametrize(("num_envs", "agents"), [(1, 64), (4, 16), (64, 1), (1024, 1)])
def test_a_block_is_at_least_an_agent(num_envs, agents):
    assert memory.block_size(num_envs) == agents
