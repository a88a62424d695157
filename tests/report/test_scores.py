"""Scores as text: the published row beside the measured one, differences, verdicts, recognised slips.

Oracle: outcomes built by hand and from the synthetic set that ships.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.reference import load_all, load_file
from cpm_port.evaluation.regress import recompute
from cpm_port.evaluation.tables import Inputs, Row, reference_dir
from cpm_port.report.scores import digits, evaluation_table, headline, regress_summary, regress_table, signed
from tests.evaluation.support import drawn_case


def _row(**changes: object) -> Row:
    row = Row(
        "x", "model", "test", "lsp-pc", 0.2, "recomputed", {"total": 99.0}, "src", {"Head": 50.0, "auc": 40.0}, 0.01,
        Inputs("p", "t"), {}, "",
    )  # fmt: skip
    return replace(row, **changes)


def test_published_and_recomputed_rows_stand_beside_the_measured_one() -> None:
    result = measure(protocol_named("lsp-pc"), *drawn_case("lsp-pc", count=20, sigma=0)).result()
    lines = evaluation_table(result, [_row()]).splitlines()
    assert lines[0] == "lsp-pc @0.2"
    assert lines[1].split() == ["Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank", "total", "auc"]
    assert lines[3].split() == ["measured"] + ["100.00"] * 9
    assert lines[4].split() == ["published:", "model", "99.00"]
    assert lines[5].split() == ["difference", "+1.00"]
    assert lines[6].split() == ["recomputed:", "model", "50.00", "40.00"]
    assert lines[7].split() == ["difference", "+50.00", "+60.00"]
    assert lines[8].startswith("hits: total 280/280; Head 40/40")
    assert "95 % intervals" not in "\n".join(lines)


def test_the_measured_row_has_as_many_decimals_as_the_reference() -> None:
    result = measure(protocol_named("lsp-pc"), *drawn_case("lsp-pc", count=20, sigma=0)).result()
    line = evaluation_table(result, [_row(target={"total": 99.125, "auc": 40.0})]).splitlines()[3]
    assert line.split() == ["measured"] + ["100.00"] * 7 + ["100.000", "100.00"]


def test_intervals_and_what_the_protocols_own_code_prints_are_shown() -> None:
    result = measure(protocol_named("mpii-msra"), *drawn_case("mpii-msra", count=20, sigma=5)).result(bootstrap_seed=0)
    text = evaluation_table(result, [])
    assert "95 % intervals: total " in text
    assert "Mean@0.1 as printed (threshold 0.11): " in text


def test_numbers_keep_the_digits_that_matter() -> None:
    assert [digits(v) for v in (90.5, 97.195, 84.321, 0.0)] == ["90.50", "97.195", "84.321", "0.00"]
    assert [signed(v, 2) for v in (0.004, -0.004, -0.006, 1.0)] == ["+0.00", "+0.00", "-0.01", "+1.00"]


def test_the_table_of_what_ships_has_a_line_per_row_with_its_verdict() -> None:
    references = load_all()
    outcomes = recompute(references, None)
    text = regress_table(outcomes)
    rows = [row for reference in references for row in reference.rows]
    for row in rows:
        assert sum(line.startswith(f"{row.id} ") for line in text.splitlines()) == 1
    line = next(line for line in text.splitlines() if line.startswith("synthetic/lsp-pc"))
    assert line.split() == ["synthetic/lsp-pc", "total", "92.262", "92.262", "+0.000", "1e-05", "pass"]
    assert regress_summary(outcomes).startswith("7 pass, 0 fail, 27 inputs missing, 4 cited (")


def test_a_failure_shows_the_number_that_is_furthest_off_and_why() -> None:
    reference = load_file(reference_dir() / "synthetic.json")
    broken = replace(reference.rows[0], target={**reference.rows[0].target, "Elb": 10.0, "Wri": 60.0})
    outcomes = recompute([replace(reference, rows=(broken,))], None)
    name, published, cell = headline(outcomes[0])
    assert (name, published) == ("Elb", None)
    assert cell is not None
    assert not cell.ok
    assert "fail: synthetic/lsp-pc: Elb" in regress_table(outcomes)
    assert "expected 10; Wri" in regress_table(outcomes)


@pytest.mark.parametrize("slip", ["off by one pixel", "left-right swap"])
def test_a_slip_on_purpose_is_noted_as_such(slip: str) -> None:
    reference = load_file(reference_dir() / "synthetic.json")
    row = reference.rows[0]
    spoilt = replace(row, inputs=replace(row.inputs, slip=slip), target={"total": 0.0})
    text = regress_table(recompute([replace(reference, rows=(spoilt,))], None))
    assert "fail" in text
    if slip == "left-right swap":
        assert "note: synthetic lsp: left-right swap" in text
        assert "recorded on purpose" in text
