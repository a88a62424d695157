"""Regressions are seen: what ships passes, a changed target or file fails, absent inputs are named.

Oracles: the shipped synthetic rows (known by construction), and changes that the tests make.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cpm_port.evaluation.reference import load_all, load_file
from cpm_port.evaluation.regress import outcome_json, recompute, record
from cpm_port.evaluation.tables import Reference, reference_dir


@pytest.fixture
def synthetic(tmp_path: Path) -> Reference:
    """Return a copy of the synthetic reference that a test may change."""
    shutil.copytree(reference_dir() / "embedded", tmp_path / "embedded")
    shutil.copy(reference_dir() / "synthetic.json", tmp_path)
    return load_file(tmp_path / "synthetic.json")


def test_what_ships_passes_without_any_data() -> None:
    outcomes = recompute(load_all(), None)
    verdicts = {outcome.row.id: outcome.verdict for outcome in outcomes}
    own = [verdict for name, verdict in verdicts.items() if name.startswith("synthetic/")]
    assert own == ["pass"] * 7
    assert verdicts["lsp-pc/LSP_6s@0.2"] == "inputs missing"
    assert verdicts["mpii-test/CPM"] == "cited"
    assert "fail" not in verdicts.values()


def test_a_target_that_is_off_by_its_tolerance_fails(synthetic: Reference) -> None:
    row = synthetic.rows[0]
    for target in ({"total": row.target["total"] + 2e-5}, {"total hits": row.target["total hits"] + 1}):
        (outcome,) = recompute([replace(synthetic, rows=(replace(row, target=target),))], None)
        assert outcome.verdict == "fail"
        assert next(iter(target)) in outcome.reason


def test_one_changed_coordinate_fails_and_the_file_is_no_longer_the_recorded_one(synthetic: Reference) -> None:
    path = synthetic.file.parent / "embedded/lsp.json"
    content = json.loads(path.read_text())
    content["predicted"][0][0][0] += 500
    path.write_text(json.dumps(content))
    outcome = recompute([synthetic], None)[0]
    assert outcome.verdict == "fail"
    assert "embedded/lsp.json is not the recorded file" in outcome.reason


def test_a_file_that_cannot_be_read_fails_with_its_error(synthetic: Reference) -> None:
    (synthetic.file.parent / "embedded/lsp.json").write_text("{")
    outcome = recompute([synthetic], None)[0]
    assert outcome.verdict == "fail"
    assert "not a synthetic set" in outcome.reason


def test_recording_writes_counts_and_hashes_of_what_passed_alone(synthetic: Reference) -> None:
    bad = replace(synthetic.rows[0], target={"total": 1.0})
    outcomes = recompute([replace(synthetic, rows=(bad, *synthetic.rows[1:]))], None)
    content = json.loads(synthetic.file.read_text())
    for row in content["rows"]:
        row.pop("measured", None)
    synthetic.file.write_text(json.dumps(content))
    bare = load_file(synthetic.file)
    assert record([bare], outcomes, None) == [synthetic.file]
    recorded = load_file(synthetic.file)
    assert recorded.rows[0].measured == {}
    assert recorded.rows[1].measured["counts"]["total"][0] == recorded.rows[1].target["total hits"]
    assert recorded.rows[1].measured["inputs"].keys() == {"embedded/flic.json"}


def test_an_outcome_as_json_names_every_number() -> None:
    outcome = next(o for o in recompute(load_all(), None) if o.row.id == "synthetic/lsp-pc")
    content = json.loads(json.dumps(outcome_json(outcome)))
    assert content["verdict"] == "pass"
    assert content["target"]["total"]["ok"] is True
    assert content["measured"]["total"]["hits"] == outcome.row.target["total hits"]


def test_every_number_of_the_published_tables_comes_out(shared: Path) -> None:
    outcomes = recompute(load_all(), shared)
    wrong = [f"{o.row.id}: {o.verdict} {o.reason}" for o in outcomes if o.verdict not in ("pass", "cited")]
    assert wrong == []
    assert all(o.row.id.startswith("mpii-test/") for o in outcomes if o.verdict == "cited")
    slips = {o.row.id: [d.slip for d in o.diagnoses] for o in outcomes if o.row.id.startswith("lsp-")}
    assert slips.pop("lsp-slips/LSP_6s-off-by-one") == ["off by one pixel"]
    assert slips.pop("lsp-slips/MPII_LSP_6s-off-by-one") == ["off by one pixel"]
    assert slips.pop("lsp-slips/LSP_6s-observer-centric") == ["observer-centric labels"]
    assert slips.pop("lsp-slips/MPII_LSP_6s-observer-centric") == ["observer-centric labels"]
    assert set(map(tuple, slips.values())) == {()}
    normalizers = {
        o.row.id: [d.slip for d in o.diagnoses] for o in outcomes if o.row.id.startswith("flic-") and "@0.2" in o.row.id
    }
    assert normalizers == {
        "flic-gt-torso/FLIC_4s@0.2": [],
        "flic-predicted-torso/FLIC_4s@0.2": ["wrong normalizer"],
        "flic-torso-box/FLIC_4s@0.2": ["wrong normalizer"],
    }
