"""The report, of run directories made by hand."""

import re
from html.parser import HTMLParser

import pytest
from test_compare import write_run

from pgjax.app.cli import main

VOID = {"meta", "br", "link", "img"}


class Checker(HTMLParser):
    """Sees that every element is closed, and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.count = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        names = dict(attrs)
        self.fetched += [
            names[name]
            for name in ("src", "href", "xlink:href")
            if name in names and not names[name].startswith("#")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    text = path.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.fetched == []
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#", "", text)  # but within the drawings
    return text, checker


@pytest.fixture
def sweep(tmp_path):
    agents = [
        ((rate, base), s, 100.0 * i + 10 * j + s, 500 + s if i else None)
        for i, rate in enumerate(["0.01", "0.1", "1.0"])
        for j, base in enumerate(["none", "<b>"])
        for s in range(6)
    ]
    return write_run(tmp_path / "sw", agents, grid=("learning_rate", "baseline"))


def test_the_report_holds_scores_figures_tests_and_origin(sweep, tmp_path, capsys):
    out = tmp_path / "deep" / "report.html"
    assert main(["report", str(sweep), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    text, checker = read(out)
    # Settings, their importance, a pair; curves, times to solve, profile.
    assert checker.count["svg"] == text.count('role="img" aria-label=') == 6
    assert checker.count["table"] == 2
    assert "learning rate 0.01, baseline &lt;b&gt;" in text
    assert "<b>," not in text  # a name is text, whatever it is
    assert "It was chosen among 6" in text
    assert "<pre>pgjax train --config " in text
    for words in ("IQM", "mean", "median", "P(better)", "Kaplan", "bootstrap"):
        assert words in text


def test_one_run_has_nothing_to_be_compared_with(tmp_path):
    run = write_run(tmp_path / "one", [((), s, 480.0 + s, 300) for s in range(8)])
    out = tmp_path / "report.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    text, checker = read(out)
    assert checker.count["table"] == 1
    assert "Best:" not in text
    assert ">Against" not in text


def test_a_report_of_any_grid(tmp_path):
    grid = ("learning_rate", "lam", "clip", "entropy_coefficient")
    agents = [
        ((rate, lam, clip, entropy), s, 1e5 * rate + 10 * lam + s, 500 + s)
        for rate in (0.0003, 0.001, 0.003)
        for lam in (0.9, 0.95)
        for clip in (0.1, 0.2)
        for entropy in (0.0, 0.01)
        for s in range(2)
    ]
    run = write_run(tmp_path / "sw", agents, grid=grid)
    out = tmp_path / "report.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    text, checker = read(out)
    assert checker.count["svg"] == 6
    assert "CartPole-v1: 48 agents, 24 settings" in text
    assert "14 more</summary>" in text  # rows of the table
    assert main(["report", str(run), "--where", "lam=0.95", "--out", str(out)]) == 0
    text, _ = read(out)
    assert "CartPole-v1: 24 agents, 12 settings" in text
    assert "of these only lam=0.95" in text
    assert "In every row: lam 0.95; agents 2" in text


def test_what_cannot_be_written_is_told(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["report", str(sweep), "--out", str(tmp_path / "file" / "x")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "not a run directory" in capsys.readouterr().err
