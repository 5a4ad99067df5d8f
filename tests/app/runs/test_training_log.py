"""The book of a training run, on chunks made by hand."""

import contextlib

import numpy as np
import pytest

from pgjax.app.runs.metrics_writer import CsvLogger
from pgjax.app.runs.summary import agent_rows, summarize
from pgjax.app.runs.training_log import TrainingLog
from pgjax.app.settings.grid import agents_of
from pgjax.app.settings.run_settings import make_config


def chunk(env_steps, recent_return, episodes=60, going=True, diverged=0):
    """Metrics of a chunk as the device returns them, (agents, updates)."""
    env_steps = np.array(env_steps)
    full = np.full(env_steps.shape, 0.0)
    return {
        "env_steps": env_steps,
        "episodes": np.full(env_steps.shape, episodes),
        "recent_return": full + np.array(recent_return),
        "going": (full == 0) & np.array(going),
        "diverged": np.zeros(env_steps.shape, np.int32) + np.array(diverged),
    }


def make_log(**given):
    given = {"seeds": 2, "seed": 7, "steps": 1000, "solved_return": 400.0} | given
    config = make_config("reinforce", "default", given)
    return TrainingLog(config, config.seeds)


def add(log, metrics):
    """Takes in the rows of the agents that are active."""
    who = np.flatnonzero(log.active)
    return log.add(who, {name: x[who] for name, x in metrics.items()})


def test_totals_go_on_over_chunks_and_rows_are_per_agent_and_update():
    log = make_log()
    add(log, chunk([[10, 20], [1, 2]], 50.0))
    rows = add(log, chunk([[30, 40], [3, 4]], 60.0))
    assert rows["env_steps"].tolist() == [60, 100, 6, 10]
    assert rows["agent"].tolist() == [0, 0, 1, 1]
    assert rows["update"].tolist() == [3, 4, 3, 4]
    assert rows["episodes"].tolist() == [180, 240, 180, 240]
    assert log.recent_return.tolist() == [60.0, 60.0]


def test_an_agent_past_its_steps_stops_and_the_other_goes_on():
    log = make_log()
    add(log, chunk([[600, 600], [1, 2]], 50.0))
    assert log.active.tolist() == [False, True]
    rows = add(log, chunk([[600, 600], [3, 4]], 50.0))
    assert rows["agent"].tolist() == [1, 1]
    assert log.env_steps.tolist() == [1200, 10]


def test_what_is_left_of_a_budget_is_counted_as_far_as_a_device_can():
    log = make_log(steps=3 * 2**31)
    assert log.left.tolist() == [2**31 - 1] * 2
    log.env_steps[:] = 3 * 2**31 - 7, 3 * 2**31 + 1
    assert log.left.tolist() == [7, 0]
    assert log.left.dtype == np.int32


def test_solving_needs_a_hundred_episodes_and_is_noted_once():
    log = make_log()
    # Above the level at the first update, with 60 episodes; then with 120.
    add(log, chunk([[10, 20], [10, 20]], [[500.0, 500.0], [500.0, 300.0]]))
    assert log.steps_to_solve[0] == 30
    assert np.isnan(log.steps_to_solve[1])
    add(log, chunk([[10, 20], [10, 20]], 450.0))
    assert log.steps_to_solve.tolist() == [30, 40]
    assert log.num_solved() == 2


def test_an_agent_that_stands_still_is_not_asked_again():
    log = make_log(until_solved=True)
    going = [[True, False], [True, True]]
    recent = [[500.0, 99.0], [50.0, 50.0]]  # the first is solved
    rows = add(log, chunk([[10, 99], [10, 20]], recent, episodes=100, going=going))
    assert rows["env_steps"].tolist() == [10, 10, 30]
    assert log.env_steps.tolist() == [10, 30]
    assert log.active.tolist() == [False, True]


def test_share_done_counts_stopped_agents_in_full():
    log = make_log()
    add(log, chunk([[600, 600], [100, 150]], 50.0))
    assert log.done() == (1.0 + 0.25) / 2


