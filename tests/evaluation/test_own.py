"""Claim: parts of one's own are scored by PCK with a stated length, and by OKS.

Oracle: cases worked by hand, and COCO's formula written out.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.annotations.samples import Person, Sample
from cpm_port.cli import main
from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.own import own_protocol
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import Convention, Joints, PartOrder
from cpm_port.predictions.values import Predictions
from cpm_port.records.genjson import write_genjson
from tests.zoo.own_model import ORDER, write_own

LABELS = np.array([[[0.0, 0.0], [100.0, 0.0], [0.0, 40.0]], [[10.0, 10.0], [np.nan, np.nan], [10.0, 10.0]]])


def truth(labels: np.ndarray = LABELS, order: PartOrder = ORDER) -> Truth:
    joints = Joints(labels, Convention(order))
    names = tuple(str(i) for i in range(len(labels)))
    return Truth(joints, None, None, names, (None,) * len(labels), "labels")


def predicted(xy: np.ndarray, order: PartOrder = ORDER) -> Predictions:
    names = tuple(str(i) for i in range(len(xy)))
    return Predictions(Joints(xy, Convention(order)), np.ones(xy.shape[:2]), names)


def test_pck_goes_by_half_the_labels_box_and_leaves_out_who_has_none() -> None:
    found = np.nan_to_num(LABELS)
    found[0] += [[10.0, 0.0], [0.0, 10.1], [0.0, 0.0]]  # the length is 50 px, so 0.2 of it 10 px
    result = measure(own_protocol("own-pck", ORDER), predicted(found), truth()).result()
    assert {part: score.hits for part, score in result.joints.items()} == {"nose": 1, "left_ear": 0, "right_ear": 1}
    assert result.total.count == 3


def test_pck_of_one_part_goes_by_half_the_size_that_the_labels_tell() -> None:
    order = PartOrder("own", ("nose",), ())
    labels = np.array([[[20.0, 30.0]], [[20.0, 30.0]], [[20.0, 30.0]]])
    sized = replace(truth(labels, order), height=np.array([100.0, 100.0, np.nan]))
    found = labels + np.array([[[10.0, 0.0]], [[0.0, 10.1]], [[0.0, 0.0]]])  # 0.2 of half of 100 px is 10 px
    errors = measure(own_protocol("own-pck", order), predicted(found, order), sized).errors
    assert errors[:2, 0] == pytest.approx([0.2, 0.202])
    assert np.isnan(errors[2, 0])


def test_pck_goes_by_two_parts_where_they_are_named() -> None:
    protocol = own_protocol("own-pck", ORDER, ("nose", "right_ear"))
    assert protocol.name == "own-pck by nose - right_ear"
    found = np.nan_to_num(LABELS)
    found[0] += [[8.0, 0.0], [0.0, 8.1], [0.0, 0.0]]  # 0.2 of 40 px
    assert measure(protocol, predicted(found), truth()).result().total.hits == 2


def test_oks_is_cocos_formula() -> None:
    found = LABELS + 3.0
    found[0, 1] = np.nan
    area = 0.53 * 100 * 40
    similar = [math.exp(-18 / (2 * area * (2 * sigma) ** 2)) for sigma in (0.026, 0.035)]  # nose and ear
    errors = measure(own_protocol("own-oks", ORDER), predicted(found), truth()).errors
    assert errors[0, 0] == pytest.approx(1 - sum(similar) / 3)
    assert np.isnan(errors[1, 0])


def test_other_orders_are_brought_to_the_labels_by_name() -> None:
    other = replace(ORDER, parts=("right_ear", "nose", "left_ear"))
    found = predicted(LABELS[:1][:, [2, 0, 1]], other)
    assert measure(own_protocol("own-pck", ORDER), found, truth(LABELS[:1])).percent() == 100


@pytest.mark.parametrize(
    ("name", "length", "match"),
    [
        ("own-pcp", None, "no protocol 'own-pcp'"),
        ("own-pck", ("nose", "tail"), "own-pck takes two of nose, left_ear, right_ear"),
        ("own-oks", ("nose", "left_ear"), "own-pck takes two of"),
    ],
)
def test_what_makes_no_protocol_is_refused(name: str, length: tuple[str, str] | None, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        own_protocol(name, ORDER, length)


def test_labels_that_give_no_length_are_refused() -> None:
    single = np.where([[[True], [False], [False]]], LABELS[:1], np.nan)
    with pytest.raises(DataError, match="own-pck: no person's labels give a length to measure by"):
        measure(own_protocol("own-pck", ORDER), predicted(LABELS[:1]), truth(single))


def test_oks_of_one_part_is_refused_with_what_to_type() -> None:
    with pytest.raises(UsageError, match=r"one part, nose, has no area to measure by; --protocol own-pck does"):
        own_protocol("own-oks", PartOrder("own", ("nose",), ()))


def test_a_model_of_one_part_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    order = PartOrder("own", ("nose",), ())
    write_own(tmp_path / "model", order=order)
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8))
    person = Person(np.array([[50.0, 20.0]]), np.ones(1, bool), (50.0, 60.0), 0.4)
    sample = Sample("OWN", "a_1", tmp_path / "a.png", "train", order, "person", person, image_size=(120, 120))
    write_genjson("own.json", [sample], ".")
    words = ["--data", "own.json", "--model", "model", "--save", "p.h5", "--plots", "plots", "--device", "cpu"]
    assert main(["evaluate", "--protocol", "own-pck", *words]) == 0
    printed = capsys.readouterr().out
    assert "nose" in printed
    assert "note: own.json marks nobody as held out: everybody is scored" in printed
    assert main(["evaluate", "--protocol", "own-oks", *words]) == 2
    assert "--protocol own-pck does" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["own-pck", "own-oks"])
def test_a_model_of_ones_own_is_scored_on_the_people_held_out(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own(tmp_path / "model")
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8))
    joints = np.array([[50.0, 20.0], [70.0, 90.0], [30.0, 90.0]])
    person = Person(joints, np.ones(3, bool), (50.0, 60.0), 0.4)
    samples = [
        Sample("OWN", f"a_{i}", image, split, ORDER, "person", person, image_size=(120, 120), people_index=i)
        for i, split in enumerate(("train", "validation", "validation"), 1)
    ]
    write_genjson("own.json", samples, "images")
    words = ["--data", "own.json", "--save", "p.h5", "--json", "score.json", "--device", "cpu"]
    assert main(["evaluate", "--protocol", protocol, "--model", "model", *words]) == 0
    score = json.loads(Path("score.json").read_text())
    assert score["total"]["count"] == (6 if protocol == "own-pck" else 2)
    printed = capsys.readouterr().out
    assert ("nose" in printed) == (protocol == "own-pck")
    assert "marks nobody" not in printed
    again = ["--predictions", "p.h5", "--ground-truth", "own.json", "--json", "again.json"]
    assert main(["evaluate", "--protocol", protocol, *again]) == 0
    assert json.loads(Path("again.json").read_text())["total"] == score["total"]


def test_own_parts_need_their_label_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--protocol", "own-pck", "--predictions", "p.h5"]) == 2
    assert "expected --data own.json, or --ground-truth own.json" in capsys.readouterr().err
