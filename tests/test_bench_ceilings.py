"""The arithmetic of a roofline, and that a machine has one."""

import jax
import numpy as np
import pytest

from pgjax.bench import ceilings
from pgjax.bench.ceilings import CACHE, Ceilings, Shares, limit, shares
from pgjax.bench.hlo import Cost

MACHINE = Ceilings(
    matmul_flops=1e11,
    elementwise=1e10,
    transcendentals=1e9,
    bytes=2e10,
    cache_bytes=1e11,
    operations=1e7,
)
COST = Cost(
    matmul_flops=5e10,  # 0.5 s
    elementwise=1e9,  # 0.1 s
    transcendentals=2e8,  # 0.2 s
    bytes=8e9,  # 0.4 s, and 0.08 s from the caches
    operations=3e5,  # 0.03 s
)


def test_shares_are_predicted_by_measured_seconds():
    found = shares(COST, 2.0, MACHINE)
    np.testing.assert_allclose(found, (0.25, 0.05, 0.1, 0.2, 0.015))


@pytest.mark.parametrize(
    ("working_set", "share"), [(CACHE, 0.04), (CACHE + 1, 0.2), (1e12, 0.2)]
)
def test_traffic_of_a_small_working_set_is_held_against_the_caches(working_set, share):
    found = shares(COST, 2.0, MACHINE, working_set=working_set)
    assert found.bytes == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("matmul", "matrix products"),
        ("elementwise", "other arithmetic"),
        ("transcendentals", "exp and tanh"),
        ("bytes", "memory"),
        ("operations", "dispatch"),
    ],
)
def test_limit_is_the_largest_share(name, words):
    reached = Shares(0.1, 0.1, 0.1, 0.1, 0.1)._replace(**{name: 0.57})
    assert limit(reached) == words


def test_nothing_limits_what_no_ceiling_explains():
    found = limit(Shares(0.05, 0.02, 0.0, 0.03, 0.01))
    assert found == "none"
    # Together they may explain what none does alone.
    assert limit(Shares(0.05, 0.1, 0.05, 0.05, 0.05)) == "other arithmetic"


def test_a_machine_has_ceilings():
    found = ceilings.measure_ceilings(jax.devices(), quick=True)
    assert np.all(np.isfinite(found))
    assert min(found) > 0
