"""Claim: the shipped model hits what its record says, to the last joint; fewer hits, and what is missing, are told.

Oracles: `reference_results/default_model.json`; a record of the test's own about people whose joints are made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpm_port.annotations.samples import Person, Sample
from cpm_port.cli import main
from cpm_port.errors import MissingFileError
from cpm_port.evaluation.run import Subject
from cpm_port.evaluation.truth import Truth
from cpm_port.inference import remeasured
from cpm_port.parts import LSP14, Convention, Joints
from cpm_port.predictions.values import Predictions

PEOPLE = 8
"""Of each data set: some seconds."""

HITS = [14, 13, 12]
"""Of three people: the first is found whole, of the others one joint and two are far off."""


def made_up(limit: int | None) -> Subject:
    """Return what a model found of the three people."""
    truth = np.random.default_rng(1).uniform(0, 100, (3, 14, 2))
    found = truth.copy()
    found[1, 0] += 500
    found[2, :2] += 500
    known = np.ones(14, dtype=bool)
    samples = [
        Sample("LSP", f"im{i}", None, "test", LSP14, "person", Person(joints, known)) for i, joints in enumerate(truth)
    ][:limit]
    predictions = Predictions(Joints(found[: len(samples)], Convention(LSP14, 0, "person")))
    return Subject(predictions, Truth.of(samples, "LSP"), {})


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A record of the three people, and a model that finds them as recorded."""
    score = {
        "dataset": "LSP", "split": "test", "protocol": "lsp-pc", "threshold": 0.2, "source": "command",
        "values": {"total": 92.86}, "hits": sum(HITS), "count": 42, "data": "datasets/lsp", "hits_by_person": HITS,
    }  # fmt: skip
    content = {"scores": [score]}
    monkeypatch.setattr(remeasured, "default_record", lambda: content)
    monkeypatch.setattr(remeasured, "predict_dataset", lambda protocol, root, save, limit: made_up(limit))
    return score


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "datasets" / "lsp").mkdir(parents=True)
    return tmp_path


def test_the_recorded_hits_pass(record: dict[str, Any], data: Path) -> None:
    (outcome,) = remeasured.remeasure_default(data)
    assert (outcome.verdict, outcome.reason) == ("pass", "")
    hits, total = outcome.cells
    assert (hits.name, hits.measured) == ("total hits", 39)
    assert (total.name, total.measured) == ("total", pytest.approx(100 * 39 / 42))


def test_the_first_people_are_held_against_their_own_hits(record: dict[str, Any], data: Path) -> None:
    (outcome,) = remeasured.remeasure_default(data, limit=2)
    assert (outcome.verdict, outcome.reason) == ("pass", "the first 2 of 3 people")
    assert [(cell.name, cell.expected, cell.measured) for cell in outcome.cells] == [("total hits", 27, 27)]


@pytest.mark.parametrize(("person", "hits"), [(0, 13), (1, 14)])
def test_one_joint_more_or_less_fails(record: dict[str, Any], data: Path, person: int, hits: int) -> None:
    record["hits_by_person"] = [*HITS[:person], hits, *HITS[person + 1 :]]
    (outcome,) = remeasured.remeasure_default(data, limit=2)
    assert outcome.verdict == "fail"
    assert f"total hits 27, expected {sum(record['hits_by_person'][:2])}" in outcome.reason


def test_another_percentage_than_recorded_fails(record: dict[str, Any], data: Path) -> None:
    record["values"] = {"total": 92.8}
    (outcome,) = remeasured.remeasure_default(data)
    assert outcome.verdict == "fail"
    assert "total 92.8571, expected 92.8" in outcome.reason


def test_what_is_not_there_is_missing_not_failed(
    record: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*args: object, **options: object) -> None:
        raise MissingFileError("1000 images are missing")

    for place in (None, tmp_path / "elsewhere"):
        (outcome,) = remeasured.remeasure_default(place)
        assert outcome.verdict == "inputs missing"
        assert "datasets/lsp: not in" in outcome.reason
    monkeypatch.setattr(remeasured, "predict_dataset", absent)
    (outcome,) = remeasured.remeasure_default(data)
    assert (outcome.verdict, outcome.reason) == ("inputs missing", "1000 images are missing")


def test_a_score_that_names_no_data_set_is_not_measured_again(record: dict[str, Any], data: Path) -> None:
    del record["data"]
    assert remeasured.remeasure_default(data) == []


def test_regress_shows_it_beside_the_published_rows_of_its_protocol(
    record: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    assert main(["regress", "--data", str(data), "--limit", "2"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    at = rows.index("default/lsp-pc@0.2")
    assert rows[at - 1] == "lsp-pc/LSP_6s@0.2"  # the last that was published
    assert "The default model, measured from photographs" in (data / "out" / "regress.html").read_text()


def test_a_limit_below_one_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regress", "--limit", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err


def test_the_shipped_model_hits_what_is_recorded_of_the_first_people(shared: Path) -> None:
    outcomes = remeasured.remeasure_default(shared, PEOPLE)
    assert [(outcome.row.protocol, outcome.verdict) for outcome in outcomes] == [
        ("lsp-pc", "pass"),
        ("lspet-held-out", "pass"),
    ]
