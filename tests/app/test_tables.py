"""Tables for people and for programs: whole at any width, exact, escaped."""

import io
import json
import types

import numpy as np
import pytest

from pgjax.app import output, table_formats, tables
from pgjax.app.analysis.bootstrap import Interval, unknown
from pgjax.app.cli import main
from pgjax.app.play import list_environments
from pgjax.app.settings.presets import PRESETS
from pgjax.app.tables import Column, Steps, Table

INTERVAL = Interval(478.25, 471.0, 483.875)


@pytest.mark.parametrize(
    ("cell", "form", "told"),
    [
        ("a", "", "a"),
        (None, ".1f", ""),
        (float("nan"), ".1f", ""),
        (True, "", "yes"),
        (1234, ",d", "1,234"),
        (INTERVAL, ".1f", "478.2\n[471.0, 483.9]"),
        (unknown(3.0), ".1f", "3.0\n[too few]"),
    ],
)
def test_a_cell_for_people(cell, form, told):
    assert tables.shown(cell, form) == told


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ((55000, 54000, 56000), "55,000\n[54,000, 56,000]"),
        ((55000, 54000, np.inf), "55,000\n[54,000, > 60,160]"),
        ((np.inf, 58000, np.inf), "> 60,160\n[58,000, > 60,160]"),
        ((np.inf, np.inf, np.inf), "> 60,160"),
        ((np.inf, -np.inf, np.inf), "> 60,160\n[too few]"),
    ],
)
def test_what_was_not_reached_is_beyond_the_budget(interval, told):
    assert tables.shown(Steps(Interval(*interval), 60160), ",.0f") == told


def test_a_cell_for_programs():
    assert table_formats.exact("x", INTERVAL) == {
        "x": 478.25,
        "x_low": 471.0,
        "x_high": 483.875,
    }
    steps = Steps(Interval(np.inf, 58000.0, np.inf), 6e4)
    assert table_formats.exact("s", steps) == {
        "s": None,
        "s_low": 58000.0,
        "s_high": None,
        "s_beyond": 6e4,
    }
    reached = Steps(Interval(4096.0, 2048.0, np.inf), 6e4)
    assert table_formats.exact("s", reached) == {
        "s": 4096.0,
        "s_low": 2048.0,
        "s_high": None,
        "s_beyond": None,
    }
    assert table_formats.exact("n", np.int64(3)) == {"n": 3}
    assert table_formats.exact("n", 2**60 + 1) == {"n": 2**60 + 1}
    assert str(table_formats.exact("x", 217.15499999999997)["x"]) == "217.155"
    json.dumps(table_formats.exact("n", np.float32(3)))


def wide(columns=12, rows=3):
    heads = [Column("name", "name", left=True)]
    heads += [Column(f"c{i}", f"heading\n{i}", ".1f") for i in range(columns)]
    cells = [
        [f"row {r}", *(Interval(100 * i + r, i, 1000 + i) for i in range(columns))]
        for r in range(rows)
    ]
    return Table("title", heads, cells, ["a note"])


def printed(table, width):
    console = output.console(file=io.StringIO(), width=width)
    tables.print_table(table, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 400])
