"""Which samples are taken: --where and --against, and names that tell them apart."""

import pytest
from test_compare import write_run

from pgjax.app.analysis import ranking, score_tables, selection
from pgjax.app.cli import main
from pgjax.app.errors import UsageError


@pytest.fixture
def sweep(tmp_path):
    agents = [
        ((rate, lam), s, 1000.0 * rate + lam + s, None)
        for rate in (0.001, 0.01)
        for lam in (0.9, 0.95, 1.0)
        for s in range(3)
    ]
    return write_run(tmp_path / "sw", agents, grid=("learning_rate", "lam"))


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"lam": 0.95}, 2),
        ({"lam": "9.5e-1"}, 2),
        ({"lam": 1}, 2),  # as it is written, if not as it is stored
        ({"lam": 0.95, "learning_rate": 1e-3}, 1),
        ({"env": "CartPole-v1"}, 6),  # a setting that all share
    ],
)
def test_a_filter_leaves_those_with_the_value(sweep, where, left):
    samples = selection.load_all([str(sweep)], where)
    assert len(samples) == left
    assert len({s.name for s in samples}) == left


def test_names_have_the_settings_that_vary(sweep):
    names = [s.name for s in selection.load_all([str(sweep)], {"lam": 0.95})]
    assert names == ["learning rate 0.001", "learning rate 0.01"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--where", "lam=0.8"], "there are 0.9, 0.95, 1.0"),
        (["--where", "gamma=0.8"], "no run has such a setting; the grid has learning"),
        (["--against", "nobody"], "--against nobody is none of them"),
        (["--against", "lam=0.9"], "is 2 of them, such as learning rate 0.001, lam"),
        (["--sort-by", "luck"], "invalid choice: 'luck'"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report"])
def test_what_is_not_there_is_told(sweep, words, told, command, capsys, tmp_path):
    out = ["--out", str(tmp_path / "r.html")] if command == "report" else []
    try:
        code = main([command, str(sweep), *words, *out])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "r.html").exists()


def test_two_settings_that_no_run_has_together(tmp_path):
    agents = [((), s, 1.0, None) for s in range(2)]
    runs = [
        str(write_run(tmp_path / "a", agents, gamma=1, lam=2)),
        str(write_run(tmp_path / "b", agents, gamma=3, lam=4)),
    ]
    with pytest.raises(UsageError, match="gamma=1 lam=4: no run has all of these"):
        selection.load_all(runs, {"gamma": 1, "lam": 4})


def test_any_sample_can_be_the_baseline(sweep, tmp_path):
    other = write_run(tmp_path / "b", [((), s, 1.0 + s, None) for s in range(3)])
    samples = selection.load_all([str(sweep), str(other)])
    best = ranking.ranked(samples)[0]
    assert selection.baseline(samples, (), best) is samples[0]
    assert selection.baseline(samples, ("best",), best) is best
    assert selection.baseline(samples, ("b",), best).run == str(other)
    assert selection.baseline(samples, (str(other),), best).run == str(other)
    one = selection.baseline(samples, ("learning_rate=0.01", "lam=0.9"), best)
    assert one.settings == {"learning_rate": "0.01", "lam": "0.9"}
    assert selection.baseline(samples, ("sw", "learning_rate=0.01", "lam=1"), best)


def test_a_run_beside_a_sweep_has_its_settings_in_the_table(sweep, tmp_path):
    agents = [((), s, 1.0 + s, None) for s in range(3)]
    other = write_run(tmp_path / "b", agents, learning_rate=0.01, lam=0.95)
    samples = selection.load_all([str(sweep), str(other)], {"learning_rate": 0.01})
    table = score_tables.scores(samples, full=False)
    places = [[c.key for c in table.columns].index(x) for x in ("learning_rate", "lam")]
    assert [[row[i] for i in places] for row in table.rows] == [
        [0.01, lam]
        for lam in (0.9, 0.95, 1.0, 0.95)  # numbers, not their text
    ]
