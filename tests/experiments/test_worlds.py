"""The checks of adapters notice what is wrong."""

import jax.numpy as jnp
import pytest

import pgjax as pg
from experiments.worlds import report
from experiments.worlds.checks import LIMIT, findings
from experiments.worlds.suites import Own
from pgjax.envs.adapting import batched


def reset(key):
    del key
    return jnp.zeros(2), jnp.int32(0)


def step(key, state, action):
    """The sum of its actions, terminal at 30."""
    del key
    state = state + action
    return jnp.full(2, state), state, state * 0.5, state >= 30


OWN = Own(reset, step)


def right(key, state, action):
    *outcome, done = step(key, state, action)
    return *outcome, done, jnp.bool_(False)


def adapted(wrong=lambda *outcome: outcome, *, max_steps=LIMIT):
    def spoiled(key, state, action):
        return wrong(*right(key, state, action))

    return batched("suite:sum", reset, spoiled, pg.Discrete(3), max_steps)


def test_a_right_adapter_has_no_findings():
    assert findings(adapted(), OWN) == []
    assert findings(adapted(), None, train=False) == []


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda o, s, r, d, c: (o + 1, s, r, d, c), "other observations than the sui"),
        (lambda o, s, r, d, c: (o, s, r + 0.1, d, c), "other rewards than the suite's"),
        (
            lambda o, s, r, d, c: (o, s, r, d | (s > 9), c),
            "other ends than the suite's",
        ),
        (lambda o, s, r, d, c: (o, s, r, d, s > 9), "a truncation before the time lim"),
        (lambda o, s, r, d, c: (o, s, r, d, d), "terminal and truncated at once"),
        (lambda o, s, r, d, c: (o / 0, s, r, d, c), "observations that are not finite"),
        (lambda o, s, r, d, c: (o, s, r / 0, d, c), "rewards that are not finite"),
    ],
)
def test_what_is_wrong_is_found(wrong, found):
    assert any(found in x for x in findings(adapted(wrong), OWN, train=False))


def test_an_episode_beyond_the_limit_is_found():
    def ends_late(key, state, action):
        obs, state, reward, _ = step(key, state, 0 * action)
        return obs, state, reward, jnp.bool_(False), jnp.bool_(False)

    env = batched("suite:late", reset, ends_late, pg.Discrete(3), LIMIT + 5)
    found = findings(env, None, train=False)
    assert "episodes beyond the time limit" in found


def test_observations_outside_of_their_space_are_found():
    env = adapted()._replace(observation_space=pg.Box(0.0, 1.0, (2,)))
    assert findings(env, OWN, train=False) == ["observations outside of the space"]


def test_the_table_says_what_passes_and_what_does_not(tmp_path):
    rows = {
        "a": {"observation": [2], "actions": "3", "max_steps": 1000, "findings": []},
        "b": {
            "findings": ["other rewards"],
            "overhead": 0.034,
            "own_steps_per_s": 1234,
        },
        "c": {"error": "ValueError: too many"},
        "d": {"findings": [], "beside": ""},
    }
    machine = {"cpu": "a CPU", "python": "3.11", "suite": "suite 1.0"}
    record = machine | {"environments": rows}
    (tmp_path / "suite.json").write_text(report.json.dumps(record))
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "2 of 4 environments pass." in text
    assert "| a | 2 | 3 | 1,000 | - | - | - | - | passes |" in text
    assert "| b | - | - | - | 1,230 | - | +3.4% | - | other rewards |" in text
    assert "ValueError: too many" in text
    assert "passes (by itself: it has an opponent)" in text
