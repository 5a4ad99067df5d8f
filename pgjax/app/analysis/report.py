"""`pgjax report`: one HTML file that holds all it shows, and needs no network."""

from __future__ import annotations

import datetime
import html
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from matplotlib.figure import Figure

import pgjax
from pgjax.app import tables
from pgjax.app.analysis import environments, figures, score_tables
from pgjax.app.analysis.compare import one_environment
from pgjax.app.analysis.learning_curve import save
from pgjax.app.analysis.ranking import SortBy
from pgjax.app.analysis.samples import Sample
from pgjax.app.analysis.selection import load_all
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.runs.progress import plural
from pgjax.app.shown_names import one_line, quoted
from pgjax.app.tables import Table

CAPTIONS = {
    "settings": "What each setting does by itself: the mean return at each of its "
    "values, over all values of the others, with a 95% bootstrap interval over agents "
    "where each combination has 6 that have not diverged, and none elsewhere. A "
    "combination whose agents all diverged is left out. A grey dot is one combination, "
    "or where one setting varies, one agent.",
    "importance": "Which settings matter: the share of the variance of agents' returns "
    "that each setting explains by itself, that settings explain together only, and "
    "that is left to chance, between seeds of the same settings (epsilon squared). "
    "Where a combination has one agent only, what settings explain together cannot be "
    "told from chance.",
    "pair": "The two settings that matter most: the mean return at each pair of "
    "values.",
    "learning_curves": "Mean return of an agent's last 100 training episodes: "
    "interquartile mean (IQM) over agents, with a pointwise 95% bootstrap band. From "
    "where the first agent has stopped, having solved the task, the line is dotted and "
    "has no band: agents that stopped keep their last value. Agents that diverged are "
    "left out.",
    "time_to_solve": "The share of agents that have solved the task, by Kaplan and "
    "Meier's estimate, with a pointwise 95% band from the first on (log-log; once "
    "all have, Clopper and Pearson's). Agents that had not solved it when they stopped "
    "are censored there, not dropped.",
    "profile": "For each level, the share of trained agents whose greedy policy's mean "
    "return is above it, with a pointwise 95% bootstrap band. A curve that stays high "
    "to the right is better. Agents that diverged are left out.",
    "normalized_profile": "For each level of the normalised score, the share of agents "
    "above it, averaged over environments, with a pointwise 95% bootstrap band. A "
    "curve that stays high to the right is better. Agents that diverged are left out.",
}
TOP = 10  # rows that stand open, where there are more


def report(
    runs: Sequence[str],
    *,
    where: dict | None = None,
    sort_by: SortBy | None = None,
    against: tuple[str, ...] = (),
    normalize: str | None = None,
    out: str = "report.html",
) -> int:
    """Writes what `pgjax compare` prints and draws, with every setting, into one file.

    It is HTML that needs no network.

    Args:
      runs: directories of runs, and of studies.
      where: only those with these settings, such as lam=0.95 or env=CartPole-v1.
      sort_by: best first, by this score (default: in the order of the grid); of
        several environments, iqm or mean.
      against: what the others are compared with: a run, settings such as lam=0.95, or
        best (default: the first); of several environments, a method, too.
      normalize: a TOML file with a random and a reference score of each environment, to
        compare across environments (default: pgjax's own).
      out: the file to write.

    Raises:
      UsageError: for what cannot be compared, or not be written.
    """
    samples = load_all(runs, where)
    path = pathlib.Path(out)
    text = page(
        runs,
        samples,
        sort_by=sort_by,
        against=against,
        normalize=normalize,
        where=where,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    print(f"{one_line(path)} ({len(text) / 1e6:.1f} MB): open it in a browser")
    return 0


def page(
    runs: Sequence[str],
    samples: list[Sample],
    *,
    sort_by: str | None = None,
    against: Sequence[str] = (),
    normalize: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> str:
    """The whole document."""
    made = list(dict.fromkeys(sample.run for sample in samples))
    records = [run_record.load_record(pathlib.Path(run)) for run in made]
    seeds = sum(len(sample.seeds) for sample in samples)
    envs = sorted({sample.env for sample in samples})
    found, told = _tables(samples, sort_by, against, normalize)
    only = " ".join(f"{name}={value}" for name, value in (where or {}).items())
    template = pathlib.Path(__file__).with_name("report.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    drawn = figures.chosen(samples, normalize=normalize, by=sort_by or "iqm")
    return environment.from_string(template).render(
        title=f"{', '.join(envs)}: {plural(seeds, 'agent')}, "
        f"{plural(len(samples), 'setting')}",
        version=pgjax.__version__,
        today=datetime.date.today().isoformat(),
        runs=one_line(", ".join(runs)),
        only=one_line(only),
        differences=score_tables.differences(samples),
        tables=[_shown(table) for table in found],
        told=told,
        figures=[
            (_svg(figure(), name), caption_of(name)) for name, figure in drawn.items()
        ],
        origins=list(map(_origin, made, records)),
    )


def caption_of(name: str) -> str:
    """What is to be known of a figure; of one among several environments, its name."""
    kind, _, env = name.partition("-")
    return f"{env}. {CAPTIONS[kind]}" if env else CAPTIONS[kind]


def _tables(
    samples: list[Sample],
    sort_by: str | None,
    against: Sequence[str],
    normalize: str | None,
) -> tuple[list[Table], list[str]]:
    if len({sample.env for sample in samples}) > 1:
        found = environments.tables(samples, normalize, against, sort_by)
        return found, environments.best(samples, normalize, sort_by or "iqm")
    environments.refuse_scale(samples, normalize)
    found, _, told = one_environment(samples, sort_by, against)
    return found, told


def _shown(table: Table) -> dict[str, Any]:
    """A table as text for the page: the first rows open, more of them on demand."""
    table, same = tables.varying(table)
    rows = tables.texts(table)
    more = len(rows) > TOP + 2
    return {
        "title": table.title,
        "same": same,
        "columns": table.columns,
        "rows": rows[:TOP] if more else rows,
        "more": rows[TOP:] if more else [],
        "notes": table.notes,
    }


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element of the page, with a name for who cannot see it."""
    file = io.StringIO()
    save(figure, file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    words = html.escape(name.replace("_", " "))
    return svg.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)


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
