"""`pgjax report`: one HTML file that holds all it shows, and needs no network."""

from __future__ import annotations

import datetime
import io
import pathlib
from collections.abc import Sequence

import jinja2
from matplotlib.figure import Figure

import pgjax
from pgjax.app.analysis import comparison_figures, score_tables
from pgjax.app.analysis.compare import load_all
from pgjax.app.analysis.learning_curve import save
from pgjax.app.analysis.samples import Sample
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.shown_names import one_line, quoted

CAPTIONS = {
    "learning_curves": "Mean return of an agent's last 100 training episodes: "
    "interquartile mean (IQM) over agents, with a pointwise 95% bootstrap band. An "
    "agent that stopped early keeps its last value.",
    "time_to_solve": "The share of agents that have solved the task, by Kaplan and "
    "Meier's estimate, with a pointwise 95% band (log-log). Agents that had not solved "
    "it when they stopped are censored there, not dropped.",
    "profile": "For each level, the share of trained agents whose greedy policy's mean "
    "return is above it, with a pointwise 95% bootstrap band. A curve that stays high "
    "to the right is better.",
    "settings": "What a setting does: IQM over agents, with its 95% bootstrap "
    "interval, at each of its values.",
}


def report(runs: Sequence[str], *, out: str = "report.html") -> int:
    """Writes what `pgjax compare` prints and draws, with every setting, into one file.

    It is HTML that needs no network.

    Args:
      runs: directories of runs of one environment.
      out: the file to write.

    Raises:
      UsageError: for what is no finished run, runs of several environments, or a file
        that cannot be written.
    """
    samples = load_all(runs)
    path = pathlib.Path(out)
    text = page(runs, samples)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    print(f"{one_line(path)} ({len(text) / 1e6:.1f} MB): open it in a browser")
    return 0


def page(runs: Sequence[str], samples: list[Sample]) -> str:
    """The whole document."""
    records = [run_record.load_record(pathlib.Path(run)) for run in runs]
    seeds = sum(len(sample.seeds) for sample in samples)
    several = len(samples) > 1
    template = pathlib.Path(__file__).with_name("report.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(template).render(
        title=f"{samples[0].env}: {seeds:,} agents, {len(samples)} settings",
        version=pgjax.__version__,
        today=datetime.date.today().isoformat(),
        runs=one_line(", ".join(runs)),
        differences=score_tables.differences(samples),
        scores=score_tables.scores(samples, full=True),
        figures=[
            (_svg(comparison_figures.figure_of(fill, samples)), CAPTIONS[name])
            for name, fill in comparison_figures.chosen(samples).items()
        ],
        against=score_tables.against_the_first(samples) if several else None,
        caveat=score_tables.caveat(samples) if several else "",
        origins=list(map(_origin, runs, records)),
    )


def _svg(figure: Figure) -> str:
    """The figure as an element of the page."""
    file = io.StringIO()
    save(figure, file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :]


def _origin(run: str, record: run_record.Record) -> dict[str, str]:
    """How a run was made: its command, when, with what, and every setting."""
    request, content = record.request, record.content
    versions, kinds = content.get("versions", {}), content.get("devices", [])
    facts = [
        f"started {content.get('started', 'at an unknown time')}",
        ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)),
        f"Python {content.get('python', '?')}",
        *(f"{name} {version}" for name, version in versions.items() if version),
    ]
    about = {"algorithm": request.algorithm, "preset": request.preset}
    settings = about | request.grid | request.settings
    return {
        "run": one_line(run),
        "facts": one_line("; ".join(facts)),
        "command": " ".join(map(quoted, content.get("command", []))),
        "settings": "\n".join(one_line(f"{k}: {x}") for k, x in settings.items()),
    }
