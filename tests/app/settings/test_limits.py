"""What memory and indices hold is found before anything runs; nothing is allocated."""

import re

import jax
import pytest

import pgjax as pg
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import host_loop, session
from pgjax.app.settings import free_memory, limits
from pgjax.app.settings import memory_estimates as sizes
from pgjax.app.settings.build import build
from pgjax.app.settings.run_settings import from_settings, make_config

GIB = 2**30
MESH = pg.make_mesh(jax.devices()[:1])


def config_of(algorithm="reinforce", **given):
    given = {"hidden": (4,), "seeds": 2, "steps": 200, "eval_episodes": 2} | given
    return make_config(algorithm, "general", given)


def with_values(config, values):
    settings = {**config.settings, **values}
    return from_settings(config.algorithm, config.preset, settings)


def free(monkeypatch, number):
    monkeypatch.setattr(free_memory, "free_bytes", lambda _: number)


def check(config):
    limits.check_run(config, build(config), config.seeds, MESH)


def bytes_of(config):
    env, rollout, algorithm, _ = experiment = build(config)
    found = sizes.measured(sizes.sizes_of(config, experiment), env, rollout, algorithm)
    return found, sizes.bytes_per_agent(found)


def test_an_agent_keeps_little_and_needs_its_experience_while_it_trains():
    _, (idle, running) = bytes_of(config_of())
    # 5 episodes of 500 steps, with observations of four numbers and what follows them.
    assert 5 * 500 * (4 + 4) * 4 < running < 5 * 500 * 100
    assert idle < running / 10


@pytest.mark.parametrize("algorithm", pg.algorithms.__all__)
def test_an_idle_agent_is_its_state(algorithm):
    config = config_of(algorithm, hidden=(64, 64))
    found, (idle, _) = bytes_of(config)
    _, rollout, learner, _ = build(config)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda key: pg.init_train_state(key, rollout, learner), key)
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    metrics = 4 * sizes.METRICS * found.updates_per_chunk
    assert abs(idle - metrics - whole) < 0.02 * whole + 100


# A setting that is too large, and what else it goes with; free is 1 GiB.
TOO_LARGE = [
    ("reinforce", "num_envs", 2**22, {}),
    ("reinforce", "num_envs", 2**24, {}),  # beyond indices too
    ("reinforce", "time_limit", 2**22, {"num_envs": 64}),
    ("reinforce", "seeds", 2**20, {"hidden": (256,)}),
    ("reinforce", "hidden", (2**24,), {}),
    ("reinforce", "hidden", (2**24, 64, 2**24), {}),  # beyond indices too
    ("reinforce", "eval_episodes", 2**24, {}),
    ("reinforce", "updates_per_chunk", 2**24, {"steps": 10**12}),
    ("a2c", "num_envs", 2**24, {}),
    ("a2c", "num_steps", 2**23, {}),
    ("a2c", "num_steps", 2**24, {"num_envs": 2**20}),
    ("ppo", "num_epochs", 10_000, {"num_steps": 10_000}),
    ("trpo", "num_epochs", 10_000, {"num_steps": 10_000}),
    ("trpo", "hidden", (2**15, 2**15), {}),
]


