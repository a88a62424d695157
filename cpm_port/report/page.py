"""The regression report as one HTML file: no scripts, no fonts, no other files; pictures are inside.

METRICS -> REPORT. What is on it, from the top: how many results still come out; the table of all of them, each row
opening to its numbers, source, command and inputs; slips that were recognised; curves as in the paper's figures 8
(MPII), 9 (LSP) and 12 (FLIC); bars per joint; the best and worst people; findings that are cited.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from cpm_port.evaluation.regress import Cell, RowOutcome
from cpm_port.evaluation.tables import Reference
from cpm_port.files.atomic import atomic_path
from cpm_port.report.plots import bars, cases, curves
from cpm_port.report.ranking import extreme_cases, pictured_cases
from cpm_port.report.scores import digits, headline, on_purpose, regress_summary, signed, slip_notes

__all__ = ["regress_page", "write_page"]

_FIGURES = (
    ("LSP", "Leeds Sports Poses, test images (as figure 9 of the paper)", ("lsp-pc",), "error / torso length"),
    ("MPII", "MPII validation (as figure 8, there on the test set)", ("mpii-official",), "error / head size"),
    (
        "FLIC",
        "FLIC, elbows and wrists (as figure 12)",
        ("flic-gt-torso", "flic-predicted-torso", "flic-torso-box"),
        "error / normalizer",
    ),
)
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto; max-width: 74rem;
  padding: 0 1.25rem; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.summary { font-size: 1.05rem; } .quiet { color: #666; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: left; border-bottom: 2px solid #222; padding: .3rem .55rem; }
td { border-bottom: 1px solid #e3e3e3; padding: .3rem .55rem; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; } td.w { white-space: nowrap; }
.pass { color: #20702f; } .fail { color: #b0282f; font-weight: 700; } .missing, .cited { color: #8a6d00; }
details summary { cursor: pointer; } details table { width: auto; margin: .4rem 0 .6rem; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0 1.4rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
li { margin: .25rem 0; }
"""


