import json
import pathlib

import jax
import jax.numpy as jnp
import pytest
from turns import slow

from pgjax._internal.xla import on_cpu
from pgjax.app.errors import UsageError
from pgjax.bench import cases, command, comparison, hlo, table, timing
from pgjax.bench.cases import ACCELERATOR_TABLE, CPU_TABLE, Case, make_spec
from pgjax.bench.command import bench
from pgjax.bench.measure import measure, to_json
from pgjax.bench.roofline import Ceilings

MACHINE = Ceilings(1e11, 1e11, 1e9, 1e10, 1e11, 1e7)


class Known:
    """Gauges of a machine whose ceilings are known."""

    num_devices, ceilings, measured, raised = 1, MACHINE, [MACHINE], []

    def __init__(self, devices=()):
        self.times = 0

    def of(self, count):
        return self

    def made(self):
        return [self]

    def measure(self):
        self.times += 1

    def raise_to(self, cost, seconds):
        assert seconds > 0

    def to_json(self):
        return comparison.plain(MACHINE)


def test_programs_take_turns_and_order_changes():
    calls = []

    def program(name):
        def run():
            calls.append(name)
            return jnp.zeros(())

        return run

    timing_was, timing.LEAST = timing.LEAST, 0.0
    try:
        seconds = timing.take_turns({"a": program("a"), "b": program("b")}, rounds=3)
    finally:
        timing.LEAST = timing_was
    assert "".join(calls) == "aabb" + "ab" + "ba" + "ab"  # warm up, estimate, rounds
    assert {name: x.shape for name, x in seconds.items()} == {"a": (3,), "b": (3,)}


def test_what_is_over_at_once_is_run_several_times():
    calls = []
    timing.take_turns({"a": lambda: calls.append(0) or jnp.zeros(())}, rounds=1)
    assert len(calls) > 10


def test_nested_loops_of_unknown_length_are_told_apart():
    def inner(x):
        return jax.lax.while_loop(lambda x: x[0] < 9.0, lambda x: jnp.tanh(x) + 1.0, x)

    def outer(x):
        return jax.lax.while_loop(lambda x: x[0] < 5.0, inner, x)

    text = jax.jit(outer).lower(jnp.zeros(64)).compile().as_text()
    found = hlo.count(text, loops=(3, 7))
    assert found.transcendentals == 3 * 7 * 64
    assert hlo.count(text, loops=5).transcendentals == 5 * 5 * 64


def small(algorithm, **sizes):
    return Case("small", make_spec(algorithm, updates=2, **sizes))


def check(result, stages):
    names = ["environment", "rollout", "returns", "gradient", "optimizer"]
    assert [s.name for s in result.stages] == (names if stages else []) + ["whole step"]
    assert result.steps_per_second.minimum > 0
    assert result.steps_per_second.median <= result.steps_per_second.maximum
    assert result.compile_seconds > 0
    for stage in result.stages:
        assert stage.nanoseconds.minimum > 0
        assert stage.memory > 0
    record = json.loads(json.dumps(to_json(result, MACHINE), allow_nan=False))
    assert all(min(stage["shares"].values()) >= 0 for stage in record["stages"])
    assert record["bound"] > 0
    assert record["case"]["spec"]["algorithm"] == result.case.spec.algorithm


@pytest.fixture(scope="module")
def measured():
    gauges = Known()
    case = small("reinforce", num_envs=16)
    result = measure(case, jax.devices()[:1], gauges, rounds=2)
    assert gauges.times == 1  # once more when the case was done
    return result


def test_a_case_is_measured_with_its_stages(measured):
    result = measured
    check(result, stages=True)
    # 16 episodes of different lengths, until the last one is over.
    assert 0.2 < result.padding < 0.95
    assert 9 < result.episode_length < 60
    whole, rollout = result.stages[-1].cost, result.stages[1].cost
    # The policy's last layer: a product with 128 weights for each step played, which
    # are as many as the padding says.
    played = 1 / (1 - result.padding)
    expected = pytest.approx(2 * 128 * played, rel=0.3)
    if on_cpu():
        assert rollout.matmul_flops == expected
        assert whole.matmul_flops > rollout.matmul_flops
    else:  # which sums up a product with a vector in the loop that makes it
        assert rollout.matmul_flops == 0


def test_many_agents_are_measured():
    case = small("a2c", num_envs=2, num_steps=4, num_agents=3, hidden=(8,))
    result = measure(case, jax.devices()[:1], Known(), rounds=1, with_stages=False)
    check(result, stages=False)
    assert result.padding == 0.0


