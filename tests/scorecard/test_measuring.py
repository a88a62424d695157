"""Claim: each section of the record counts what it says.

Oracles: cases worked by hand; a net whose beliefs are known (tests/inference/nets.py), put through `predict_person`.
That the recorded hits come again from the shipped files is held by tests/inference/test_remeasured.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.annotations.samples import Person, Sample
from cpm_port.drawn.source import DrawnPeople
from cpm_port.imaging.pyramid import mpii_search
from cpm_port.inference.mirrored import MirroredNet
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whereabouts import search_of
from cpm_port.parts import CPM14, LSP14
from cpm_port.scorecard import measuring
from tests.inference.nets import BOX, colour_net

TORSO = 50.0  # px of the person below: left shoulder to right hip
UPRIGHT = {
    "head_top": (50, 0), "neck": (50, 10), "right_shoulder": (30, 15), "left_shoulder": (70, 15),
    "right_elbow": (25, 35), "left_elbow": (75, 35), "right_wrist": (10, 45), "left_wrist": (90, 45),
    "right_hip": (40, 55), "left_hip": (60, 55), "right_knee": (38, 75), "left_knee": (62, 75),
    "right_ankle": (36, 95), "left_ankle": (64, 95),
}  # fmt: skip


def person(turn: int = 0, lacking: str = "") -> np.ndarray:
    """Return UPRIGHT in LSP14's order, turned by a multiple of 90 degrees, a joint unlabelled."""
    xy = np.array([UPRIGHT[part] for part in LSP14.parts], dtype=np.float64)
    for _ in range(turn):
        xy = np.stack([100 - xy[:, 1], xy[:, 0]], axis=1)
    if lacking:
        xy[LSP14.index(lacking)] = np.nan
    return xy


def sample(joints: np.ndarray, name: str = "im1001", image: Path | None = None) -> Sample:
    known = ~np.isnan(joints).any(axis=1)
    return Sample("LSPET", name, image, "test", LSP14, "person", Person(joints, known))


def in_net_order(people: list[np.ndarray]) -> np.ndarray:
    return np.stack([joints[[LSP14.index(part) for part in CPM14.parts]] for joints in people])


def test_poses_are_told_apart_by_the_torsos_direction() -> None:
    people = [person(0), person(1), person(2), person(3), person(0, lacking="neck")]
    samples = [sample(joints, f"im{i}") for i, joints in enumerate(people)]
    found = in_net_order([person(0), person(1), person(2), person(0), person(0)])
    poses = measuring.by_pose(measuring.measured(found, samples, measuring.HELD_OUT), samples)
    assert poses["upright"] == {"people": 1, "hits": 14, "count": 14, "percent": 100.0}
    assert poses["sideways"]["people"] == 2
    assert poses["sideways"]["count"] == 28
    assert 14 <= poses["sideways"]["hits"] < 28  # the second of them was found as if upright
    assert poses["upside down"] == {"people": 1, "hits": 14, "count": 14, "percent": 100.0}


def test_a_pose_that_nobody_has_has_no_percentage() -> None:
    measurement = measuring.measured(in_net_order([person()]), [sample(person())], measuring.HELD_OUT)
    poses = measuring.by_pose(measurement, [sample(person())])
    assert poses["sideways"] == {"people": 0, "hits": 0, "count": 0, "percent": None}


def test_exchanged_sides_are_told_from_other_misses() -> None:
    found = person()
    pair = [LSP14.index("right_knee"), LSP14.index("left_knee")]
    found[pair] = found[pair[::-1]]  # both missed, both hit once exchanged
    found[LSP14.index("right_wrist")] += 3 * TORSO  # missed either way
    found[LSP14.index("head_top")] += 3 * TORSO  # has no other side
    sides = measuring.left_and_right(in_net_order([found]), [sample(person())], measuring.HELD_OUT)
    assert (sides["missed"], sides["other_side"]) == (3, 2)


def test_a_person_found_the_other_way_round_is_counted_and_put_right() -> None:
    mirrored = LSP14.mirrored()
    turned, half = person()[list(mirrored)], person()
    pair = [LSP14.index("right_knee"), LSP14.index("left_knee")]
    half[pair] = half[pair[::-1]]  # one pair of six: the rest would be wrong the other way round
    samples = [sample(person(), name) for name in "abc"]
    section = measuring.exchanged_people(in_net_order([person(), turned, half]), samples, measuring.LSP)
    assert (section["people"], section["of"], section["percent"]) == (1, 3, 33.33)
    assert section["put_right"] == {"hits": 40, "count": 42, "percent": 95.24}


def test_hits_are_counted_by_person() -> None:
    off = person()
    off[LSP14.index("neck"), 0] += 0.19 * TORSO
    off[LSP14.index("left_hip"), 0] += 0.21 * TORSO
    people = [person(), person(lacking="left_ankle"), person()]
    samples = [sample(joints, name) for joints, name in zip(people, "abc", strict=True)]
    measurement = measuring.measured(in_net_order([off, person(), off]), samples, measuring.HELD_OUT)
    assert measuring.hits_by_person(measurement) == [13, 13, 13]
    assert measuring.total_section(measurement) == {"hits": 39, "count": 41, "percent": 95.12}