def test_mean_return_is_over_agents_that_have_one():
    log = make_log()
    assert np.isnan(log.mean_return())
    add(log, chunk([[1, 1], [1, 1]], [[5.0, 7.0], [np.nan, np.nan]]))
    assert log.mean_return() == 7.0


def test_rows_are_logged_every_so_often_and_at_the_end():
    log = make_log(log_every=3, steps=70)
    rows = add(log, chunk([[10] * 4, [20] * 4], 50.0))
    assert rows["update"].tolist() == [3, 3, 4]  # the second is done at its fourth
    assert rows["agent"].tolist() == [0, 1, 1]
    rows = add(log, chunk([[10] * 4, [20] * 4], 50.0))
    assert rows["update"].tolist() == [6, 8]
    assert rows["env_steps"].tolist() == [60, 80]


def test_an_agent_that_diverged_stops_before_the_bad_update():
    log = make_log()
    add(log, chunk([[10, 20], [1, 2]], 50.0))
    going = [[False, False], [True, True]]
    rows = add(log, chunk([[10, 20], [1, 2]], 60.0, going=going, diverged=[[3], [0]]))
    assert rows["agent"].tolist() == [1, 1]
    assert log.active.tolist() == [False, True]
    assert log.divergence_of(0) == (3, "gradient")
    assert log.divergence_of(1) is None
    assert log.env_steps.tolist() == [30, 6]
    assert log.recent_return.tolist() == [50.0, 60.0]


def test_a_log_goes_on_where_another_was():
    log, other = make_log(), make_log()
    add(log, chunk([[10, 20], [10, 20]], [[500.0, 500.0], [500.0, 300.0]]))
    other.load(log.to_arrays())
    assert other.age > log.age - 1.0
    metrics = chunk([[10, 20], [10, 20]], 450.0)
    rows, same = add(log, metrics), add(other, metrics)
    for name, column in rows.items():
        np.testing.assert_array_equal(column, same[name])
    assert other.steps_to_solve.tolist() == log.steps_to_solve.tolist()
    np.testing.assert_array_equal(other.work, log.work)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_totals_go_beyond_what_a_device_counts(dtype, tmp_path):
    log = make_log(steps=2**62)
    most = np.iinfo(dtype).max
    for _ in range(3):
        metrics = chunk([[most] * 4, [1] * 4], 50.0)
        metrics["episode_return"] = metrics["recent_return"]
        for name in ("env_steps", "episodes"):
            metrics[name] = np.full((2, 4), most, dtype)
        rows = add(log, metrics)
    assert log.env_steps.dtype == log.episodes.dtype == np.int64
    assert log.env_steps.tolist() == [12 * int(most)] * 2  # exactly
    assert log.episodes.tolist() == [12 * int(most)] * 2
    assert rows["env_steps"].dtype == rows["episodes"].dtype == np.int64
    assert rows["env_steps"].tolist()[-1] == 12 * int(most)
    assert log.work.tolist() == [2**31 - 1] * 2  # what is dealt out is an int32
    with contextlib.closing(CsvLogger(tmp_path / "metrics.csv")) as table:
        table.write(rows)
    last = (tmp_path / "metrics.csv").read_text().splitlines()[-1]
    assert last.startswith(f"1,12,{12 * int(most)},{12 * int(most)},")
    other = make_log(steps=2**62)
    other.load(log.to_arrays())
    add(other, chunk([[1], [1]], 50.0))
    assert other.env_steps.tolist() == [12 * int(most) + 1] * 2


def test_updates_and_the_summary_are_counted_exactly():
    log = make_log(steps=2**62)
    log.updates[:] = 2**32 - 1
    log.env_steps[:] = 2**53 + 1
    add(log, chunk([[1, 1], [1, 1]], 50.0))
    assert log.updates.tolist() == [2**32 + 1] * 2
    config = make_config("reinforce", "default", {"seeds": 2})
    rows = agent_rows(agents_of(config), log, np.zeros((2, 2, 3)))
    assert [row["env_steps"] for row in rows] == [2**53 + 3] * 2
    times = {"compile_seconds": 0.0, "train_seconds": 0.0, "wall_seconds": 0.0}
    assert summarize(config, rows, **times)["env_steps"] == 2**54 + 6
