"""Measuring under a protocol: what does not fit is refused by name, what can be converted is, sums are the protocol's.

Oracles: hand-worked counts, and loops over drawn people written out here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.pcp import STICKS
from cpm_port.evaluation.protocols import PROTOCOLS, protocol_named
from cpm_port.parts import CPM14, FLIC9, LSP14, MPII16, Convention, Joints, reorder, to_matlab
from tests.evaluation.support import drawn_case, drawn_people, predictions_of, truth_of


def test_the_protocols_of_the_documentation_are_there_and_say_their_rules() -> None:
    assert set(PROTOCOLS) == {
        "lsp-pc", "lsp-oc", "lsp-pcp", "flic-gt-torso", "flic-predicted-torso", "flic-torso-box", "mpii-official",
        "mpii-pytorch-pose", "mpii-msra", "lspet-held-out", "flic-raw-torso-box",
    }  # fmt: skip
    assert all(len(protocol.rules) > 150 for protocol in PROTOCOLS.values())
    with pytest.raises(UsageError, match="no protocol 'pck'; known: lsp-pc"):
        protocol_named("pck")


def test_held_out_people_count_where_joint_and_torso_are_labelled() -> None:
    people = drawn_people(LSP14, 3, 0)
    truth_xy = people.copy()
    truth_xy[0, LSP14.index("left_wrist")] = np.nan  # one joint of person 0
    truth_xy[1, LSP14.index("right_hip")] = np.nan  # nothing normalizes person 1
    predictions, truth = predictions_of(people, LSP14), truth_of(truth_xy, LSP14)
    result = measure(protocol_named("lspet-held-out"), predictions, truth).result()
    assert (result.total.hits, result.total.count) == (27, 27)
    assert result.parts["Wri"].count == 3


@pytest.mark.parametrize("name", PROTOCOLS)
def test_perfect_predictions_score_everything(name: str) -> None:
    predictions, truth = drawn_case(name, count=30, sigma=0)
    result = measure(protocol_named(name), predictions, truth).result()
    assert result.total.percent == 100
    assert result.total.hits == result.total.count
    assert {score.percent for score in result.parts.values()} == {100}
    # nothing is below threshold 0: a strict curve begins at 0, which costs half a step of fifty
    assert result.auc is None or result.auc == pytest.approx(99 if protocol_named(name).strict else 100)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "lsp-pcp"])  # test_pcp has sticks by hand
def test_scores_equal_a_loop(name: str) -> None:
    predictions, truth = drawn_case(name, count=40, sigma=9)
    protocol = protocol_named(name)
    rows, order = truth.joints.xy, protocol.convention.order
    shoulder, hip = order.index("left_shoulder"), order.index("right_hip")
    hits = dict.fromkeys(protocol.units, 0)
    for i, person in enumerate(rows):
        guess = predictions.joints.xy[i]
        length = {
            "lsp": np.hypot(*(person[shoulder] - person[hip])),
            "lspet": np.hypot(*(person[shoulder] - person[hip])),
            "flic-gt-torso": np.hypot(*(person[shoulder] - person[hip])),
            "flic-predicted-torso": np.hypot(*(guess[shoulder] - guess[hip])),
            "flic-torso-box": truth.torso_diagonal[i],
            "flic-raw-torso-box": truth.torso_diagonal[i],
            "mpii": truth.head_size[i],
        }[name if name.startswith("flic") else name.split("-")[0]]
        for unit in protocol.units:
            error = np.hypot(*(guess[order.index(unit)] - person[order.index(unit)]))
            hits[unit] += bool(error < protocol.threshold * length)
    result = measure(protocol, predictions, truth).result()
    assert {unit: score.hits for unit, score in result.joints.items()} == hits
    assert result.total.hits == sum(hits.values())
    assert 5 < result.total.percent < 99.9  # the case is neither empty nor perfect


def test_the_mpii_protocols_part_at_ties_head_and_mean() -> None:
    truth = truth_of(drawn_people(MPII16, 4, 1), MPII16)
    truth = replace(
        truth, head_size=np.full(4, 60.0), joints=Joints(np.round(truth.joints.xy), truth.joints.convention)
    )
    guess = truth.joints.xy.copy()
    guess[0, MPII16.index("head_top")] += (18, 24)  # 30 px: exactly half a head
    guess[1, MPII16.index("neck")] += (100, 0)
    truth.joints.xy[1:, MPII16.index("left_ankle")] = np.nan  # one ankle is annotated, and missed
    guess[0, MPII16.index("left_ankle")] += (100, 0)
    results = {
        name: measure(protocol_named(name), predictions_of(guess, MPII16), truth).result()
        for name in PROTOCOLS
        if name.startswith("mpii")
    }
    official, pose, msra = (results[f"mpii-{name}"] for name in ("official", "pytorch-pose", "msra"))
    assert (official.parts["Head"].hits, official.parts["Head"].count) == (7, 8)
    assert official.parts["Head"].percent == pytest.approx(87.5)
    assert pose.parts["Head"].percent == pytest.approx(75)  # a tie is no hit there, and the neck is not in the column
    assert msra.parts["Head"].percent == pytest.approx(100)
    counted = 14 * 4 - 3
    assert official.total.percent == msra.total.percent == pytest.approx(100 * (counted - 2) / counted)
    assert pose.total.percent == pytest.approx((11 * 100 + 75 + 75 + 0) / 14)
    assert "Mean@0.1 as printed (threshold 0.11)" in msra.extras


def test_parts_index_base_and_centricity_are_converted() -> None:
    predictions, truth = drawn_case("lsp-pc", count=50)
    expected = measure(protocol_named("lsp-pc"), predictions, truth).result()
    moved = reorder(to_matlab(predictions.joints.xy), LSP14, CPM14)
    other = replace(predictions, joints=Joints(moved, Convention(CPM14, 1)))
    found = measure(protocol_named("lsp-pc"), other, truth).result()
    assert found.total.hits == expected.total.hits
    assert found.auc == pytest.approx(expected.auc, abs=0.02)  # a shift there and back rounds
    observer, labels = drawn_case("lsp-oc", count=50)
    person = predictions_of(drawn_people(LSP14, 50, 5) + (observer.joints.xy - labels.joints.xy), LSP14)
    assert measure(protocol_named("lsp-oc"), person, labels).result().total.percent > 80
    with pytest.raises(DataError, match="cannot become person-centric"):
        measure(protocol_named("lsp-pc"), predictions_of(observer.joints.xy, LSP14, "observer"), truth)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda p, t: (p.first(49), t), "drawn predictions holds 49 people, drawn labels 50"),
        (lambda p, t: (replace(p, joints=Joints(p.joints.xy[:, :9], Convention(FLIC9))), t), "'flic9' lack head_top"),
        (
            lambda p, t: (replace(p, joints=Joints(_with(p.joints.xy, (7, 11), np.inf), p.joints.convention)), t),
            r"row 7 \(im0008\), left_wrist: prediction is infinite \(1 such\)",
        ),
        (
            lambda p, t: (
                p,
                replace(t, joints=Joints(_with(t.joints.xy, (3, 9), t.joints.xy[3, 2]), t.joints.convention)),
            ),
            "lsp-pc: person 3: normalizer is 0",
        ),
        (
            lambda p, t: (p, replace(t, joints=Joints(_with(t.joints.xy, (3, 9), np.nan), t.joints.convention))),
            "lsp-pc: person 3: normalizer is nan",
        ),
        (
            lambda p, t: (replace(p, names=("im9999", *t.names[1:])), t),
            r"1 \('im0001'\) without a prediction, 1 \('im9999'\) not among the labels",
        ),
        (
            lambda p, t: (replace(p, joints=Joints(np.full_like(p.joints.xy, np.nan), p.joints.convention)), t),
            "drawn predictions: not one joint that lsp-pc counts is predicted",
        ),
        (
            lambda p, t: (replace(p, joints=Joints(p.joints.xy / 640, p.joints.convention)), t),
            "fractions of the image's size",
        ),
    ],
    ids=["count", "parts", "infinite", "zero torso", "no torso", "names", "nothing", "fractions"],
)
def test_what_does_not_fit_is_named(spoil, match: str) -> None:
    with pytest.raises(DataError, match=match):
        measure(protocol_named("lsp-pc"), *spoil(*drawn_case("lsp-pc", count=50)))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_joint_that_is_not_predicted_is_a_miss(name: str) -> None:
    protocol = protocol_named(name)
    predictions, truth = drawn_case(name, count=20, sigma=0)
    part = protocol.parts[-1]
    xy = predictions.joints.xy.copy()
    xy[4, protocol.convention.order.index(part)] = np.nan
    found = replace(predictions, joints=Joints(xy, predictions.joints.convention))
    result = measure(protocol, found, truth).result()
    units = (
        [part] if part in protocol.units else [u for u in protocol.units if part in {p for e in STICKS[u] for p in e}]
    )
    assert {unit: score.count - score.hits for unit, score in result.joints.items() if score.hits < score.count} == (
        dict.fromkeys(units, 1)
    )
    assert result.total.count == measure(protocol, predictions, truth).result().total.count


def test_a_person_whose_torso_is_not_predicted_is_all_misses_where_it_normalizes() -> None:
    protocol = protocol_named("flic-predicted-torso")
    predictions, truth = drawn_case(protocol.name, count=20, sigma=0)
    xy = predictions.joints.xy.copy()
    xy[4, FLIC9.index("right_hip")] = np.nan
    result = measure(protocol, replace(predictions, joints=Joints(xy, predictions.joints.convention)), truth).result()
    assert (result.total.hits, result.total.count) == (76, 80)


def _with(xy: np.ndarray, where: tuple[int, int], value: object) -> np.ndarray:
    changed = xy.copy()
    changed[where] = value
    return changed


def test_a_length_that_the_labels_lack_is_named() -> None:
    predictions, truth = drawn_case("mpii-official", count=5)
    with pytest.raises(DataError, match="no head boxes"):
        measure(protocol_named("mpii-official"), predictions, replace(truth, head_size=None))
    predictions, truth = drawn_case("flic-torso-box", count=5)
    with pytest.raises(DataError, match="no torso boxes"):
        measure(protocol_named("flic-torso-box"), predictions, replace(truth, torso_diagonal=None))


def test_labels_without_a_single_joint_are_refused() -> None:
    predictions, truth = drawn_case("mpii-official", count=5)
    empty = replace(truth, joints=Joints(np.full_like(truth.joints.xy, np.nan), truth.joints.convention))
    with pytest.raises(DataError, match="nothing that mpii-official counts is annotated"):
        measure(protocol_named("mpii-official"), predictions, empty)


def test_intervals_contain_the_score_shrink_with_people_and_repeat_with_their_seed() -> None:
    widths = []
    for count in (30, 480):
        measured = measure(protocol_named("lsp-pc"), *drawn_case("lsp-pc", count=count, sigma=12))
        result = measured.result(bootstrap_seed=7)
        assert result == measured.result(bootstrap_seed=7)
        for score in (result.total, *result.parts.values()):
            assert score.interval is not None
            assert score.interval.low <= score.percent <= score.interval.high
        widths.append(result.total.interval.high - result.total.interval.low)
        assert measured.result().total.interval is None
    assert 2.5 < widths[0] / widths[1] < 6  # four, by the square root of 16


def test_an_interval_of_independent_joints_is_the_binomials() -> None:
    # one unit per person matters here: hits of people are independent, so the textbook width holds
    measured = measure(protocol_named("lsp-pcp"), *drawn_case("lsp-pcp", count=400, sigma=14))
    column = measured.result(bootstrap_seed=1).parts["Head"]
    share = column.percent / 100
    expected = 2 * 1.96 * 100 * np.sqrt(share * (1 - share) / 400)
    assert column.interval.high - column.interval.low == pytest.approx(expected, rel=0.15)


def test_a_curve_never_falls_ends_at_the_score_and_the_threshold_must_make_sense() -> None:
    measured = measure(protocol_named("flic-gt-torso"), *drawn_case("flic-gt-torso", sigma=8))
    curve = measured.curve()
    assert (np.diff(curve.total) >= 0).all()
    assert curve.total[-1] == measured.result().total.percent
    assert curve.parts["Wri"][10] == measured.result(0.1).parts["Wri"].percent
    with pytest.raises(UsageError, match="threshold -1"):
        measured.result(-1)


def test_the_result_as_json_has_the_documented_shape() -> None:
    content = measure(protocol_named("lsp-pc"), *drawn_case("lsp-pc", count=20)).result(0.1).to_json()
    assert {"protocol", "threshold", "auc", "total", "parts"} <= set(content)
    assert (content["protocol"], content["threshold"]) == ("lsp-pc", 0.1)
    assert list(content["parts"]) == ["Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank"]
    for score in (content["total"], *content["parts"].values()):
        assert set(score) == {"hits", "count", "percent"}


def test_people_are_ranked_by_capped_errors() -> None:
    predictions, truth = drawn_case("lsp-pc", count=10, sigma=0)
    predictions.joints.xy[3, 0] += 10_000  # one joint lost
    predictions.joints.xy[5] += 15  # everything a little off
    ranks = np.argsort(measure(protocol_named("lsp-pc"), predictions, truth).per_person())
    assert ranks[-2:].tolist() == [3, 5]
