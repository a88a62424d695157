"""Each typical slip is put into good predictions and named again; good predictions show none.

Oracle: the slip that the test made. The last tests hold the signatures that the published predictions have.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_port.errors import DataError
from cpm_port.evaluation.diagnose import SLIPS, diagnose, diagnose_normalizer, with_slip
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.protocols import PROTOCOLS, protocol_named
from cpm_port.evaluation.truth import read_truth
from cpm_port.parts import CPM14, LSP14, Joints, reorder, to_observer_centric
from cpm_port.predictions.files import read_predictions
from tests.evaluation.support import drawn_case, predictions_of


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("sigma", [0.5, 4])
def test_good_predictions_show_no_slip(name: str, sigma: float) -> None:
    assert diagnose(protocol_named(name), *drawn_case(name, sigma=sigma)) == []


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_shift_of_one_pixel_is_named_with_its_direction(name: str, shift: float) -> None:
    predictions, truth = drawn_case(name, sigma=0.5)
    order = predictions.joints.convention.order
    moved = predictions_of(predictions.joints.xy + shift, order, predictions.joints.convention.centric)
    (found,) = diagnose(protocol_named(name), moved, truth)
    assert found.slip == "off by one pixel"
    assert ("down and right" if shift > 0 else "up and left") in found.detail
    assert found.gain > 0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_left_right_swap_is_named(name: str) -> None:
    predictions, truth = drawn_case(name)
    assert diagnose(protocol_named(name), with_slip("left-right swap", predictions), truth)[0].slip == "left-right swap"


def test_person_centric_predictions_under_observer_centric_labels_are_named() -> None:
    person, person_labels = drawn_case("lsp-pc")
    observer = Joints(
        to_observer_centric(person_labels.joints.xy, LSP14),
        replace(person_labels.joints.convention, centric="observer"),
    )
    labels = replace(person_labels, joints=observer)
    as_they_stand = predictions_of(person.joints.xy, LSP14, "observer")
    found = diagnose(protocol_named("lsp-oc"), as_they_stand, labels)[0]
    assert found.slip == "observer-centric labels"
    assert "the predictions are person-centric" in found.detail
    assert found.after > 95 > found.before


def test_observer_centric_predictions_under_person_centric_labels_are_named() -> None:
    person, labels = drawn_case("lsp-pc")
    predictions = predictions_of(to_observer_centric(person.joints.xy, LSP14), LSP14)
    found = diagnose(protocol_named("lsp-pc"), predictions, labels)[0]
    assert found.slip == "observer-centric labels"
    assert "the predictions are observer-centric" in found.detail


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_people_who_are_missed_anyhow_shows_no_permutation(count: int) -> None:
    protocol = protocol_named("lsp-pc")
    for seed in range(20):
        predictions, truth = drawn_case("lsp-pc", count=count, sigma=0)
        xy = truth.joints.xy.mean(axis=1, keepdims=True) + np.random.default_rng(seed).normal(0, 40, (count, 14, 2))
        lost = replace(predictions, joints=Joints(xy, truth.joints.convention))
        assert diagnose(protocol, lost, truth) == []


def test_a_known_order_is_named() -> None:
    predictions, truth = drawn_case("lsp-pc")
    mistaken = predictions_of(reorder(predictions.joints.xy, LSP14, CPM14), LSP14)
    found = diagnose(protocol_named("lsp-pc"), mistaken, truth)[0]
    assert found.slip == "wrong order of parts"
    assert "'cpm14'" in found.detail
    assert found.after == measure(protocol_named("lsp-pc"), predictions, truth).percent()


@pytest.mark.parametrize("name", ["lsp-pc", "flic-gt-torso", "mpii-official"])
def test_any_other_permutation_is_spelled_out(name: str) -> None:
    predictions, truth = drawn_case(name)
    order, centric = predictions.joints.convention.order, predictions.joints.convention.centric
    permuted = list(range(len(order)))
    a, b, c = order.index("left_elbow"), order.index("right_wrist"), order.index("left_hip")
    permuted[a], permuted[b], permuted[c] = b, c, a
    found = diagnose(protocol_named(name), predictions_of(predictions.joints.xy[:, permuted], order, centric), truth)[0]
    assert found.slip == "wrong order of parts"
    assert "left_elbow read as right_wrist" in found.detail or "right_wrist read as left_elbow" in found.detail


@pytest.mark.parametrize(
    ("used", "meant", "length"),
    [
        ("flic-predicted-torso", "flic-gt-torso", "the ground truth's"),
        ("flic-gt-torso", "flic-predicted-torso", "the prediction's"),
        ("flic-gt-torso", "flic-torso-box", "the torso box"),
    ],
)
def test_a_wrong_normalizer_is_named_where_the_published_row_tells(used: str, meant: str, length: str) -> None:
    predictions, truth = drawn_case("flic-gt-torso", sigma=9)
    published = measure(protocol_named(meant), predictions, truth).result()
    values = {name: round(score.percent, 2) for name, score in published.parts.items()}
    found = diagnose_normalizer(protocol_named(used), predictions, truth, values, 0.2, meant)
    assert found is not None
    assert found.slip == "wrong normalizer"
    assert length in found.detail
    assert f"row of {meant}" in found.detail
    assert diagnose_normalizer(protocol_named(meant), predictions, truth, values, 0.2) is None
    assert diagnose_normalizer(protocol_named(used), predictions, truth, {"Elb": 1.0}, 0.2) is None


def test_head_boxes_without_their_factor_are_named() -> None:
    predictions, truth = drawn_case("mpii-official", sigma=9)
    published = {"total": measure(protocol_named("mpii-official"), predictions, truth).percent()}
    bigger = replace(truth, head_size=truth.head_size * 0.6)
    found = diagnose_normalizer(protocol_named("mpii-official"), predictions, bigger, published, 0.5)
    assert found is not None
    assert "the head box's diagonal" in found.detail


def test_every_slip_has_words_and_only_some_can_be_put_in() -> None:
    assert len(SLIPS) == 5
    with pytest.raises(DataError, match="cannot be put into predictions"):
        with_slip("wrong normalizer", drawn_case("lsp-pc", count=3)[0])


def test_the_releases_predictions_on_lsp_have_no_slip_and_their_signatures_are_known(shared: Path) -> None:
    predictions = read_predictions(shared / "release/predictions/LSP_prediction_model_MPII_LSP_6s.mat")
    truth = read_truth("LSP", shared / "datasets/lsp/lsp-joints-PC.mat")
    assert diagnose(protocol_named("lsp-pc"), predictions, truth) == []
    (found,) = diagnose(protocol_named("lsp-pc"), with_slip("off by one pixel", predictions), truth)
    assert (round(found.before, 2), round(found.after, 2)) == (90.19, 90.50)


def test_the_hourglass_predictions_are_one_pixel_off_as_their_authors_found_later(shared: Path) -> None:
    folder = shared / "datasets/mpii_val"
    truth = read_truth("MPI", folder / "detections_our_format.mat")
    slips = {
        name: [d.slip for d in diagnose(protocol_named("mpii-official"), read_predictions(folder / name), truth)]
        for name in ("bearpaw-hg_s2_b1.mat", "tompson.h5")
    }
    assert slips == {"bearpaw-hg_s2_b1.mat": ["off by one pixel"], "tompson.h5": []}
