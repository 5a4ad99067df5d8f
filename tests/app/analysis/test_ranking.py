"""Which of many is best: ties told and broken, and the command that runs it again."""

import json

import numpy as np
import pytest
from test_compare import write_run

from pgjax.app.analysis import ranking
from pgjax.app.analysis.samples import Curves, Sample
from pgjax.app.analysis.selection import load_all
from pgjax.app.cli import main
from pgjax.app.command_line import read
from pgjax.app.errors import UsageError
from pgjax.app.play.chosen_agents import wanted


def sample(name, greedy, *, curve=(0.0, 0.0), solved=None, steps=1000):
    """Agents that all have one curve, a line from step 0 to the end."""
    n = len(greedy)
    agents = {s: np.array([[0.0, 1000.0], curve]) for s in range(n)}
    grid = np.linspace(0, 1000, 100)
    return Sample(
        name=name,
        env="CartPole-v1",
        seeds=np.arange(n),
        greedy=np.array(greedy, float),
        steps_to_solve=np.array(solved or [np.nan] * n, float),
        env_steps=np.full(n, 1000.0),
        solved_return=475.0,
        curves=Curves(grid, np.stack([np.interp(grid, *agents[0])] * n), agents),
        config={"steps": steps},
    )


def test_area_is_the_mean_height_of_the_curve():
    rising = sample("rising", [1.0] * 4, curve=(0.0, 100.0))
    assert ranking.area(rising, 1000.0) == pytest.approx(50.0)
    assert ranking.area(rising, 500.0) == pytest.approx(25.0)  # of the first half
    # After it has stopped, its last value counts.
    assert ranking.area(rising, 2000.0) == pytest.approx(75.0)
    late = rising._replace(
        curves=Curves(
            np.array([400.0, 1000.0]),
            np.ones((1, 2)),
            {0: np.array([[400.0, 1000.0], [10.0, 10.0]])},
        )
    )
    assert ranking.area(late, 1000.0) == pytest.approx(10.0)  # so does its first before


def test_an_iqm_that_saturates_is_not_the_last_word():
    few = [500.0] * 6 + [20.0, 30.0]  # a quarter of the agents is cut at each end
    all_but_slow = sample("slow", [500.0] * 8, curve=(0.0, 100.0))
    fast = sample("fast", [500.0] * 8, curve=(0.0, 300.0))
    everyone = [sample("few", few), all_but_slow, fast, sample("low", [10.0] * 8)]
    order = [s.name for s in ranking.ranked(everyone)]
    assert order == ["fast", "slow", "few", "low"]
    told = ranking.told_best(ranking.ranked(everyone))
    assert "Best: fast (highest IQM 500.0, as have 3 of 4" in told
    assert "highest mean 500.0, as have 2 of 3; among those, highest area 150.0" in told


@pytest.mark.parametrize(
    ("by", "first"),
    [("iqm", "b"), ("mean", "a"), ("area", "d"), ("solved", "c"), ("steps", "e")],
)
def test_any_score_can_come_first(by, first):
    everyone = [
        # IQM 400, mean 550; IQM and mean 500; three more below both.
        sample("a", [400.0] * 6 + [1000.0] * 2, curve=(0, 10)),
        sample("b", [500.0] * 8, curve=(0, 20)),
        sample("c", [1.0] * 8, curve=(0, 30), solved=[900.0] * 8),
        sample("d", [2.0] * 8, curve=(0, 40)),
        sample("e", [3.0] * 8, curve=(0, 30), solved=[5.0] * 6 + [np.nan] * 2),
    ]
    assert ranking.ranked(everyone, by)[0].name == first


def test_an_agent_that_diverged_is_worse_than_any_other():
    most = sample("most", [500.0] + [np.nan] * 7)
    one = sample("one", [500.0] * 7 + [np.nan])
    none = sample("none", [499.0] * 8)
    low = sample("low", [1.0] * 8)
    everyone = [most, one, none, low]
    names = [s.name for s in ranking.ranked(everyone)]
    # One of eight is outside the middle half; seven are not.
    assert names == ["one", "none", "low", "most"]
    assert [s.name for s in ranking.ranked(everyone, "mean")][:2] == ["none", "low"]
    told = ranking.told_best(ranking.ranked(everyone))
    assert told.startswith("Best: one (1 of 8 agents diverged; highest IQM 500.0")
    assert "diverged" not in ranking.told_best(ranking.ranked(everyone, "mean"))
    # Where all have some in it: fewer first.
    half = sample("half", [1.0] * 4 + [np.nan] * 4)
    assert [s.name for s in ranking.ranked([most, half])] == ["half", "most"]


def test_no_number_ties_with_none():
    everyone = [sample("a", [5.0] * 8), sample("b", [np.nan] * 8)]
    for by in ("iqm", "mean"):
        told = ranking.told_best(ranking.ranked(everyone, by), by)
        assert told == f"Best: a (highest {by.replace('iqm', 'IQM')} 5.0)."
    solved = [sample("a", [5.0] * 8, solved=[7.0] * 8), sample("b", [5.0] * 8)]
    told = ranking.told_best(ranking.ranked(solved, "steps"), "steps")
    assert told == "Best: a (fewest median steps to solve 7)."


def test_what_is_alike_in_everything_is_told():
    told = ranking.told_best([sample("a", [1.0] * 3), sample("b", [1.0] * 3)])
    assert "2 are alike in all of these" in told
    with pytest.raises(UsageError, match="--sort-by must be one of iqm, mean"):
        ranking.ranked([sample("a", [1.0])], "luck")


