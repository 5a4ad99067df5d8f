"""What a run is asked to do: settings with one value, and lists of a grid."""

import json

import pytest

from pgjax.app.errors import UsageError
from pgjax.app.settings.plan import make_plan, plan_again, plan_more
from pgjax.app.settings.request import Request, extended, make_request, split

TINY = {"num_envs": 4, "hidden": (4,), "steps": 100, "seeds": 3}


def request_of(algorithm="reinforce", **given):
    return make_request(algorithm, "general", {**TINY, **given})


def test_a_list_is_a_grid_and_a_tuple_of_widths_is_none():
    one, grid = split(
        "ppo",
        {"hidden": (8, 8), "gamma": [0.9, 0.99], "clip": [0.2], "seeds": 3.0},
    )
    assert one == {"hidden": (8, 8), "clip": 0.2, "seeds": 3}
    assert grid == {"gamma": [0.9, 0.99]}
    one, grid = split("ppo", {"hidden": [8, [8, 8]], "num_epochs": [1, 2.0]})
    assert (one, grid) == ({}, {"hidden": [(8,), (8, 8)], "num_epochs": [1, 2]})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gamma": [0.9, 0.99, 0.9]}, "--gamma has 0.9 twice: give it once"),
        ({"hidden": [32, (16, 16), (32,)]}, "--hidden has 32 twice"),
        ({"hidden": [(16, 16), [16, 16]]}, "--hidden has 16,16 twice"),
        ({"num_epochs": [4, 4.0]}, "--num-epochs has 4 twice"),
        ({"max_gradient_norm": [None, "none"]}, "--max-gradient-norm has None twice"),
    ],
)
def test_a_value_that_is_there_twice_is_refused(given, says):
    with pytest.raises(UsageError, match=says):
        split("ppo", given)


def test_true_is_not_one():
    _, grid = split("reinforce", {"normalize_advantage": [True, False]})
    assert grid == {"normalize_advantage": [True, False]}
    with pytest.raises(UsageError, match="--normalize-advantage must be bool, got 1"):
        request_of(normalize_advantage=[True, 1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps": [100, 200]}, r"--steps has one value in a run, got \[100, 200\]"),
        ({"gamma": []}, "--gamma needs a value"),
        ({"gama": 0.5}, "perhaps --gamma is meant"),
        ({"gamma": [0.5, 2.0]}, r"--gamma must be in \[0, 1\], got 2.0"),
        ({"seeds": 2**19, "gamma": [0.5, 0.6, 0.7]}, "take --seeds 349525 at most"),
    ],
)
def test_what_cannot_be_is_told(given, says):
    with pytest.raises(UsageError, match=says):
        request_of(**given)


def test_a_request_is_json_and_says_every_setting():
    request = request_of(learning_rate=[0.1, 0.2], hidden=[(4,), (5, 5)])
    again = Request(**json.loads(json.dumps(request._asdict())))
    assert again == request
    assert set(request.grid) == {"hidden", "learning_rate"}
    assert not set(request.grid) & set(request.settings)
    assert request.settings["baseline"] == "leave_one_out"  # of the preset
    assert [len(group.agents.seeds) for group in request.groups] == [6, 6]


def more(request, **given):
    return extended(request, given, run="runs/x")


def test_the_same_again_is_the_same():
    request = request_of(learning_rate=[0.1, 0.2])
    assert more(request) == request
    assert more(request, learning_rate=[0.2, 0.1], hidden=(4,)) == request
    assert more(request, algorithm="reinforce", preset="default") == request


