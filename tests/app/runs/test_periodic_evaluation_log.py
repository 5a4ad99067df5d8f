"""The book of evaluations while training, on returns made by hand."""

import numpy as np
import pytest

from pgjax.app.runs.periodic_evaluation_log import EvaluationLog
from pgjax.app.settings.run_settings import make_config


def book(count=2, **given):
    given = {"eval_every": 100, "solved_return": 400.0, "steps": 1000} | given
    return EvaluationLog(make_config("reinforce", "default", given), count)


def games(*returns):
    returns = np.array(returns, np.float32)
    lengths = np.nan_to_num(returns, posinf=1, neginf=1).astype(np.int32)
    truncated = returns == returns.max()
    return {"returns": returns, "lengths": lengths, "truncated": truncated}


def add(evaluations, env_steps, *returns, who=(0, 1)):
    who = np.array(who)
    update = np.arange(1, len(who) + 1)
    return evaluations.add(who, update, np.array(env_steps), games(*returns))


def test_an_agent_is_due_once_it_has_passed_a_multiple_whatever_a_chunk_is():
    evaluations = book()
    assert evaluations.due(np.array([99, 100])).tolist() == [False, True]
    assert evaluations.left(np.array([0, 130])).tolist() == [100, 70]
    add(evaluations, [340], [1.0], who=[1])  # one update passed 100, 200 and 300
    assert evaluations.due(np.array([100, 399])).tolist() == [True, False]
    assert evaluations.due(np.array([0, 400])).tolist() == [False, True]


def test_rows_have_what_the_episodes_came_to():
    rows, _ = add(book(), [100, 120], [1.0, 3.0], [8.0, 8.0])
    assert rows["agent"].tolist() == [0, 1]
    assert rows["env_steps"].tolist() == [100, 120]
    assert rows["mean_return"].tolist() == [2.0, 8.0]
    np.testing.assert_allclose(rows["std_return"], [np.sqrt(2), 0.0])
    assert rows["min_return"].tolist() == [1.0, 8.0]
    assert rows["max_return"].tolist() == [3.0, 8.0]
    assert rows["mean_length"].tolist() == [2.0, 8.0]
    assert rows["num_episodes"].tolist() == [2, 2]
    assert rows["num_truncated"].tolist() == [0, 2]
    rows, _ = add(book(), [100, 120], [1.0], [8.0])
    assert np.isnan(rows["std_return"]).all()


def test_the_best_is_the_highest_mean_and_of_several_the_earliest():
    evaluations = book()
    best = [add(evaluations, [100, 100], [2.0], [5.0])[1].tolist()]
    best.append(add(evaluations, [200, 200], [3.0], [5.0])[1].tolist())
    best.append(add(evaluations, [300, 300], [1.0], [6.0])[1].tolist())
    assert best == [[0, 1], [0], [1]]
    assert evaluations.best_env_steps.tolist() == [200, 300]
    assert evaluations.row(0)["best_evaluation"] == {"env_steps": 200, "mean": 3.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_the_best(bad):
    evaluations = book(1)
    assert add(evaluations, [100], [bad, 1.0], who=[0])[1].tolist() == []
    assert evaluations.row(0)["best_evaluation"] is None
    assert add(evaluations, [200], [1.0], who=[0])[1].tolist() == [0]
    assert add(evaluations, [300], [bad], who=[0])[1].tolist() == []
    assert evaluations.best_env_steps.tolist() == [200]


def test_the_threshold_is_reached_between_two_evaluations_or_not_yet():
    evaluations = book(3)
    everyone = [0, 1, 2]
    add(evaluations, [100, 110, 120], [400.0], [399.0], [1.0], who=everyone)
    add(evaluations, [200, 210, 220], [2.0], [500.0], [399.9], who=everyone)
    add(evaluations, [300, 310, 320], [2.0], [2.0], [3.0], who=everyone)
    rows = [evaluations.row(i)["steps_to_threshold"] for i in everyone]
    assert rows[0] == {"after": 0, "by": 100}  # reached is enough; later ones are not
    assert rows[1] == {"after": 110, "by": 210}
    assert rows[2] == {"after": 320, "by": None}  # more than 320


def test_without_a_level_there_is_no_threshold():
    evaluations = book(1, env="Pendulum-v1", solved_return=None)
    add(evaluations, [100], [1.0], who=[0])
    assert "steps_to_threshold" not in evaluations.row(0)


def test_it_goes_on_from_its_arrays():
    one, other = book(), book()
    add(one, [100, 120], [450.0], [5.0])
    one.seconds = 2.5
    other.load(one.to_arrays())
    assert [one.row(i) for i in (0, 1)] == [other.row(i) for i in (0, 1)]
    assert (other.seconds, other.latest_return()) == (2.5, 227.5)
    assert other.due(np.array([199, 200])).tolist() == [False, True]
    assert np.isnan(book().latest_return())
