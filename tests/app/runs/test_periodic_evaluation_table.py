"""What is told of evaluations while training, before and after."""

import pytest

from pgjax.app.runs.periodic_evaluation_table import cost_told, print_evaluations
from pgjax.app.settings.build import build
from pgjax.app.settings.run_settings import make_config

ROWS = [
    {"seed": 3, "threshold": {"after": 0, "by": 1024}, "best": 1024, "mean": 500.0},
    {"seed": 4, "threshold": {"after": 123456, "by": 234567}, "best": 9, "mean": 3.25},
    {"seed": 5, "threshold": {"after": 300000, "by": None}, "best": 7, "mean": -1.0},
    {"seed": 6, "threshold": {"after": 0, "by": None}, "best": None, "mean": None},
]


def config_of(**given):
    given = {"num_envs": 4, "num_steps": 8, "steps": 320, "eval_episodes": 2} | given
    return make_config("ppo", "general", {"env": "CartPole-v1", **given})


def printed(capsys, names=(), **given):
    found = []
    for row in ROWS:
        best = row["best"]
        found.append(
            {
                **dict.fromkeys(names, 0.5),
                "seed": row["seed"],
                "env_steps": 300000,
                "greedy_return": {"mean": row["mean"]},
                "best_evaluation": best and {"env_steps": best, "mean": row["mean"]},
                "best_greedy_return": {"mean": row["mean"]},
                "steps_to_threshold": row["threshold"],
            }
        )
        if given.get("solved_return", 0) is None:
            del found[-1]["steps_to_threshold"]
    summary = {"agents": found, "evaluating_seconds": 2.5}
    print_evaluations(config_of(eval_every=100, **given), summary, names)
    lines = capsys.readouterr().out.splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("Greedy return"))
    assert max(map(len, lines[:end])) <= 80
    assert "evaluating took 2.5 s" in lines[end:]
    return "\n".join(lines[:end])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"eval_every": 100}, "up to 4 times, 2 episodes each time; at most 4k env"),
        ({"eval_every": 1}, "up to 10 times"),  # after every update
        ({"eval_every": 320}, "once, at the end (--eval-every 320 is not below"),
        ({"eval_every": 10**15, "eval_episodes": 1}, "below --steps), 1 episode each"),
    ],
)
def test_what_evaluations_may_cost_is_told_first(given, says):
    config = config_of(**given)
    told = cost_told(config, build(config))
    assert says in told
    assert told.endswith("beside 320 of training")


def test_a_seed_has_the_interval_in_which_it_came_to_the_threshold(capsys):
    told = printed(capsys)
    for cell in ("(0, 1,024]", "(123,456, 234,567]", "> 300,000", "500.0", "diverged"):
        assert cell in told
    assert "to 475" in told


def test_a_combination_has_the_median_interval_and_how_many_came_there(capsys):
    told = printed(capsys, ["learning_rate"])
    assert "(123,456, 234,567]" in told
    assert "2 of 4" in told
    assert "never" not in told


def test_without_a_level_nothing_is_told_of_one(capsys):
    for names in ((), ["learning_rate"]):
        told = printed(capsys, names, env="Pendulum-v1", solved_return=None)
        assert "env steps\nto" not in told
        assert "(" not in told  # no interval of steps