def write_page(path: Path, references: Sequence[Reference], outcomes: Sequence[RowOutcome]) -> None:
    """Write `regress_page` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(regress_page(references, outcomes), encoding="utf-8")


def regress_page(references: Sequence[Reference], outcomes: Sequence[RowOutcome]) -> str:
    """Return the whole page.

    Parameters
    ----------
    references : sequence of Reference
        For titles and findings.
    outcomes : sequence of RowOutcome
        `cpm_port.evaluation.regress.recompute(references, ...)`, and the default model's
        (`cpm_port.inference.remeasured`).
    """
    body = [
        "<h1>Reference results, recomputed</h1>",
        f'<p class="summary">{escape(regress_summary(outcomes))}</p>',
        '<p class="quiet">Percentages; a difference is measured less expected. A row opens to all of its numbers.</p>',
        _table(references, outcomes),
        _slips(outcomes),
        *_figures(outcomes),
        _findings(references),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>cpm-port regress</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(part for part in body if part) + "\n</body></html>\n"
    )


def _table(references: Sequence[Reference], outcomes: Sequence[RowOutcome]) -> str:
    by_id = {outcome.row.id: outcome for outcome in outcomes}
    lines = [
        '<table><thead><tr><th>result</th><th>protocol</th><th>number</th><th class="n">published</th>'
        '<th class="n">expected</th><th class="n">recomputed</th><th class="n">difference</th>'
        '<th class="n">tolerance</th><th>verdict</th></tr></thead><tbody>'
    ]
    for reference in references:
        if reference.rows:
            lines.append(f'<tr><td colspan="9"><strong>{escape(reference.title)}</strong></td></tr>')
        lines += [_table_row(by_id.pop(row.id)) for row in reference.rows]
    if by_id:
        lines.append('<tr><td colspan="9"><strong>The default model, measured from photographs</strong></td></tr>')
        lines += [_table_row(outcome) for outcome in by_id.values()]
    return "\n".join([*lines, "</tbody></table>"])


def _table_row(outcome: RowOutcome) -> str:
    row = outcome.row
    name, published, cell = headline(outcome)
    at = "" if row.threshold is None else f" @{row.threshold:g}"
    verdict = {"inputs missing": "missing"}.get(outcome.verdict, outcome.verdict)
    reason = f'<br><span class="quiet">{escape(outcome.reason)}</span>' if outcome.reason else ""
    cells = [
        f"<td>{_details(outcome)}</td>",
        f'<td class="w">{escape(row.protocol)}{at}</td>',
        f"<td>{escape(name)}</td>",
        f'<td class="n">{"" if published is None else digits(published)}</td>',
        f'<td class="n">{"" if cell is None else digits(cell.expected)}</td>',
        f'<td class="n">{"" if cell is None else f"{cell.measured:.3f}"}</td>',
        f'<td class="n">{"" if cell is None else signed(cell.difference, 3)}</td>',
        f'<td class="n">{"" if cell is None else f"{cell.tolerance:g}"}</td>',
        f'<td class="{verdict}">{escape(outcome.verdict)}{reason}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _details(outcome: RowOutcome) -> str:
    row = outcome.row
    inner = [f"<p>{escape(row.split)}. Source: {escape(row.source)}. Status: {escape(row.status)}.</p>"]
    if row.explanation:
        inner.append(f"<p>{escape(row.explanation)}</p>")
    for title, cells in (("published", outcome.published), ("target", outcome.cells)):
        if cells:
            inner.append(_cells(title, cells))
    if not outcome.cells and row.published:
        inner.append("<p>" + escape(", ".join(f"{name} {value:g}" for name, value in row.published.items())) + "</p>")
    if row.measured:
        hashes = "<br>".join(f"<code>{escape(n)} {escape(h)}</code>" for n, h in row.measured["inputs"].items())
        inner.append(f"<p>Recorded with <code>{escape(row.measured['command'])}</code> from<br>{hashes}</p>")
    return f"<details><summary>{escape(row.model)}</summary>{''.join(inner)}</details>"


def _cells(title: str, cells: Iterable[Cell]) -> str:
    rows = "".join(
        f'<tr><td>{escape(cell.name)}</td><td class="n">{cell.expected:g}</td><td class="n">{cell.measured:.3f}</td>'
        f'<td class="n">{signed(cell.difference, 3)}</td><td class="n">{cell.tolerance:g}</td>'
        f'<td class="{"pass" if cell.ok else "fail"}">{"ok" if cell.ok else "off"}</td></tr>'
        for cell in cells
    )
    head = f'<tr><th>{title}</th><th class="n">expected</th><th class="n">measured</th><th class="n">difference</th>'
    return f'<table>{head}<th class="n">tolerance</th><th></th></tr>{rows}</table>'


def _slips(outcomes: Sequence[RowOutcome]) -> str:
    notes = slip_notes(outcomes)
    if not notes:
        return ""
    return "<h2>Slips that these scores show</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul>"


def _figures(outcomes: Sequence[RowOutcome]) -> list[str]:
    measured = [o for o in outcomes if o.measurement is not None and not on_purpose(o)]
    real = [o for o in measured if o.row.status == "recomputed"]
    parts = []
    for name, title, protocols, axis in _FIGURES:
        group = [o for o in (real or measured) if o.row.protocol in protocols]
        shown: dict[str, RowOutcome] = {}
        for outcome in group:
            label = outcome.row.model if len(protocols) == 1 else outcome.row.protocol
            shown.setdefault(label, outcome)
        if shown:
            parts.append(f"<h2>{escape(title)}</h2>")
            parts += _pictures(name, shown, axis)
    return parts


def _pictures(name: str, shown: dict[str, RowOutcome], axis: str) -> list[str]:
    lines = {label: o.measurement.curve() for label, o in shown.items() if o.measurement}
    joints = {label: o.measurement.result().joints for label, o in shown.items() if o.measurement}
    first = next(iter(shown.values()))
    pictures = [
        _svg(curves(f"{name}: detection rate over distance", axis, lines), f"{name}: curves"),
        _svg(bars(f"{name}: every joint at the protocol's threshold", joints), f"{name}: bars per joint"),
    ]
    if first.measurement is not None and first.predictions is not None and first.truth is not None:
        sides = (first.measurement, first.predictions, first.truth)
        model = first.row.model
        for title, people in (
            (f"{name}, {model}: people whose image is here, best to worst", pictured_cases(*sides)),
            (f"{name}, {model}: the best people (above) and the worst (below)", extreme_cases(*sides)),
        ):
            if people:
                pictures.append(_image(cases(title, people), "png", title))
    return pictures


def _svg(content: bytes, label: str) -> str:
    return _image(content, "svg+xml", label)


def _image(content: bytes, kind: str, label: str) -> str:
    return f'<img alt="{escape(label)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def _findings(references: Sequence[Reference]) -> str:
    facts = [fact for reference in references for fact in reference.facts]
    if not facts:
        return ""
    items = "".join(f'<li>{escape(f.statement)} <span class="quiet">{escape(f.source)}.</span></li>' for f in facts)
    return f"<h2>Findings that are cited</h2><ul>{items}</ul>"