def test_more_is_taken():
    request = request_of(learning_rate=[0.1, 0.2])
    assert more(request, seeds=5).settings["seeds"] == 5
    assert more(request, steps=1e3).settings["steps"] == 1000
    values = more(request, learning_rate=[0.3, 0.1, 0.2]).grid["learning_rate"]
    assert values == [0.3, 0.1, 0.2]
    wider = more(request, hidden=[(4,), (8, 8)])
    assert wider.grid["hidden"] == [[4], [8, 8]]
    assert "hidden" not in wider.settings
    clipped = more(request, max_gradient_norm=[None, 0.5])  # none is no number
    assert clipped.grid["max_gradient_norm"] == [None, 0.5]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seeds": 2}, r"--seeds 2 \(the run: 3, or more\)"),
        ({"steps": 50}, r"--steps 50 \(the run: 100, or more\)"),
        ({"seeds": "7"}, "--seeds must be int, got '7'"),
        ({"seed": 1}, r"--seed 1 \(the run: 0\)"),
        ({"algorithm": "ppo"}, r"--algorithm ppo \(the run: reinforce\)"),
        ({"gamma": 0.5}, r"--gamma 0.5 \(the run: 0.99\)"),
        (
            {"learning_rate": 0.1},
            r"--learning-rate 0.1 \(the run: 0.1 0.2; to add one, give all",
        ),
        ({"learning_rate": [0.1, 0.3]}, "give those to add with all of these, 0.2 too"),
        ({"hidden": [(5,), (8, 8)]}, r"--hidden 5 8,8 \(the run: 4;"),
        ({"gamma": [0.99, 0.5]}, "has one --gamma, 0.99, compiled into its program"),
        ({"surprise": [1, 2]}, "no option --surprise of reinforce"),
        ({"baseline": ["leave_one_out", "best"]}, "--baseline must be one of"),
        ({"seeds": 10**7}, "--seeds must be at most 1048576, got 10000000"),
        ({"seeds": 2**19 + 1}, "more than 1048576 agents: take --seeds 524288"),
    ],
)
def test_anything_else_is_another_run(given, says):
    request = request_of(learning_rate=[0.1, 0.2])
    with pytest.raises(UsageError, match=says):
        more(request, **given)


@pytest.mark.parametrize("annealed", [True, [False, True]])
def test_what_is_annealed_over_its_steps_cannot_have_more(annealed):
    request = request_of(anneal_learning_rate=annealed)
    with pytest.raises(UsageError, match="over which its learning rate falls to 0"):
        more(request, steps=200)
    assert more(request, seeds=9).settings["seeds"] == 9


def who(plan):
    """The seeds and rates of the agents of each batch."""
    agents = [batch.agents for batch in plan.batches]
    return [(x.seeds.tolist(), x.values["learning_rate"].tolist()) for x in agents]


def test_a_plan_is_found_again_by_its_ranges():
    request = request_of(learning_rate=[0.1, 0.2], hidden=[(4,), (5,)])
    plan = make_plan(request, 4)
    assert plan.ranges == ["0:4", "4:6", "6:10", "10:12"]
    again = plan_again(request, plan.ranges)
    assert [b.places.tolist() for b in again.batches] == [
        b.places.tolist() for b in plan.batches
    ]
    assert who(again) == who(plan)


@pytest.mark.parametrize(
    "ranges",
    [[], ["0:6"], ["0:12"], ["0:6", "6:11"], ["0:6", "6:13"], ["0:6", "5:12"], [""]]
    + [["0:6", "6:12", "0:1"], ["0:6", "6:999999999999"], ["0:6", "12:6"]],
)
def test_batches_that_are_not_of_its_agents_are_seen(ranges):
    request = request_of(learning_rate=[0.1, 0.2], hidden=[(4,), (5,)])
    assert plan_again(request, ranges) is None


def test_a_plan_that_grows_keeps_its_batches_and_adds_others():
    request = request_of(learning_rate=[0.1, 0.2])
    plan = make_plan(request, 4)._replace(agents_at_once=None)
    grown = more(request, seeds=4, learning_rate=[0.3, 0.1, 0.2], hidden=[(5,), (4,)])
    larger = plan_more(plan, grown)
    assert plan.ranges == ["0:4", "4:6"]
    # Groups by width, rates within them, and then seeds; of the second group, the first
    # rate and the last seeds are new.
    assert larger.ranges == ["16:19 20:21", "21:23", "0:12", "12:16 19:20 23:24"]
    assert who(larger)[:2] == who(plan)
    assert plan_again(grown, larger.ranges) is not None
    smaller = plan_more(plan._replace(agents_at_once=7), grown).ranges
    assert smaller == [
        *plan_more(plan, grown).ranges[:2],
        "0:7",
        "7:12",
        "12:16 19:20 23:24",
    ]
