"""Names that users give are printed, drawn and written as they are, on every medium."""

import html
import io
import json
import os
import pathlib
import re
import subprocess

import markupsafe
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from pgjax.app import output, shown_names, tables
from pgjax.app.analysis import figures, samples
from pgjax.app.analysis.learning_curve import save
from pgjax.app.cli import main
from pgjax.app.runs.progress import Reporter

NAMES = (
    "lr[sgd]",
    "[/x]",
    "[bold]",
    "[link=x]",
    "$x^$",
    r"\$x$",
    "_hidden",
    "a b",
    "it's",
    'say "hi"',
    "`ls` $(ls) !! *?",
    "100%",
    "%s {0} {run}",
    "back\\slash",
    "~",
    "#",
    ":smile:",
    "--",
    "-rf",
    "línea 政策",
    "two\nlines",
    "tab\there",
    "\x1b[31mred\x07",
    "bytes \udcff\udc80",
    "<b>&amp;</b>",
    "x" * 200,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name):
    shown = shown_names.one_line(name)
    console = output.console(file=io.StringIO(), width=400)
    console.print(f"results in {shown}", soft_wrap=True)
    columns = [tables.Column("name", shown, left=True)]
    tables.print_table(tables.Table(name, columns, [[name]], [name]), console)
    assert console.file.getvalue().count(shown) == 5
    assert shown.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_a_path_can_be_pasted_into_a_shell(name, tmp_path):
    argument = shown_names.as_argument(pathlib.Path(name))
    assert argument.isprintable()
    assert not argument.startswith("-")
    (tmp_path / name).mkdir(parents=True)
    command = f"cd {argument} && pwd"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path)
    assert done.stdout == os.fsencode(tmp_path.resolve() / name) + b"\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_as_it_is(name):
    axes = Figure().add_subplot()
    axes.plot([0, 1], [0, 1], label=shown_names.in_a_figure(name))
    axes.set_title(shown_names.in_a_figure(name))
    (text,) = axes.legend().get_texts()
    drawn, is_formula = text._preprocess_math(text.get_text())
    assert is_formula is False
    whole = shown_names.one_line(name)
    if len(whole) > shown_names.LONGEST_DRAWN:
        assert len(drawn) < len(whole)
        begin, _, end = drawn.partition(" … ")
        assert whole.startswith(begin)
        assert whole.endswith(end)
    else:
        assert drawn.removeprefix(" ") == whole


def sample(name):
    one = np.arange(3.0)
    curves = samples.Curves(one, np.stack([one, one]))
    return samples.Sample(
        name=name,
        env=name,
        seeds=np.arange(2),
        greedy=np.array([1.0, 2.0]),
        steps_to_solve=np.array([5.0, np.nan]),
        env_steps=np.array([9.0, 9.0]),
        solved_return=1.5,
        curves=curves,
    )


@pytest.mark.parametrize("name", ["_hidden", "$x^$", "$\\frac$ _", "政策"])
def test_every_figure_shows_every_name(name, tmp_path, recwarn):
    both = [sample(name), sample(f"{name}2")._replace(env=name)]
    for title, draw in figures.chosen(both).items():
        figure = draw()
        (legend,) = figure.legends
        labels = [text.get_text().replace(r"\$", "$") for text in legend.get_texts()]
        assert [label.strip() for label in labels] == [f"{name} (2)", f"{name}2 (2)"]
        save(figure, tmp_path / f"{title}.png")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


@pytest.mark.parametrize("name", ["_a", "$b$", "c d"])
def test_swept_settings_are_drawn_as_they_are(name):
    swept = [sample("x")._replace(settings={name: x}) for x in ("1", name)]
    (axes,) = figures.chosen(swept)["settings"]().axes
    texts = [axes.get_xlabel(), *(x.get_text() for x in axes.get_xticklabels())]
    shown = [text.replace(r"\$", "$").strip() for text in texts]
    assert shown == [name.replace("_", " ").strip(), "1", name]


def test_what_is_waited_for_is_no_markup():
    reporter = Reporter()
    reporter._live = True
    reporter.console = output.console(file=io.StringIO(), force_terminal=True)
    with reporter.phase("reading [/x] :smile:", "read [/x] :smile:"):
        pass
    assert reporter.console.file.getvalue().count("read [/x] :smile: in") == 1


HARD = "_ [/x] $y^$ %s {} 'q\" <b>&\n\\ü :smile:"
TINY = ["--steps", "200", "--seeds", "1", "--num-envs", "2", "--hidden", "4"]
TINY += ["--eval-episodes", "2"]


def printed(arguments, capsys):
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr().out


def pasted(text, folder):
    """The arguments that a shell makes of the command after these words."""
    command = f"set -- {text}; printf '%s\\0' \"$@\""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder
    )
    return done.stdout.split("\0")[:-1]


def test_a_hard_name_goes_through_all_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = shown_names.one_line(HARD)
    out = printed(["train", *TINY, "--out", HARD], capsys)
    assert f"results in {shown} (" in out
    (hint,) = re.findall(r"next: (.*?)    pgjax render", out)
    assert pasted(hint, tmp_path) == ["pgjax", "evaluate", HARD]
    printed(pasted(hint, tmp_path)[1:], capsys)
    other = printed(["sweep", *TINY, "--learning-rate", "1e-3", "--out=--"], capsys)
    assert "results in -- (" in other
    table = printed(["compare", HARD, "./--", "--out", f"{HARD}2"], capsys)
    assert shown_names.one_line(f"{HARD}2/profile.png") in table
    assert shown in "".join(line.strip() for line in table.splitlines())
    printed(["report", HARD, "--out", "r.html"], capsys)
    page = (tmp_path / "r.html").read_text()
    assert "<b>&" not in page.replace("&amp;", "")
    assert markupsafe.escape(shown_names.one_line(HARD)) in page
    (command,) = re.findall(r"<pre>(pgjax.*?)</pre>", page) or [""]
    record = json.loads((tmp_path / HARD / "config.json").read_text())
    assert pasted(html.unescape(command), tmp_path) == record["command"]
    (tmp_path / HARD / "summary.json").unlink()
    assert main(["compare", HARD]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    (hint,) = re.findall(r"`(pgjax .*)` goes on", error)
    assert pasted(hint, tmp_path) == ["pgjax", "train", "--resume", HARD]


def code_of(arguments):
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("arguments", [["--out=--"], ["--out", "--"]])
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_two_dashes_are_a_name(command, arguments, monkeypatch):
    from pgjax.app.runs import start_and_resume as runs

    seen = []

    def note(*_, out, **__):
        seen.append(out)
        return None, 0

    monkeypatch.setattr(runs, "start", note)
    if arguments[0] == "--out":  # which ends the options
        with pytest.raises(SystemExit):
            main([command, *arguments])
    else:
        assert main([command, *arguments]) == 0
        assert seen == ["--"]


@pytest.mark.parametrize(
    "flag", ["preset", "env", "steps", "hidden", "log", "baseline"]
)
def test_two_dashes_are_a_wrong_value_of_others(flag, capsys):
    assert code_of(["train", f"--{flag}=--"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_errors_with_names_are_one_line(capsys):
    for arguments in (["evaluate", "a\nb"], ["train", "a\nb"], ["train", "--x\ny"]):
        assert code_of(arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_matplotlib_is_left_as_it_is():
    assert matplotlib.rcParams["text.parse_math"] is True  # log axes need it
