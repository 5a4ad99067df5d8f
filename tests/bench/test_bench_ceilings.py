"""The arithmetic of a roofline, and that a machine has one."""

import jax
import numpy as np
import pytest

from pgjax.bench.ceilings import Gauge
from pgjax.bench.hlo import Cost
from pgjax.bench.roofline import WORDS, Ceilings, Shares, judge

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
    bytes=8e9,  # 0.4 s
    cache_bytes=3e10,  # 0.3 s
    operations=3e5,  # 0.03 s
)


def test_shares_are_predicted_by_measured_seconds():
    found = judge(COST, 2.0, MACHINE)
    np.testing.assert_allclose(found.shares, (0.25, 0.05, 0.1, 0.2, 0.15, 0.015))
    assert found.limit == "matrix products"
    assert found.bound == pytest.approx(4.0)


def test_cost_and_ceilings_have_the_same_parts_in_the_same_order():
    assert Cost._fields == Ceilings._fields
    assert len(Shares._fields) == len(Cost._fields)
    assert Shares._fields == tuple(WORDS)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("matmul_flops", "matrix products"),
        ("elementwise", "other arithmetic"),
        ("transcendentals", "exp and tanh"),
        ("bytes", "memory"),
        ("cache_bytes", "caches"),
        ("operations", "dispatch"),
    ],
)
def test_limit_is_the_largest_share(part, words):
    ceilings = Ceilings(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    cost = Cost(*[0.1] * 6)._replace(**{part: 0.57})
    assert judge(cost, 1.0, ceilings).limit == words


def test_nothing_limits_what_no_ceiling_explains():
    ceilings = Ceilings(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert judge(Cost(0.05, 0.02, 0.0, 0.03, 0.0, 0.01), 1.0, ceilings).limit == "none"
    # Together they may explain what none does alone.
    cost = Cost(0.05, 0.1, 0.05, 0.05, 0.0, 0.05)
    assert judge(cost, 1.0, ceilings).limit == "other arithmetic"


def test_a_machine_has_ceilings_and_the_best_of_them_count():
    gauge = Gauge(jax.devices()[:1])
    gauge.measure(0.01)
    assert len(gauge.measured) == 2
    assert np.all(np.isfinite(gauge.ceilings))
    assert min(gauge.ceilings) > 0
    first, second = gauge.measured
    assert gauge.ceilings == tuple(np.maximum(first, second))
    # What a program reaches, the machine can do.
    one, best = second._asdict(), gauge.ceilings
    assert gauge.raised == []
    gauge.raise_to(Cost(operations=6 * best.operations, bytes=0.5 * best.bytes), 2.0)
    assert gauge.raised == ["dispatch"]
    assert gauge.ceilings == best._replace(operations=3 * best.operations)
    assert gauge.reached.bytes == pytest.approx(0.25 * best.bytes)
    gauge.raise_to(Cost(operations=best.operations), 1.0)  # less than before
    assert gauge.ceilings.operations == 3 * best.operations
    record = gauge.to_json()
    assert record["reached"]["operations"] == record["operations"]
    assert record["measured"]["operations"][1] == one["operations"]
    assert record["bytes"] == max(record["measured"]["bytes"])