@pytest.mark.parametrize(("algorithm", "name", "value", "others"), TOO_LARGE)
def test_what_is_too_large_is_told_the_number_that_fits(
    algorithm, name, value, others, monkeypatch
):
    free(monkeypatch, GIB)
    config = config_of(algorithm, **others, **{name: value})
    with pytest.raises(UsageError) as refused:
        check(config)
    told = str(refused.value)
    flag = "--" + name.replace("_", "-")
    now = max(value) if name == "hidden" else value
    if name == "num_steps" and "num_envs" in others:
        assert "more than 32-bit indices reach" in told
    found = re.search(rf"{flag} (\d+) at most \(now {now}\)", told)
    assert found, told
    fits = int(found[1])
    values = {name: tuple(min(x, fits) for x in value)} if name == "hidden" else {}
    smaller = with_values(config, values or {name: fits})
    if "32-bit" in told:  # which says nothing of memory yet
        free(monkeypatch, 2**60)
    check(smaller)
    # It is no smaller than need be.
    more = {name: tuple(min(x, fits * 5 // 4) for x in value)} if values else {}
    with pytest.raises(UsageError):
        check(with_values(config, more or {name: fits * 5 // 4 + 2}))


def test_presets_fit_into_little(monkeypatch):
    free(monkeypatch, GIB)
    for algorithm in pg.algorithms.__all__:
        check(make_config(algorithm, "default", {}))


def test_where_no_setting_alone_would_do_all_are_told(monkeypatch):
    free(monkeypatch, 1000)
    with pytest.raises(UsageError, match=r"lower --num-envs \(now 5\), --time-limit"):
        check(config_of())


class Program:
    """A compiled program that says how much it needs."""

    def __init__(self, **stats):
        names = "temp", "argument", "output", "alias"
        stats = {f"{name}_size_in_bytes": stats.get(name, 0) for name in names}
        self.memory_analysis = lambda: type("Stats", (), stats)


def test_a_compiled_program_that_is_too_large_is_not_run(monkeypatch):
    config = config_of()
    experiment = build(config)
    free(monkeypatch, GIB)
    fits = Program(temp=GIB // 2, argument=GIB // 2, output=GIB // 2, alias=GIB // 2)
    limits.check_compiled(config, experiment, fits, MESH)
    with pytest.raises(UsageError, match=r"needs 1\.5 GiB of memory, and 1\.0 GiB are"):
        limits.check_compiled(config, experiment, Program(temp=3 * GIB // 2), MESH)


def needs(config):
    env, rollout, algorithm, _ = experiment = build(config)
    found = sizes.measured(sizes.sizes_of(config, experiment), env, rollout, algorithm)
    return experiment, sizes.bytes_per_agent(found, copies=limits.COPIES)


@pytest.mark.parametrize("fit", [1, 2, 7])
def test_while_few_fit_each_needs_room_to_train(fit, monkeypatch):
    monkeypatch.setattr(limits, "block_size", lambda _: 1000)
    experiment, (idle, running) = needs(config_of())
    free(monkeypatch, fit * (idle + running) / limits.SHARE + 1)
    assert limits.agents_that_fit(config_of(), experiment, 10 * fit) == fit


def test_beyond_those_that_run_side_by_side_agents_only_keep_their_state(monkeypatch):
    monkeypatch.setattr(limits, "block_size", lambda _: 2)
    experiment, (idle, running) = needs(config_of())
    side_by_side = 2 * len(jax.devices())
    free(monkeypatch, (side_by_side * running + 500 * idle) / limits.SHARE + 1)
    assert limits.agents_that_fit(config_of(), experiment, 5000) == 500


def test_batches_are_of_about_equal_size(monkeypatch):
    monkeypatch.setattr(limits, "block_size", lambda _: 1000)
    experiment, (idle, running) = needs(config_of())
    free(monkeypatch, 10 * (idle + running) / limits.SHARE + 1)
    assert limits.agents_that_fit(config_of(), experiment, 21) == 7
    assert limits.agents_that_fit(config_of(), experiment, 3) == 3


@pytest.mark.parametrize(("num_envs", "agents"), [(1, 64), (4, 16), (64, 1), (1024, 1)])
def test_a_block_is_at_least_an_agent(num_envs, agents):
    assert sizes.block_size(num_envs) == agents


TINY = ["--seeds", "2", "--num-envs", "4", "--hidden", "4", "--eval-episodes", "2"]


def test_episodes_to_evaluate_are_bounded_by_memory(monkeypatch):
    config = config_of(seeds=100)
    free(monkeypatch, 1_000_000)
    with pytest.raises(UsageError, match=r"take --episodes \d+ at most") as refused:
        limits.check_episodes(config, build(config), 10**6, 100)
    fits = int(re.search(r"--episodes (\d+) at", str(refused.value))[1])
    limits.check_episodes(config, build(config), fits, 100)
    with pytest.raises(UsageError):
        limits.check_episodes(config, build(config), fits + 1, 100)


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_run_that_exhausts_memory_ends_in_one_line(
    command, tmp_path, capsys, monkeypatch
):
    def exhausted(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(host_loop, "evaluate_agents", exhausted)
    arguments = [command, "reinforce", *TINY, "--steps", "200", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("pgjax: out of memory: ")
    assert len(told.splitlines()) == 1
    assert "--num-envs (now 4)" in told
    assert "has the last checkpoint" in told


def test_a_run_that_cannot_be_compiled_leaves_nothing(tmp_path, capsys, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(session, "compile_programs", exhausted)
    run = tmp_path / "run"
    assert main(["train", "reinforce", *TINY, "--quiet", "--out", str(run)]) == 1
    assert "nothing was saved; lower --num-envs" in capsys.readouterr().err
    assert not run.exists()
