"""Where agents are in the arrays of a program."""

import numpy as np
import pytest

from pgjax.app.runs.compiled_programs import Slots


@pytest.mark.parametrize(
    ("agents", "devices"), [(1, 1), (5, 1), (6, 2), (5, 2), (9, 4)]
)
def test_agents_are_dealt_out_and_found_again(agents, devices):
    slots = Slots.deal(agents, devices)
    assert len(slots.agent) % devices == 0
    seeds = np.arange(100, 100 + agents)
    filled = slots.fill(seeds)
    assert set(filled) == set(seeds)
    np.testing.assert_array_equal(slots.real(filled), seeds)
    np.testing.assert_array_equal(slots.real(slots.once(seeds)), seeds)
    assert slots.once(seeds).sum() == seeds.sum()  # each of them once
    # Neighbours, which may stop early together, are on different devices.
    per_device = len(slots.agent) // devices
    homes = slots.place // per_device
    np.testing.assert_array_equal(homes, np.arange(agents) % devices)