def test_the_work_of_a_step_is_that_of_the_networks():
    case = small("ppo", num_envs=64, num_steps=8)
    result = measure(case, jax.devices()[:1], Known(), rounds=1, with_stages=False)
    # Per step: the actor acts; the critic says V(s); both learn, 4 times. A layer
    # 64 x 64 costs 2 * 64 * 64 forward, and twice that backward.
    layer, first, last = 2 * 64 * 64, 2 * 4 * 64, 2 * 64
    acting = layer + last  # the first layer is multiplied out
    learning = 2 * (3 * layer + first + 2 * last)
    expected = 2 * acting + 4 * learning
    assert result.stages[-1].cost.matmul_flops == pytest.approx(expected, rel=0.1)


def test_the_readmes_table_is_what_the_aims_are_for():
    aims = [(c.spec.algorithm, *c.spec[2:5], c.aim) for c in CPU_TABLE[1:]]
    assert aims == [
        ("reinforce", 1024, None, 1, 2.4e6),
        ("reinforce", 1024, 128, 1, 2.4e6),
        ("a2c", 1024, 32, 1, 7e5),
        ("ppo", 4, 128, 1, 2e5),
        ("ppo", 1024, 128, 1, 2.5e5),
        ("reinforce", 4, None, 256, 1e6),
    ]


def test_an_accelerator_has_a_table_of_larger_sizes(monkeypatch):
    assert cases.standard_table() is (CPU_TABLE if on_cpu() else ACCELERATOR_TABLE)
    monkeypatch.setattr(cases, "on_cpu", lambda: False)
    chosen = command._cases((), ("float32",), {}, jax.devices())
    assert chosen == list(ACCELERATOR_TABLE)
    assert not any(case.aim for case in chosen)  # aims are for two cores
    assert len({case.name for case in chosen}) == len(chosen)


@pytest.mark.parametrize(
    "case", [slow(x) if i % 3 else x for i, x in enumerate(ACCELERATOR_TABLE)]
)
def test_what_an_accelerator_is_measured_with_can_be_traced(case):
    command._trace(case, jax.devices()[:1])


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.01234, "0.012"), (9.87, "9.9"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_times_have_the_digits_that_say_something(x, text):
    assert table._digits(x) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithms": ["sarsa"]}, "unknown algorithm 'sarsa'; choose from reinforce"),
        ({"num_envs": [16, 0]}, "--num-envs must be at least 1, got 0"),
        ({"hidden": [(64, -1)]}, "--hidden must be at least 1"),
        ({"rounds": 0}, "--rounds must be at least 1"),
        ({"devices": 100}, "--devices 100, but there"),
        ({"precision": ["int8"]}, "dtype must be a floating type, got 'int8'"),
        ({"env": ["CartPole"]}, "did you mean CartPole-v1"),
        ({"num_envs": [1]}, "leave_one_out needs at least two"),
        ({"algorithms": ["reinforce"], "against": "sb3"}, "has no reinforce"),
        ({"algorithms": ["a2c"], "against": "no-such"}, "no-such"),
        ({"algorithms": ["a2c"], "against": "plain", "devices": 1}, "on all devices"),
        (
            {"algorithms": ["a2c"], "against": "plain", "hidden": [(8,)]},
            r"the plain twin has hidden \(64, 64\) only",
        ),
        ({"precision": ["float64"]}, "only with jax_enable_x64"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        bench(**arguments, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_json_and_a_picture(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Gauges", Known)
    monkeypatch.setattr(
        command, "measure", lambda case, *_, **__: measured._replace(case=case)
    )
    sizes = {"num_envs": [4], "num_steps": [4, 8], "hidden": [(8,)]}
    out = tmp_path / "out"
    assert bench(["reinforce"], rounds=1, devices=1, out=str(out), **sizes) == 0
    printed = capsys.readouterr().out
    assert "REINFORCE, 4 envs x 4 steps" in printed
    assert "REINFORCE, 4 envs x 8 steps" in printed
    assert "1 device reaches 100 GFLOP/s" in printed
    assert "whole step" in printed
    record = json.loads((out / "bench.json").read_text())
    assert len(record["results"]) == 2
    assert record["versions"]["jax"] == jax.__version__
    assert record["rounds"] == 1
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_compiled_is_compiled_and_then_read_from_disk():
    jax.block_until_ready(jnp.ones(3) + 1.0)  # JAX has a cache by now
    was = jax.config.jax_compilation_cache_dir
    with timing.own_cache():
        directory = pathlib.Path(jax.config.jax_compilation_cache_dir)
        jax.jit(lambda x: jnp.tanh(x) * 3.21).lower(jnp.ones(7)).compile()
        assert list(directory.iterdir())
    assert not directory.exists()
    assert jax.config.jax_compilation_cache_dir == was