def test_nothing_is_cut_and_no_line_is_too_long(width):
    table = wide()
    text = printed(table, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in table.rows:
        for cell in row[1:]:
            for line in tables.shown(cell, ".1f").split("\n"):
                assert line in text
    assert ("#" in text) == (width < 400)


def test_parts_of_a_wide_table_have_numbered_rows():
    text = printed(wide(rows=12), 60)
    numbers = [line.split()[0] for line in text.splitlines() if line[:2].strip()]
    assert numbers.count("1") == numbers.count("12") > 2


def test_what_is_the_same_everywhere_is_told_once():
    columns = [Column("lam", "lam", fixed=True), Column("iqm", "IQM", ".1f")]
    table = Table("t", columns, [["0.9", 1.0], ["0.9", 1.0]])
    text = printed(table, 80)
    assert "In every row: lam 0.9." in text
    assert text.count("1.0") == 2  # a score is not left out
    assert (
        "lam" not in printed(table._replace(rows=[["0.9", 1.0]]), 80).split("\n", 2)[2]
    )
    several = table._replace(rows=[["0.9", 1.0], ["0.8", 1.0]])
    assert "In every row" not in printed(several, 80)


def test_too_few_is_said_of_a_column_once_or_of_each_cell():
    columns = [Column("a", "a", ".1f")]
    all_of_them = Table("t", columns, [[unknown(1.0)], [unknown(2.0)]])
    assert tables.texts(all_of_them) == [["1.0"], ["2.0"]]
    some = Table("t", columns, [[unknown(1.0)], [INTERVAL]])
    assert tables.texts(some)[0] == ["1.0\n[too few]"]


@pytest.mark.parametrize("terminal", [True, False])
def test_notes_are_wrapped_in_a_terminal_only(terminal):
    note = " ".join(f"word{i}" for i in range(40))
    table = Table("t", [Column("x", "x", "d")], [[1]], [note])
    file = io.StringIO()
    tables.print_table(
        table, output.console(file=file, width=60, force_terminal=terminal)
    )
    lines = file.getvalue().splitlines()
    assert note in " ".join(line.strip() for line in lines)
    assert (max(map(len, lines)) <= 60) == terminal


def test_text_is_on_the_left_in_latex():
    columns = [Column("hidden", "hidden"), Column("x", "x"), Column("y", "y")]
    table = Table("t", columns, [["32-32", 1, None], ["64", 2, 3.0]])
    assert r"\begin{tabular}{lrr}" in table_formats.as_latex(table)


def test_latex_is_escaped():
    columns = [Column("a", "a_b\n%", left=True), Column("x", "x", ".1f")]
    text = table_formats.as_latex(
        Table("t & u", columns, [[r"50% \ $x^2$ {~}", INTERVAL]])
    )
    assert r"a\_b \% & x \\" in text
    assert r"50\% \textbackslash{} \$x\^{}2\$ \{\textasciitilde{}\}" in text
    assert r"478.2 [471.0, 483.9] \\" in text
    assert text.startswith("% t & u\n")


@pytest.mark.parametrize("form", ["text", "json", "csv", "latex"])
def test_environments_in_every_format(form, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["envs", "--format", form]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "MountainCarContinuous-v0" in out
    assert "…" not in out
    if form == "json":
        rows = {row["name"]: row for row in json.loads(out)["environments"]}
        assert rows["CartPole-v1"]["time_limit"] == 500
        assert rows["CartPole-v1"]["gymnasium"] is True
        suites = {row["name"]: row for row in json.loads(out)["suites"]}
        assert suites["brax"]["install"] == "pip install 'pgjax-rl[brax]'"
    if form == "text":
        table = out.partition("MNISTBandit-bsuite:")[0].splitlines()
        assert max(map(len, table)) <= 80
        (row,) = [line for line in table if line.startswith("MountainCar-v0")]
        assert row.split() == [
            *("MountainCar-v0", "2", "real", "3", "choices", "200", "-110", "yes")
        ]


def test_the_names_of_a_suite(capsys, monkeypatch):
    module = types.SimpleNamespace(names=lambda: ["walk", "ant"])
    monkeypatch.setattr(list_environments, "adapter", lambda suite: module)
    monkeypatch.setitem(PRESETS["ppo"], "brax:ant", {})
    assert main(["envs", "brax", "--format", "json"]) == 0
    (ant, walk) = json.loads(capsys.readouterr().out)["environments"]
    assert ant == {"name": "brax:ant", "presets": "ppo"}
    assert walk["name"] == "brax:walk"
    assert main(["envs", "brx"]) == 2
    assert "unknown suite 'brx'; did you mean brax" in capsys.readouterr().err


def test_a_suite_that_is_not_installed_is_told(capsys, monkeypatch):
    def missing(suite):
        raise ImportError(f"{suite} cannot be imported; it installs it")

    monkeypatch.setattr(list_environments, "adapter", missing)
    assert main(["envs", "pgx"]) == 2
    assert capsys.readouterr().err == "pgjax: pgx cannot be imported; it installs it\n"
