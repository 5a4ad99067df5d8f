"""Where progress is shown: a stub of IPython, and consoles that write to a text."""

import io
import sys
import types

import pytest
from rich.console import Console

from pgjax.app.runs import progress_displays as displays


@pytest.fixture
def outputs(monkeypatch):
    """What a notebook's cell shows: outputs in the order that they were made."""
    shown, counted = [], [0]

    class Handle:
        def __init__(self, place):
            self.place = place

        def update(self, data, raw):
            assert raw
            counted[0] += 1
            shown[self.place] = data

    def display(data, raw, display_id):
        assert raw
        assert display_id
        shown.append(data)
        return Handle(len(shown) - 1)

    stub = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=stub))
    monkeypatch.setitem(sys.modules, "IPython.display", stub)
    return shown, counted


def test_a_notebook_has_one_bar_that_is_updated(outputs, monkeypatch):
    shown, counted = outputs
    monkeypatch.setattr(displays.time, "perf_counter", iter(range(100)).__next__)
    with displays.open_display(Console(force_jupyter=True)) as display:
        for i in range(61):
            display.show(i / 60, f"<{i}>")
    (bar,) = shown
    assert bar["text/plain"] == "100% · <60>"
    assert 'value="1.0000"' in bar["text/html"]
    assert "&lt;60&gt;" in bar["text/html"]
    assert counted == [60]


def test_a_notebook_is_not_sent_more_than_a_person_sees(outputs, monkeypatch):
    shown, counted = outputs
    clock = (0.01 * i for i in range(10_000))
    monkeypatch.setattr(displays.time, "perf_counter", lambda: next(clock))
    bar = displays.NotebookBar()
    for i in range(1001):
        bar.show(i / 1000, str(i))
    assert counted[0] <= 51  # of ten seconds
    assert shown[0]["text/plain"] == "100% · 1000"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"force_jupyter": True}, displays.NotebookBar),
        ({"force_jupyter": True, "quiet": True}, displays.Lines),
        ({"force_terminal": True}, displays.TerminalBar),
        ({"force_terminal": True, "quiet": True}, displays.Lines),
        ({}, displays.Lines),
    ],
)
def test_each_place_has_its_own(options, kind, outputs):
    file = io.StringIO()
    with displays.open_display(Console(file=file, **options)) as display:
        assert type(display) is kind
        display.show(1.0, "all")
    assert ("all" in file.getvalue()) == (kind is not displays.NotebookBar) & (
        "quiet" not in options
    )


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(displays.time, "perf_counter", iter(range(100)).__next__)
    lines = displays.Lines(Console(file=file))
    for i in range(13):
        lines.show(i / 12, str(i))
    assert file.getvalue().split() == [
        "33%",
        "·",
        "4",
        "75%",
        "·",
        "9",
        "100%",
        "·",
        "12",
    ]