def test_the_winner_is_run_again_on_seeds_that_none_had(tmp_path):
    agents = [
        ((rate, hidden, clip, flag), seed, 100.0 * rate + seed, None)
        for rate in (0.001, 0.01)
        for hidden in ("8", "16-16")
        for clip in ("none", 0.5)
        for flag in (True, False)
        for seed in (5, 6)
    ]
    grid = ("learning_rate", "hidden", "max_gradient_norm", "anneal_learning_rate")
    run = write_run(tmp_path / "a b", agents, grid=grid)
    values = {
        "learning_rate": [0.001, 0.01],
        "hidden": [[8], [16, 16]],
        "max_gradient_norm": [None, 0.5],
        "anneal_learning_rate": [True, False],
    }
    samples = load_all([str(run)])
    for s in samples:
        point = {
            name: next(x for x in values[name] if _label(x) == s.settings[name])
            for name in grid
        }
        words = ranking.rerun(s._replace(config=s.config | point), samples)
        assert words.startswith("pgjax train --config '")
        assert words.endswith("--seed 7 --seeds 10")  # after 6, enough for a bootstrap
        command, given = _pasted(words)
        assert command == "train"
        for name, value in point.items():
            expected = tuple(value) if isinstance(value, list) else value
            found = given[name]
            if name == "hidden":  # 8 is one layer; 16,16 are two
                found = tuple(np.ravel(found).tolist())
            assert found == expected


def _label(x):
    if x is None:
        return "none"
    return "-".join(map(str, x)) if isinstance(x, list) else str(x)


def _pasted(words):
    import shlex

    return read(shlex.split(words)[1:])


def test_compare_names_the_best_its_runner_up_and_how_to_run_it_again(tmp_path, capsys):
    agents = [
        ((rate,), s, 100.0 * rate + s, None) for rate in (1, 2, 3) for s in range(6)
    ]
    run = write_run(tmp_path / "sweep", agents, grid=("learning_rate",))
    assert main(["compare", str(run), "--sort-by", "mean", "--against", "best"]) == 0
    out = capsys.readouterr().out
    assert "Best: learning rate 3 (highest mean 302.5)" in out
    assert "Against the runner-up, learning rate 2: P(better) 1.00 [0." in out
    assert "chosen among 3 on the seeds it is scored on, 0 to 5" in out
    assert f"pgjax train --config {run}/config.json --learning-rate 3 --seed 6" in out
    assert rows_of(capsys, run, "--sort-by", "mean") == [3, 2, 1]
    assert rows_of(capsys, run) == [1, 2, 3]  # the order of the grid


def rows_of(capsys, run, *more):
    assert main(["compare", str(run), "--format", "json", *more]) == 0
    content = json.loads(capsys.readouterr().out)
    return [row["learning_rate"] for row in content["scores"]]


def test_the_best_combination_of_evaluate_is_not_one_that_diverged(tmp_path):
    agents = [((x,), s, 500.0 - x, None) for x in (0, 1) for s in range(8)]
    run = write_run(tmp_path / "sweep", agents, grid=("lam",))
    assert wanted(run, None, best=True) == {"lam": "0"}
    summary = json.loads((run / "summary.json").read_text())
    for row in summary["agents"][1:8]:
        row["greedy_return"]["mean"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    assert wanted(run, None, best=True) == {"lam": "1"}


def swept_and_again(tmp_path, again, **other):
    """A sweep of three rates, seeds 0 to 5, and rate 3 again on seeds 6 to 15."""
    agents = [
        ((rate,), s, 100.0 * rate + s, None) for rate in (1, 2, 3) for s in range(6)
    ]
    sweep = write_run(tmp_path / "sweep", agents, grid=("learning_rate",), clip=0.2)
    rows = [((), s, again + s, None) for s in range(6, 16)]
    settings = {"learning_rate": 3, "clip": 0.2, "seed": 6, "eval_every": 10} | other
    return str(sweep), str(write_run(tmp_path / "again", rows, **settings))


@pytest.mark.parametrize(
    ("again", "first"), [(250.0, "sweep: learning rate 3"), (350.0, "again")]
)
def test_the_winner_on_other_seeds_is_the_check_of_the_choice(
    again, first, tmp_path, capsys
):
    runs = swept_and_again(tmp_path, again)
    assert main(["compare", *runs]) == 0
    out = capsys.readouterr().out
    assert f"Best: {first} (highest IQM" in out
    assert "Against the runner-up, sweep: learning rate 2" in out
    assert "the check of the choice among 3" in out
    assert f"again: IQM {again + 10.5:.1f} on seeds 6 to 15, unflattered" in out
    assert "IQM 302.5" in out
    assert "pgjax train" not in out
    assert main(["compare", *runs, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["rerun"], content["checked_by"]) == (None, "again")


def test_of_one_combination_alone_none_is_best(tmp_path, capsys):
    runs = swept_and_again(tmp_path, 250.0)
    words = ["--where", "learning_rate=3", "--against", "best"]
    assert main(["compare", *runs, *words]) == 0
    out = capsys.readouterr().out
    assert "Best:" not in out
    assert "runner-up" not in out
    assert "again: IQM 260.5 on seeds 6 to 15, unflattered" in out
    assert "pgjax train" not in out


@pytest.mark.parametrize("other", [{"clip": 0.3}, {"learning_rate": 2.9}])
def test_other_settings_are_no_check(other, tmp_path, capsys):
    assert main(["compare", *swept_and_again(tmp_path, 250.0, **other)]) == 0
    out = capsys.readouterr().out
    assert "chosen among 4 on the seeds it is scored on, 0 to 5" in out
    assert "--seed 16" in out
    assert "check of the choice" not in out
