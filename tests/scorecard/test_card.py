"""Claim: the numbers in the model card are the record's, and the record's facts are those of the shipped files.

Oracles: the record itself, printed anew; the shipped files, read and hashed here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from cpm_port import load_net
from cpm_port.caffe import read_net, read_weights
from cpm_port.errors import DataError
from cpm_port.evaluation.recorded import default_record, recorded_row
from cpm_port.scorecard.card import BEGIN, END, around_numbers, numbers
from cpm_port.zoo import model_named
from tests.support import ROOT

ENTRY = model_named("default")
CARD = ENTRY.net.with_name("MODEL_CARD.md")
LIMIT = 300_000  # bytes of the picture


@pytest.fixture(scope="module")
def record() -> dict:
    found = default_record()
    assert found is not None
    return found


def test_the_cards_numbers_are_the_records(record: dict) -> None:
    text = CARD.read_text(encoding="utf-8")
    head, tail = around_numbers(text)
    assert text == head + numbers(record) + tail, "run `python -m cpm_port.scorecard`"


def test_a_changed_score_changes_the_card(record: dict) -> None:
    other = json.loads(json.dumps(record))
    other["scores"][0]["joints"]["neck"]["hits"] += 1
    assert numbers(other) != numbers(record)


@pytest.mark.parametrize("card", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_card_without_its_two_marks_is_refused(card: str) -> None:
    with pytest.raises(DataError, match="once each"):
        around_numbers(card)


def test_numbers_replace_what_stood_between_the_marks() -> None:
    assert around_numbers(f"a\n{BEGIN}\nold\n{END}\nb\n") == (f"a\n{BEGIN}", f"{END}\nb\n")


def test_the_record_is_of_the_shipped_files(record: dict) -> None:
    for part in ("weights", "net"):
        content = (ROOT / record[part]["file"]).read_bytes()
        assert record[part]["sha256"] == hashlib.sha256(content).hexdigest()
    weights = ENTRY.net.with_name(ENTRY.file_name)
    assert ROOT / record["weights"]["file"] == weights
    assert ROOT / record["net"]["file"] == ENTRY.net
    assert record["weights"]["bytes"] == weights.stat().st_size <= 16 << 20


def test_the_records_size_and_cost_are_the_nets(record: dict) -> None:
    blobs = read_weights(ENTRY.net.with_name(ENTRY.file_name))
    assert record["net"]["parameters"] == sum(blob.size for layer in blobs.values() for blob in layer)
    net = read_net(ENTRY.net)
    assert record["net"]["stages"] == len(record["stages"]["pyramid"])
    assert net.inputs["data"][2:] == (record["net"]["box"],) * 2
    assert record["net"]["flops_per_forward"] == flops_of(ENTRY.net)


def flops_of(path: Path) -> int:
    """Return two operations for every weight of a convolution at every cell, and one for its bias.

    The cells are its output's, or, of a deconvolution, its input's; the bias is added at every cell of the output.
    """
    net = load_net(path)
    total = 0
    for layer in net.spec.layers:
        if layer.type in ("Convolution", "Deconvolution"):
            weight, bias = net.params[layer.name]
            before, after = (np.prod(net.blob_shapes[blobs[0]][2:]) for blobs in (layer.bottoms, layer.tops))
            cells = after if layer.type == "Convolution" else before
            total += int(2 * weight.numel() * cells + bias.numel() * after)
    return total


def test_the_records_totals_are_sums_over_joints_people_and_poses(record: dict) -> None:
    for score in record["scores"]:
        assert sum(joint["hits"] for joint in score["joints"].values()) == score["hits"]
        assert sum(joint["count"] for joint in score["joints"].values()) == score["count"]
        assert sum(score["hits_by_person"]) == score["hits"]
        assert score["curve"]["total"][-1] == score["values"]["total"] == round(100 * score["hits"] / score["count"], 2)
    lsp = record["scores"][0]
    assert (len(lsp["hits_by_person"]), lsp["count"]) == (1000, 14_000)
    last = list(record["stages"]["pyramid"].values())[-1]
    assert (last["hits"], last["count"]) == (lsp["hits"], lsp["count"])
    assert record["ways"]["pyramid"]["hits"] == lsp["hits"]
    assert record["ways"]["pyramid"]["exchanged"] == record["left_and_right"]["people"]["people"]
    assert sum(group["hits"] for name, group in record["by_pose"].items() if name != "what") == lsp["hits"]


def test_evaluate_finds_the_recorded_total_to_hold_a_new_one_against(record: dict) -> None:
    for score in record["scores"]:
        row = recorded_row(record["weights"]["sha256"], score["protocol"], score["threshold"], score["count"])
        assert row is not None
        assert row.target == {**score["values"], "total hits": score["hits"], "auc": score["auc"]}


def test_a_score_with_the_mirror_image_is_held_against_the_recorded_one_of_its_kind(record: dict) -> None:
    for score in record["scores"]:
        row = recorded_row(
            record["weights"]["sha256"], score["protocol"], score["threshold"], score["count"], mirrored=True
        )
        if score["protocol"] != record["ways"]["protocol"]:
            assert row is None
            continue
        assert row is not None
        seen = record["ways"]["pyramid and mirror image"]
        assert row.target["total hits"] == seen["hits"] != score["hits"]
        assert round(row.target["total"], 2) == seen["0.2"]


def test_the_pictures_are_there_and_small() -> None:
    pictures = ROOT / "docs" / "pictures"
    assert (pictures / "default_model_curve.svg").read_bytes().startswith(b"<?xml")
    assert (pictures / "default_model_failures.png").stat().st_size < LIMIT
