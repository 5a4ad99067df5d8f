"""`pgjax report`: one HTML file that holds all it shows, and needs no network."""

from __future__ import annotations

import datetime
import html
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

import pgjax
from pgjax.app.analysis import comparison_figures, score_tables
from pgjax.app.analysis.compare import load_all
from pgjax.app.analysis.learning_curve import save
from pgjax.app.analysis.samples import Sample
from pgjax.app.errors import UsageError
from pgjax.app.runs import run_record
from pgjax.app.shown_names import in_html, one_line, quoted

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
NOTES = (
    "<b>Agents</b> differ in their seeds only, and every interval is over agents.",
    "<b>Returns</b> are each agent's mean over complete episodes of its final greedy "
    "policy. Agents that diverged are told beside their number, left out of means and "
    "counted as worst in comparisons.",
    "<b>IQM</b> is the mean of the middle half of the agents: less swayed by a few "
    "than the mean, and by more of them than the median (Agarwal et al., 2021).",
    "<b>Steps to solve</b>: environment steps until the mean return of 100 training "
    "episodes exceeds the level. Unsolved agents are right-censored.",
    "<b>P(better)</b> is the probability that an agent of one sample has a higher "
    "return than one of the other, ties halved (Mann and Whitney).",
)
STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --wash: #f6f8fa; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
p.lead, figcaption, .caption { color: var(--soft); }
figcaption, .caption { font-size: .85rem; margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th { text-align: right; vertical-align: bottom; font-weight: 600; white-space: pre;
  border-bottom: 2px solid var(--ink); padding: .35rem .7rem; }
td { text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  padding: .4rem .7rem; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0;
  white-space: normal; }
td small { color: var(--soft); display: block; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; }
.grid { display: grid; gap: 2rem 1.6rem; grid-template-columns:
  repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.note { background: var(--wash); border-left: 4px solid #E69F00; border-radius: 4px;
  padding: .7rem 1rem; margin: 1.2rem 0; }
pre { background: var(--wash); border-radius: 4px; padding: .7rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
ul { padding-left: 1.1rem; } li { margin: .3rem 0; font-size: .92rem; }
details summary { cursor: pointer; color: var(--soft); }
@media print { body { max-width: none; padding: 0; } .grid { display: block; } }
"""


def report(runs: Sequence[str], *, out: str) -> int:
    """Writes the report of runs and sweeps of one environment.

    Args:
      runs: directories.
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
    env = in_html(samples[0].env)
    title = f"{env}: {seeds:,} agents, {len(samples)} settings"
    today = datetime.date.today().isoformat()
    body = [
        f"<h1>{title}</h1>",
        f'<p class="lead">Made by pgjax {pgjax.__version__} on {today} from '
        f"{in_html(', '.join(runs))}.</p>",
        "<h2>Scores</h2>",
        *(
            f'<p class="note">{html.escape(told)}</p>'
            for told in [score_tables.differences(samples)]
            if told
        ),
        _table(score_tables.scores(samples, full=True)),
        "<h2>Figures</h2>",
        '<div class="grid">',
        *(
            f"<figure>{_svg(comparison_figures.figure_of(fill, samples))}"
            f"<figcaption>{CAPTIONS[name]}</figcaption></figure>"
            for name, fill in comparison_figures.chosen(samples).items()
        ),
        "</div>",
    ]
    if len(samples) > 1:
        against = score_tables.against_the_first(samples)
        body += [
            f"<h2>Compared {in_html(against.title)}</h2>",
            _table(against),
            f'<p class="note">{html.escape(score_tables.caveat(samples))}</p>',
        ]
    body += ["<h2>How to read this</h2>", "<ul>"]
    body += [f"<li>{note}</li>" for note in NOTES]
    body += ["</ul>", "<h2>How it was made</h2>"]
    for run, record in zip(runs, records, strict=True):
        body += _origin(run, record)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _table(table: score_tables.Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
        f'<p class="caption">{html.escape(table.caption)}</p>'
    )


def _cell(text: str) -> str:
    first, _, second = html.escape(text).partition("\n")
    return f"{first}<small>{second}</small>" if second else first


def _svg(figure: Figure) -> str:
    """The figure as an element of the page."""
    file = io.StringIO()
    save(figure, file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :]


def _origin(run: str, record: dict[str, Any]) -> list[str]:
    """How a run was made: its command, when, with what, and every setting."""
    versions = record.get("versions", {})
    facts = [
        f"started {record.get('started', 'at an unknown time')}",
        _devices(record.get("devices", [])),
        f"Python {record.get('python', '?')}",
        *(f"{name} {version}" for name, version in versions.items() if version),
    ]
    settings = record["sweep"] if "sweep" in record else record.get("config", {})
    lines = [f"{name}: {value}" for name, value in settings.items()]
    command = " ".join(map(quoted, record.get("command", [])))
    return [
        f"<p><b>{in_html(run)}</b>: {in_html('; '.join(facts))}.</p>",
        f"<pre>{html.escape(command)}</pre>",
        "<details><summary>all settings</summary><pre>"
        f"{chr(10).join(map(in_html, lines))}</pre></details>",
    ]


def _devices(kinds: list[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
