"""Claim: the command writes record, card and pictures together, and nothing where something is wrong.

Oracle: the shipped record; a checkout of the test's own.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cpm_port.errors import DataError
from cpm_port.evaluation.recorded import default_record
from cpm_port.scorecard import __main__ as command
from cpm_port.scorecard.card import numbers
from cpm_port.zoo import model_named
from tests.support import ROOT

ARGUMENTS = ["--data", "people"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the default model's card and record."""
    model = tmp_path / "model"
    shutil.copytree(model_named("default").net.parent, model)
    (tmp_path / "reference_results").mkdir()
    shutil.copy(ROOT / "reference_results" / "default_model.json", tmp_path / "reference_results")
    entry = replace(model_named("default"), net=model / "deploy.prototxt")
    monkeypatch.setattr(command, "model_named", lambda name: entry)
    monkeypatch.setattr(command, "checkout", lambda: tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_record_card_and_pictures_are_written_and_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = default_record()
    assert record is not None
    record["weights"]["bytes"] += 1
    monkeypatch.setattr(command, "measure_all", lambda *args: (record, {"curve.svg": b"curve"}))
    assert command.main(ARGUMENTS) == 0
    record_file, card = checkout / "reference_results" / "default_model.json", checkout / "model" / "MODEL_CARD.md"
    assert json.loads(record_file.read_text()) == record
    assert numbers(record) in card.read_text()
    picture = checkout / "docs" / "pictures" / "curve.svg"
    assert picture.read_bytes() == b"curve"
    printed = capsys.readouterr().out
    for path in (record_file, card, picture):
        assert f"written: {path}\n" in printed
    assert f"{record['scores'][0]['values']['total']:.2f} %" in printed


def test_what_cannot_be_measured_leaves_everything_as_it_was(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise DataError("no such people")

    before = files(checkout)
    monkeypatch.setattr(command, "measure_all", fail)
    assert command.main(ARGUMENTS) == 2
    assert "no such people" in capsys.readouterr().err
    assert files(checkout) == before


def test_a_card_without_marks_is_noticed_before_anything_is_measured(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "model" / "MODEL_CARD.md").write_text("# A card\n")
    monkeypatch.setattr(command, "measure_all", lambda *args: pytest.fail("measured"))
    assert command.main(ARGUMENTS) == 2
    assert "once each" in capsys.readouterr().err


def test_the_shipped_files_are_described_as_they_are(checkout: Path) -> None:
    from cpm_port import load_net

    entry = command.model_named("default")
    record = default_record()
    assert record is not None
    found = command.describe_files(entry, load_net(entry.net), record["net"]["command"])
    for part in ("weights", "net"):
        assert {**found[part], "file": ""} == {**record[part], "file": ""}
    assert found["net"]["file"] == "model/deploy.prototxt"