def test_every_way_of_looking_is_scored_at_every_threshold() -> None:
    off, samples = person(), [sample(person())]
    off[LSP14.index("neck"), 0] += 0.15 * TORSO
    right, wrong = in_net_order([person()]), in_net_order([off])
    found = measuring.Found({"one": wrong}, {"one": wrong + 10 * TORSO}, right)
    ways = measuring.ways_section(found, samples, measuring.LSP)
    assert ways["single scale"] == {"0.05": 0.0, "0.1": 0.0, "0.2": 0.0, "auc": 0.0, "hits": 0, "exchanged": 0}
    assert [ways["pyramid"][key] for key in ("0.05", "0.1", "0.2", "hits")] == [92.86, 92.86, 100.0, 14]
    assert [ways["pyramid and mirror image"][key] for key in ("0.05", "0.1", "0.2")] == [100.0] * 3
    other_way = in_net_order([person()])[:, list(CPM14.mirrored())]
    ways = measuring.ways_section(found._replace(flip=other_way), samples, measuring.LSP)
    assert [ways[way]["exchanged"] for way in ("single scale", "pyramid", "pyramid and mirror image")] == [0, 0, 1]


def test_a_score_is_said_with_its_joints_interval_and_curve() -> None:
    off = person()
    off[LSP14.index("neck"), 0] += 0.11 * TORSO
    measurement = measuring.measured(in_net_order([off]), [sample(person())], measuring.HELD_OUT)
    score = measuring.score_section(measurement, "LSPET", "one", "notes", "command")
    assert (score["hits"], score["count"], score["values"]["total"]) == (14, 14, 100.0)
    assert score["interval_95"] == [100.0, 100.0]
    assert score["joints"]["neck"] == {"hits": 1, "count": 1, "percent": 100.0, "interval_95": [100.0, 100.0]}
    expected = [92.86 if threshold < 0.11 else 100.0 for threshold in score["curve"]["thresholds"]]
    assert score["curve"]["total"] == expected
    assert score["protocol"] == measuring.HELD_OUT
    json.dumps(score, allow_nan=False)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Two people with pictures: a coloured square for each of the net's first parts."""
    folder = tmp_path_factory.mktemp("pictured")
    samples = []
    for number, shift in enumerate((0, 9)):
        image = np.full((100, 110, 3), 128, np.uint8)
        for part, (x, y) in enumerate(((30, 20), (60, 50), (50, 80))):
            image[y - 6 : y + 6, x + shift - 6 : x + shift + 6] = 0
            image[y - 6 : y + 6, x + shift - 6 : x + shift + 6, part] = 250
        path = folder / f"im{number}.png"
        cv2.imwrite(str(path), image)
        samples.append(replace(sample(person(), path.stem, path), dataset="LSP"))
    return samples


def test_every_stage_and_scale_finds_what_predicting_with_it_alone_finds(pictured: list[Sample]) -> None:
    net = colour_net(parts=14)
    found = measuring.find_everywhere(net, pictured, None)
    assert list(found.pyramid) == list(found.single_scale) == ["conv_stage1", "conv_stage2"]
    for row, one in enumerate(pictured):
        image = cv2.imread(str(one.require_image()))
        search = search_of(one, image.shape[:2], BOX)
        for way, multipliers in ((found.pyramid, search.multipliers), (found.single_scale, (1.0,))):
            alone = predict_person(net, image, search.center_xy, search.base_scale, multipliers)
            for stage in way.values():  # the second stage's beliefs are twice the first's
                np.testing.assert_array_equal(stage[row], alone.joints_image)
    np.testing.assert_array_equal(found.joints, found.pyramid["conv_stage2"])
    assert found.flip is None


def test_the_mirror_images_joints_are_those_of_a_net_that_looks_at_both(pictured: list[Sample]) -> None:
    net = colour_net(parts=14)
    flip = measuring.find_everywhere(net, pictured, None, flip=True).flip
    assert flip is not None
    for row, one in enumerate(pictured):
        image = cv2.imread(str(one.require_image()))
        search = search_of(one, image.shape[:2], BOX)
        both = predict_person(MirroredNet(net), image, search.center_xy, search.base_scale, search.multipliers)
        np.testing.assert_array_equal(flip[row], both.joints_image)


def test_stages_are_scored_first_to_last_both_ways(pictured: list[Sample]) -> None:
    right = in_net_order([person(), person()])
    wrong = right + 10 * TORSO
    found = measuring.Found({"one": wrong, "two": right}, {"one": wrong, "two": np.stack([right[0], wrong[1]])})
    stages = measuring.stage_section(found, pictured, measuring.LSP)
    hits = {way: [score["hits"] for score in stages[way].values()] for way in ("pyramid", "single_scale")}
    assert hits == {"pyramid": [0, 28], "single_scale": [0, 14]}


def test_drawn_people_are_shown_worst_first(monkeypatch: pytest.MonkeyPatch) -> None:
    people = DrawnPeople(count=4, seed=2, size=96, difficulty=50)
    monkeypatch.setattr(measuring, "DRAWN", people)
    net = colour_net(parts=14)
    section, cases = measuring.drawn_people(net, None, shown=3)
    hits = {}
    for one, image in (people[i] for i in range(4)):
        search = mpii_search(one.person.center, one.person.scale, BOX)
        found = predict_person(net, image, search.center_xy, search.base_scale).joints_image
        truth = dict(zip(CPM14.parts, one.person.joints, strict=True))
        torso = np.hypot(*(truth["left_shoulder"] - truth["right_hip"]))
        hits[one.name] = int((np.hypot(*(found - one.person.joints).T) <= 0.2 * torso).sum())
    assert (section["hits"], section["count"]) == (sum(hits.values()), 4 * 14)
    assert len(cases) == 3
    assert [case.subtitle.split(",")[0] for case in cases] == [f"{hits[case.title]} of 14 joints" for case in cases]
