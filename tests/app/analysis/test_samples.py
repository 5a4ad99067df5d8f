"""What evaluations while training came to, as the tables and figures take it."""

import json

import numpy as np
import pytest
from test_compare import write_run

from pgjax.app.analysis.evaluated import evaluated, median_threshold
from pgjax.app.analysis.samples import load_samples
from pgjax.app.cli import main


def row(seed, best, threshold, final):
    found = {"seed": seed, "best_evaluation": best, "env_steps": 1000}
    found |= {"greedy_return": {"mean": final}}
    found |= {"best_greedy_return": {"mean": final}}
    return found | ({} if threshold is None else {"steps_to_threshold": threshold})


BEST = {"env_steps": 500, "mean": 480.0}
ROWS = [
    row(3, BEST, {"after": 100, "by": 200}, 470.0),
    row(4, {"env_steps": 900, "mean": 90.0}, {"after": 900, "by": None}, 80.0),
    row(5, None, {"after": 0, "by": None}, None),  # it has diverged
]


def test_an_agent_that_never_came_there_is_one_by_infinity():
    found = evaluated(ROWS)
    assert found.threshold_after.tolist() == [100, 900, 0]
    assert found.threshold_by.tolist() == [200, np.inf, np.inf]
    # One that diverged is known never to come there, for as long as any was trained.
    assert found.threshold_last.tolist() == [200, 900, 1000]
    np.testing.assert_equal(found.best_return, [470.0, 80.0, np.nan])


def test_the_median_threshold_is_one_quantity():
    all_came = [
        row(i, BEST, {"after": 100 * i, "by": 100 * (i + 1)}, 470.0) for i in range(6)
    ]
    after, by, _ = median_threshold(evaluated(all_came))
    assert (after, by.estimate) == (200, 300)
    assert by.low < 300 < by.high < np.inf  # nobody is censored: all six came there
    diverged = median_threshold(evaluated(ROWS[1:]))
    assert diverged.by.estimate == np.inf
    assert np.isnan(diverged.after)
    assert diverged.beyond == 1000  # and not 0, where it diverged at once


def test_a_run_without_evaluations_or_without_a_level_says_nothing_of_them():
    assert evaluated([{"seed": 3}]) is None
    found = evaluated([row(3, BEST, None, 470.0)])
    np.testing.assert_equal(found.threshold_by, [np.nan])
    assert found.best_return.tolist() == [470.0]


@pytest.fixture
def run(tmp_path):
    agents = [((), seed, 300.0, None) for seed in (5, 4, 3)]
    return write_run(tmp_path / "run", agents)


def edit(run, change):
    summary = json.loads((run / "summary.json").read_text())
    change(summary["agents"])
    (run / "summary.json").write_text(json.dumps(summary))


def test_a_sample_has_them_in_the_order_of_its_seeds(run):
    assert load_samples(run)[0].evaluated is None

    def add(agents):
        for agent in agents:
            agent |= ROWS[agent["seed"] - 3]

    edit(run, add)
    (sample,) = load_samples(run)
    assert sample.seeds.tolist() == [3, 4, 5]
    assert sample.evaluated.threshold_by.tolist() == [200, np.inf, np.inf]


@pytest.mark.parametrize(
    "damage",
    [
        {"best_evaluation": 3},
        {"best_evaluation": {"env_steps": -1, "mean": 0.0}},
        {"best_greedy_return": {}},
        {"steps_to_threshold": {"after": "x", "by": None}},
        {"steps_to_threshold": {"after": 1}},
    ],
)
def test_what_is_none_of_them_is_damage(damage, run, capsys):
    edit(run, lambda agents: agents[0].update(ROWS[0] | {"seed": 5} | damage))
    assert main(["compare", str(run)]) == 2
    assert "summary.json is damaged" in capsys.readouterr().err


def test_compare_tells_the_steps_to_the_threshold_beside_those_to_solve(
    tmp_path, capsys
):
    agents = [((), seed, 300.0, None) for seed in range(7)]
    run = write_run(tmp_path / "run", agents)

    def add(agents):
        for i, agent in enumerate(agents):
            found = {"after": 100 * i, "by": 100 * (i + 1)}
            if i > 4:
                found = {"after": 900, "by": None}
            agent |= row(agent["seed"], BEST, found, 470.0)

    edit(run, add)
    assert main(["compare", str(run), "--format", "json"]) == 0
    (scores,) = json.loads(capsys.readouterr().out)["scores"]
    assert scores["steps_to_threshold"] == 400.0  # the fourth of seven
    assert scores["steps_to_threshold_low"] == 100.0
    assert main(["compare", str(run)]) == 0
    out = capsys.readouterr().out
    assert "to 475, greedy" in out
    assert "greedy, was 475 or more" in " ".join(out.split())
    table = [line for line in out.splitlines() if line.startswith("run  ")]
    assert len(table) == 2
    assert max(map(len, table)) <= 80
