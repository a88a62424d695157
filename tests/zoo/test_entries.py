"""Claim: what the zoo says of a model is what its net, the reference results and the notes say.

Oracles: the reference notes' tables, typed here (`caffe_facts.md`, `release_testing.md` section 5), and the nets.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpm_port.caffe import read_net
from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation import recorded
from cpm_port.evaluation.reference import load_all
from cpm_port.parts import CPM14, FLIC9
from cpm_port.zoo import ENTRIES, entries, model_named, scores
from cpm_port.zoo.recognition import weight_bytes

OFFICIAL = [entry for entry in ENTRIES.values() if not entry.embedded]
NOTES = {  # file, convolutions, published scores
    "mpii-lsp-6s": ("pose_iter_985000_addLEEDS.caffemodel", 40, {"lsp-pc": 90.5, "mpii-official": 88.5}),
    "mpii-6s": ("pose_iter_630000.caffemodel", 40, {"mpii-official": 87.95}),
    "lsp-6s": ("pose_iter_395000.caffemodel", 40, {"lsp-pc": 84.32}),
    "flic-4s": ("pose_iter_40000.caffemodel", 28, {"flic-gt-torso": (97.59, 95.03)}),
    "mpii-vgg": ("pose_iter_320000.caffemodel", 52, {"mpii-official": 90.1}),
    "person": ("pose_iter_70000.caffemodel", 37, {}),
}


def test_the_names_are_the_stable_ones() -> None:
    assert list(ENTRIES) == ["default", *NOTES]
    assert all(entry.name == name for name, entry in ENTRIES.items())
    assert model_named("lsp-6s") is ENTRIES["lsp-6s"]
    with pytest.raises(UsageError, match="'mpi' is unknown; expected one of default, mpii-lsp-6s, "):
        model_named("mpi")


@pytest.mark.parametrize("entry", OFFICIAL, ids=lambda entry: entry.name)
def test_an_official_entry_is_what_the_notes_say(entry: entries.ModelEntry) -> None:
    file, convolutions, published = NOTES[entry.name]
    assert entry.file_name == file
    assert sum(layer.type == "Convolution" for layer in read_net(entry.net).layers) == convolutions
    found = {
        score.protocol: score.values.get("total", (score.values.get("Elb"), score.values.get("Wri")))
        for score in scores(entry)
    }
    assert found == published
    assert all(score.status == "published" and score.source for score in scores(entry))


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_preprocessing_belongs_to_the_net(entry: entries.ModelEntry) -> None:
    if not entry.net.is_file():
        pytest.skip(f"the {entry.name} model is not part of this checkout")
    net = read_net(entry.net)
    ((_, channels, *box),) = net.inputs.values()
    assert tuple(box) == entry.box
    assert (channels == 4) == (entry.center_sigma is not None)
    if entry.center_sigma is not None:
        assert entry.center_sigma == pytest.approx(21 * box[0] / 368)
        assert entry.part_order == (FLIC9 if entry.name == "flic-4s" else CPM14)


def test_the_six_stage_models_take_125_megabytes() -> None:
    for name in ("mpii-lsp-6s", "mpii-6s", "lsp-6s"):
        assert round(weight_bytes(ENTRIES[name]) / 1e6) == 125


def test_no_address_is_made_up() -> None:
    assert not any(entry.urls for entry in ENTRIES.values())


RECORD = {
    "weights": {"sha256": "ab" * 32, "bytes": 5},
    "scores": [
        {
            "dataset": "LSPET", "split": "held out", "protocol": "lspet-held-out", "threshold": 0.2,
            "values": {"total": 70}, "source": "cpm-port evaluate",
        }
    ],
    "hours": 3,
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of reference results of the test's own."""
    monkeypatch.setattr(recorded, "resource_dir", lambda name: tmp_path)
    return tmp_path


def test_the_default_model_has_no_score_before_it_is_there(results: Path) -> None:
    assert scores(ENTRIES["default"]) == ()


def test_the_default_models_score_is_read_with_its_protocol(results: Path) -> None:
    (results / "default_model.json").write_text(json.dumps(RECORD))
    (score,) = scores(ENTRIES["default"])
    assert (score.status, score.protocol, score.threshold) == ("measured here", "lspet-held-out", 0.2)
    assert score.values == {"total": 70.0}
    assert load_all(results) == []  # the record is no table


@pytest.mark.parametrize(
    "change",
    [
        {"scores": []},
        {"scores": [{"dataset": "LSPET"}]},
        {"weights": {"sha256": "ab", "bytes": 5}},
        {"weights": {"sha256": "ab" * 32}},
        {"weights": None},
    ],
)
def test_a_broken_record_of_the_default_model_is_refused(results: Path, change: dict) -> None:
    (results / "default_model.json").write_text(json.dumps(RECORD | change))
    with pytest.raises(DataError, match=r"default_model\.json"):
        scores(ENTRIES["default"])


def test_a_record_that_is_no_json_is_refused(results: Path) -> None:
    (results / "default_model.json").write_text("[1")
    with pytest.raises(DataError, match="not the record of the default model"):
        scores(ENTRIES["default"])
