"""A chunk of updates, with an update that only counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgjax.app.runs.chunks import until_it_stops

LENGTH = 6


def chunk(left, stops=lambda state: state >= 100, wrong_after=99, state=0, per=10):
    """Updates that add 1; after `wrong_after` of them, one goes wrong in quantity 2."""

    def step(state):
        wrong = jnp.where(state == wrong_after, 2, 0)
        return state + 1, {"env_steps": per + 0 * state, "diverged": wrong}

    left = jnp.asarray(left, jnp.int32)
    state = jnp.asarray(state, jnp.int32)
    return until_it_stops(step, state, left, stops=stops, length=LENGTH)


@pytest.mark.parametrize(
    ("given", "updates"),
    [
        ({"left": 1000}, LENGTH),
        ({"left": 30}, 3),  # the budget is reached exactly
        ({"left": 31}, 4),  # and passed
        ({"left": 1}, 1),
        ({"left": 0}, 0),
        ({"left": 2**31 - 1, "per": 2**31 - 1}, 1),
        ({"left": 2**31 - 1, "per": 2**30}, 2),
        ({"left": 1000, "stops": lambda state: state >= 2}, 2),
        ({"left": 1000, "stops": lambda state: state >= 2, "state": 2}, 0),
    ],
)
def test_an_agent_stops_with_the_update_that_ends_it(given, updates):
    state, metrics = chunk(**given)
    assert state == given.get("state", 0) + updates
    assert metrics["going"].tolist() == [True] * updates + [False] * (LENGTH - updates)
    assert metrics["env_steps"][:updates].tolist() == [given.get("per", 10)] * updates


def test_an_agent_that_diverges_stays_as_it_was_before():
    state, metrics = chunk(1000, wrong_after=2)
    assert state == 2
    assert metrics["going"].tolist() == [True, True] + [False] * 4
    assert metrics["diverged"].max() == 2
    assert metrics["diverged"][:2].tolist() == [0, 0]


def test_a_block_ends_with_its_last_agent_and_each_with_its_own_update():
    made = []

    def step(state):
        jax.debug.callback(lambda _: made.append(1), state[0])
        return state + 1, {"env_steps": jnp.int32(10), "diverged": jnp.int32(0)}

    def run(state, left):
        never = lambda state: jnp.bool_(False)  # noqa: E731
        return until_it_stops(step, state, left, stops=never, length=LENGTH)

    left = jnp.array([10, 0, 35])
    state, metrics = jax.block_until_ready(
        jax.jit(jax.vmap(run))(jnp.zeros((3, 1), jnp.int32), left)
    )
    jax.effects_barrier()
    assert state[:, 0].tolist() == [1, 0, 4]
    np.testing.assert_array_equal(metrics["going"].sum(1), [1, 0, 4])
    assert len(made) == 4 * 3  # each update of the block, for its three places
