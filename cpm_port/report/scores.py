"""Scores as text: the measured row beside the published ones, and the table of all reference results.

METRICS -> REPORT. Percentages with two decimals, or three beside a reference that has three; a difference is measured
less published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cpm_port.evaluation.regress import Cell, RowOutcome
from cpm_port.evaluation.scores import ProtocolResult, Score
from cpm_port.evaluation.tables import Row
from cpm_port.report.table import table

__all__ = [
    "digits",
    "evaluation_table",
    "headline",
    "on_purpose",
    "regress_summary",
    "regress_table",
    "signed",
    "slip_notes",
    "views_table",
]


def evaluation_table(result: ProtocolResult, references: Sequence[Row], people: str = "") -> str:
    """Return one result beside reference rows, each followed by the difference.

    Parameters
    ----------
    result : ProtocolResult
        What was measured.
    references : sequence of Row
        Of the same protocol and threshold. Their published values are shown as published, the other numbers of their
        targets as recomputed from the same files, or as recorded of the same model.
    people : str
        Which people were scored, where it is not everybody.
    """
    columns = [*result.parts, "total", "auc"]
    rows = [["", *columns], ["measured", *(_cell(result, column, references) for column in columns)]]
    for row in references:
        again = "recorded" if row.status == "measured here" else "recomputed"
        for title, values in (("published", row.published), (again, row.target)):
            if values:
                rows.append([f"{title}: {row.model}", *(_number(values.get(c)) for c in columns)])
                rows.append(["  difference", *(_difference(result, values, c) for c in columns)])
    right = range(1, len(columns) + 1)
    title = f"{result.protocol} @{result.threshold:g}" + (f": {people}" if people else "")
    lines = [title, *table(rows, right=list(right))]
    counts = ", ".join(f"{name} {score.hits}/{score.count}" for name, score in result.parts.items())
    lines.append(f"hits: total {result.total.hits}/{result.total.count}; {counts}")
    for row in references:
        if row.status == "measured here" and "total hits" in row.target:
            same = "the same" if row.target["total hits"] == result.total.hits else "NOT THE SAME"
            lines.append(f"recorded: {row.model}: total {row.target['total hits']:g}/{result.total.count}: {same}")
    if result.total.interval is not None:
        lines.append("95 % intervals: " + ", ".join(_intervals(result)))
    lines += [f"{name}: {score.percent:.2f}" for name, score in result.extras.items()]
    return "\n".join(lines)


def views_table(views: Mapping[str, ProtocolResult]) -> str:
    """Return a row per viewpoint: where its people face, their joints, and the score by column."""
    first = next(iter(views.values()))
    rows = [["facing", "joints", *first.parts, "total"]]
    for name, result in views.items():
        scores = [*result.parts.values(), result.total]
        rows.append([name, str(result.total.count), *(f"{score.percent:.2f}" for score in scores)])
    return "\n".join(table(rows, right=list(range(1, len(rows[0])))))


def regress_table(outcomes: Sequence[RowOutcome]) -> str:
    """Return one line per reference result, the reasons of those that did not pass, and the slips that were recognised.

    A line shows one number of its row: the one furthest off where some are, else the total, else the first. "published"
    is what was printed elsewhere; "expected" is what recomputing must give, within the tolerance.
    """
    rows = [["result", "number", "published", "expected", "recomputed", "difference", "tolerance", "verdict"]]
    for outcome in outcomes:
        name, published, cell = headline(outcome)
        rows.append(
            [
                outcome.row.id,
                name,
                _number(published),
                "" if cell is None else digits(cell.expected),
                "" if cell is None else f"{cell.measured:.3f}",
                "" if cell is None else signed(cell.difference, 3),
                "" if cell is None else f"{cell.tolerance:g}",
                outcome.verdict,
            ]
        )
    lines = table(rows, right=[2, 3, 4, 5, 6])
    for outcome in outcomes:
        if outcome.verdict == "fail" or (outcome.verdict == "pass" and outcome.reason):
            lines.append(f"{outcome.verdict}: {outcome.row.id}: {outcome.reason}")
    lines += [f"note: {note}" for note in slip_notes(outcomes)]
    return "\n".join(lines)


def slip_notes(outcomes: Sequence[RowOutcome]) -> list[str]:
    """Return one sentence per model and slip that was recognised, with the rows that show it."""
    groups: dict[tuple[str, str, bool], list[tuple[str, str]]] = {}
    for outcome in outcomes:
        for diagnosis in outcome.diagnoses:
            key = (outcome.row.model, diagnosis.slip, on_purpose(outcome))
            groups.setdefault(key, []).append((outcome.row.id, str(diagnosis)))
    notes = []
    for (model, _, purpose), found in groups.items():
        rows = ", ".join(row for row, _ in found)
        notes.append(f"{model}: {found[0][1]} ({rows}{'; recorded on purpose' if purpose else ''})")
    return notes


def on_purpose(outcome: RowOutcome) -> bool:
    """Whether the row records the score of a slip."""
    inputs = outcome.row.inputs
    return inputs is not None and (inputs.slip is not None or inputs.centric is not None)


def regress_summary(outcomes: Sequence[RowOutcome]) -> str:
    """Return how many passed, failed, had no inputs, or are only cited, and how many numbers that are."""
    verdicts = [outcome.verdict for outcome in outcomes]
    numbers = sum(len(outcome.cells) for outcome in outcomes)
    return (
        f"{verdicts.count('pass')} pass, {verdicts.count('fail')} fail, "
        f"{verdicts.count('inputs missing')} inputs missing, {verdicts.count('cited')} cited "
        f"({numbers} numbers recomputed)"
    )


def headline(outcome: RowOutcome) -> tuple[str, float | None, Cell | None]:
    """Return the number that stands for a row: its name, its published value, and what came out."""
    failed = [cell for cell in (*outcome.cells, *outcome.published) if not cell.ok]
    if failed:
        cell = max(failed, key=lambda c: abs(c.difference))
        return cell.name, outcome.row.published.get(cell.name), cell
    values = {**outcome.row.target, **outcome.row.published}
    name = "total" if "total" in values else next(iter(values))
    found = next((cell for cell in (*outcome.cells, *outcome.published) if cell.name == name), None)
    return name, outcome.row.published.get(name), found


def digits(value: float) -> str:
    """Return a percentage with two decimals, or three where it has them."""
    text = f"{value:.3f}"
    return text[:-1] if text.endswith("0") else text


def signed(value: float, decimals: int) -> str:
    """Return a difference with its sign; one that rounds to nothing is +0."""
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def _cell(result: ProtocolResult, column: str, references: Sequence[Row]) -> str:
    """Return the measured value with as many decimals as any reference has, two at least."""
    value = result.auc if column == "auc" else _score(result, column).percent
    if value is None:
        return ""
    shown = [digits(values[column]) for row in references for values in (row.published, row.target) if column in values]
    return f"{value:.{max((len(text.partition('.')[2]) for text in shown), default=2)}f}"


def _score(result: ProtocolResult, column: str) -> Score:
    return result.total if column == "total" else result.parts[column]


def _number(value: float | None) -> str:
    return "" if value is None else digits(value)


def _difference(result: ProtocolResult, values: Mapping[str, float], column: str) -> str:
    if column not in values:
        return ""
    measured = result.auc if column == "auc" else _score(result, column).percent
    return "" if measured is None else signed(measured - values[column], 2)


def _intervals(result: ProtocolResult) -> list[str]:
    named = {"total": result.total, **result.parts}
    return [
        f"{name} {score.interval.low:.2f} to {score.interval.high:.2f}"
        for name, score in named.items()
        if score.interval
    ]
