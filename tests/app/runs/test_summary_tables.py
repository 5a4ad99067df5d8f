"""The table at the end of a run: whole at 80 columns, and short for many seeds."""

import pathlib

import numpy as np
import pytest

from pgjax.app.runs import summary_tables
from pgjax.app.settings.run_settings import make_config

CONFIG = make_config("ppo", "default", {"env": "CartPole-v1"})
RNG = np.random.default_rng(0)


def agent(seed, greedy, solved=None, **settings):
    spread = {"mean": greedy, "std": 1.0, "min": 0.0}
    return {
        **settings,
        "seed": seed,
        "env_steps": 60160,
        "steps_to_solve": solved,
        "seconds_to_solve": None if solved is None else 1.0,
        "diverged": None if greedy is not None else {"update": 3, "quantity": "loss"},
        "greedy_return": spread,
        "sampled_return": spread,
    }


def printed(agents, capsys, names=()):
    summary = {
        "agents": agents,
        "env_steps": 1,
        **dict.fromkeys(("compile_seconds", "train_seconds", "wall_seconds"), 1.0),
    }
    if names:
        summary_tables.print_points(pathlib.Path("r"), CONFIG, summary, list(names))
    else:
        summary_tables.print_summary(pathlib.Path("r"), CONFIG, summary)
    return capsys.readouterr().out


def test_a_few_seeds_have_a_row_each(capsys):
    agents = [agent(0, 500.0, 55000), agent(1, 20.0), agent(2, None)]
    out = printed(agents, capsys)
    rows = [line.split() for line in out.splitlines()]
    assert ["0", "500.0", "500.0", "55,000"] in rows
    assert ["1", "20.0", "20.0", ">", "60,160"] in rows
    assert ["2", "diverged", "diverged", ">", "60,160"] in rows


def test_a_thousand_seeds_are_a_few_rows(capsys):
    greedy = RNG.uniform(100, 400, 1024)
    agents = [agent(s, x, 5e4 + s if s % 2 else None) for s, x in enumerate(greedy)]
    out = printed(agents, capsys)
    assert len(out.splitlines()) < 30
    assert "512 solved (mean of 100 > 475): 50.0% [46.9%, 53.1%]" in out
    assert f"lowest: seed {greedy.argmin()} ({greedy.min():.1f})" in out
    assert f"{np.median(greedy):.1f}" in out
    assert "summary.json has every seed" in out


@pytest.mark.parametrize("width", ["80", "120"])
def test_a_sweep_of_many_settings_is_whole(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    names = "learning_rate", "entropy_coefficient", "hidden", "lam"
    agents = [
        agent(s, 400.0 + s, 50000 + 100 * s, **dict(zip(names, point, strict=True)))
        for point in ((0.0003, 0.01, "32-32", 0.95), (0.001, 0.0, "32-32", 0.9))
        for s in range(8)
    ]
    out = printed(agents, capsys, names)
    assert "…" not in out
    assert "hidden 32-32" in out
    assert "solved [95%] 100% [63%, 100%]" in out
    for text in ("0.0003", "0.01", "0.95", "0.001", "0.0", "0.9", "403.5"):
        assert text in out
    table = out.partition("IQM: the inter")[0].splitlines()[2:]
    assert max(map(len, table)) <= int(width)


def test_of_hundreds_of_combinations_some_are_printed(capsys):
    agents = [agent(0, float(i), None, gamma=i) for i in range(300)]
    out = printed(agents, capsys, ["gamma"])
    assert len(out.splitlines()) < 60
    assert "and 264 combinations more" in out
    assert "Fewer than 6 agents, without diverged ones, are too few" in out


def test_too_few_agents_are_told_once(capsys):
    agents = [agent(s, 1.0 * s, gamma=g) for g in (0.9, 0.99) for s in range(4)]
    out = printed(agents, capsys, ["gamma"])
    assert out.lower().count("fewer than 6") == out.count("too few") == 1
