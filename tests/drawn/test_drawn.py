"""Claim: drawn people are varied, exact, repeatable, and quick to draw.

Oracles: properties (what a joint's place shows, limbs' lengths, colors), hand-worked shapes, a slow literal hit test.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cpm_port.drawn import _kernels as kernels
from cpm_port.drawn.people import Palette, random_material, random_outfit
from cpm_port.drawn.postures import random_posture, skeleton
from cpm_port.drawn.scenes import random_background
from cpm_port.drawn.source import DrawnPeople, DrawnRecords
from cpm_port.errors import UsageError
from cpm_port.parts import CPM14

PEOPLE = DrawnPeople(40, 128, 5)


@pytest.fixture(scope="module")
def drawn() -> list:
    return [PEOPLE[index] for index in range(len(PEOPLE))]


def test_an_image_is_a_function_of_seed_and_index(drawn: list) -> None:
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(PEOPLE.__getitem__, reversed(range(len(PEOPLE)))))[::-1]
    for (sample, image), (other, repeated) in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(image, repeated)
        np.testing.assert_array_equal(sample.person.joints, other.person.joints)
    longer = DrawnPeople(100, 128, 5)[7][1]
    np.testing.assert_array_equal(drawn[7][1], longer)
    assert (DrawnPeople(40, 128, 6)[7][1].shape != longer.shape) or (DrawnPeople(40, 128, 6)[7][1] != longer).any()


def test_images_have_the_area_that_is_asked_for(drawn: list) -> None:
    shapes = {image.shape for _, image in drawn}
    assert len(shapes) == 3
    assert all(image.dtype == np.uint8 for _, image in drawn)
    assert all(abs(height * width / 128**2 - 1) < 0.02 for height, width, _ in shapes)
    assert all(sample.image_size == (image.shape[1], image.shape[0]) for sample, image in drawn)


def test_the_person_lies_in_the_image(drawn: list) -> None:
    inside = [((s.person.joints >= 0) & (s.person.joints <= np.array(s.image_size) - 1)).all() for s, _ in drawn]
    assert all(inside)


def test_people_are_varied(drawn: list) -> None:
    people = [s.person for s, _ in drawn]
    torso = np.array([p.joints[CPM14.index("neck")] - p.joints[[8, 11]].mean(axis=0) for p in people])
    lean = np.degrees(np.arctan2(torso[:, 0], -torso[:, 1]))
    assert np.std(lean) > 10
    right_minus_left = np.array([p.joints[2, 0] - p.joints[5, 0] for p in people])
    assert 0.1 < (right_minus_left > 0).mean() < 0.9  # seen from behind, and from before
    wrists = np.array([p.joints[4, 1] < p.joints[1, 1] for p in people])
    assert 0.02 < wrists.mean() < 0.6  # raised
    others = [len(s.others) for s, _ in drawn]
    assert min(others) == 0
    assert max(others) >= 2
    hidden = np.array([~p.visible for p in people])
    assert 0.02 < hidden.mean() < 0.4
    assert np.std([image.mean() for _, image in drawn]) > 15


def test_without_difficulty_one_upright_person_faces_the_viewer() -> None:
    for index in range(20):
        sample = DrawnPeople(20, 96, 2, 0)[index][0]
        joints = sample.person.joints
        assert not sample.others
        assert joints[0, 1] < joints[1, 1] < joints[8, 1] < joints[10, 1]
        assert joints[2, 0] < joints[5, 0]


def test_limbs_are_never_longer_than_the_body_allows(drawn: list) -> None:
    longest = {
        ("right_hip", "right_knee"): 0.245,
        ("left_knee", "left_ankle"): 0.235,
        ("right_elbow", "right_wrist"): 0.145,
    }
    for sample, _ in drawn:
        stature = sample.person.scale * 200
        for (first, second), share in longest.items():
            a, b = (sample.person.joints[CPM14.index(part)] for part in (first, second))
            assert np.linalg.norm(a - b) <= share * stature * (1 + 1e-9)


def test_scale_and_center_are_those_that_training_expects(drawn: list) -> None:
    for sample, _ in drawn:
        joints = sample.person.joints
        np.testing.assert_allclose(sample.person.center, (joints.min(axis=0) + joints.max(axis=0)) / 2)
        assert 0 < sample.person.scale * 200 <= 1.3 * sample.image_size[1] + 1e-6


def test_a_joint_is_visible_where_no_obstacle_lies_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    def cast(shapes: np.ndarray, depth: np.ndarray, seen: np.ndarray) -> None:
        kernels.cast(shapes, depth, seen)
        shown.append((shapes, seen.copy()))

    monkeypatch.setattr("cpm_port.drawn.picture.cast", cast)
    before = 1e4  # depth: people stand nearer to 0, obstacles far before them
    covered = 0
    for index in range(len(PEOPLE)):
        person = PEOPLE[index][0].person
        shapes, seen = shown.pop()
        for (x, y), visible in zip(person.joints, person.visible, strict=True):
            number = seen[math.floor(y + 0.5), math.floor(x + 0.5)]
            if number >= 0 and shapes[number, 2] > before:
                covered += 1
                assert not visible
    assert covered > 5


def test_a_cone_hides_what_lies_behind_it_and_looks_round() -> None:
    shapes = np.array(
        [
            [10, 20, 0, 5, 40, 20, 0, 5, kernels.CONE, 0, 1],
            [25, 5, -50, 4, 25, 35, -50, 4, kernels.CONE, 1, 1],
            [25, 30, -100, 20, 1, 0, 0, 8, kernels.CARD, 1, 1],
        ],
        float,
    )
    depth, seen = np.full((40, 50), -1e9, np.float32), np.full((40, 50), -1, np.int16)
    kernels.cast(kernels.complete(shapes), depth, seen)
    assert seen[20, 25] == 0
    assert seen[12, 25] == 1
    assert seen[33, 8] == 2
    assert seen[2, 2] == -1
    assert depth[20, 25] == pytest.approx(5)
    assert depth[23, 25] == pytest.approx(4)  # 3-4-5
    assert depth[20, 44] == pytest.approx(3)  # the ball at the end


def test_a_cone_towards_the_viewer_shows_its_nearest_ball() -> None:
    """Against a slow maximum over the balls along the axis."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        start, end = rng.uniform(5, 25, 3), rng.uniform(5, 25, 3)
        radius = rng.uniform(1, 6)
        shapes = np.array([[*start, radius, *end, radius, kernels.CONE, 0, 1]])
        depth, seen = np.full((30, 30), -1e9, np.float32), np.full((30, 30), -1, np.int16)
        kernels.cast(kernels.complete(shapes), depth, seen)
        along = np.linspace(0, 1, 2001)[:, None]
        balls = start + along * (end - start)
        for y in range(0, 30, 3):
            for x in range(0, 30, 3):
                rest = radius**2 - ((balls[:, :2] - (x, y)) ** 2).sum(axis=1)
                expected = (balls[:, 2] + np.sqrt(np.maximum(rest, 0)))[rest > 0].max(initial=-1e9)
                # near the silhouette the slow version may just miss the cone, or its depth
                if abs(np.sqrt(np.abs(rest).min())) > 0.4:
                    assert depth[y, x] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("pattern", range(1, 6))
def test_patterns_show_both_colors(pattern: int) -> None:
    shapes = kernels.complete(np.array([[20, 20, 0, 18, 1, 0, 0, 18, kernels.CARD, 0, 40]], float))
    material = np.array([[250, 0, 0, 0, 0, 250, pattern, 8, 8, 0.5, 0, 0]], np.float32)
    depth, seen = np.full((40, 40), -1e9, np.float32), np.full((40, 40), -1, np.int16)
    kernels.cast(shapes, depth, seen)
    out = np.empty((3, 40, 40), np.uint8)
    light = np.array([0, 0, 1, 0.5, 0], np.float32)
    kernels.shade(shapes, material, light, seen, np.zeros((3, 40, 40), np.uint8), 0, out)
    first, second = (out[0] > 100).mean(), (out[2] > 100).mean()
    assert min(first, second) > 0.1
    assert not ((out[0] > 140) & (out[2] > 140)).any()


def test_clothes_do_not_look_like_skin() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        palette = Palette([])
        outfit = random_outfit(rng, palette)
        skin, top, bottom = (palette.rows[number][:3] for number in (outfit.skin, outfit.top, outfit.bottom))
        assert np.abs(skin - top).max() > 70
        assert np.abs(skin - bottom).max() > 70


def test_skeletons_keep_their_proportions() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        points = skeleton(random_posture(rng, 1.0))
        for first, second, length in (("right_hip", "right_knee", 0.245), ("left_elbow", "left_wrist", 0.145)):
            assert np.linalg.norm(points[first] - points[second]) == pytest.approx(length)
        assert np.linalg.norm(points["head_top"] - points["neck"]) == pytest.approx(0.14)


def test_backgrounds_and_materials_are_in_range() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        background = random_background(rng, 50, 40, 1.0)
        assert (background.shape, background.dtype) == ((3, 40, 50), np.uint8)
        assert background.std() > 1
        assert (random_material(rng)[:6] >= 0).all()
        assert (random_material(rng)[:6] <= 255).all()


def test_records_hold_the_same_people() -> None:
    sample, image = PEOPLE[4]
    record = DrawnRecords(40, 128, 5)[4]
    np.testing.assert_array_equal(record.planes, image.transpose(2, 0, 1))
    assert (record.write_number, record.total_write_number, record.dataset) == (4, 40, "DRAWN")
    assert len(record.others) == len(sample.others)


def test_a_hundred_images_are_drawn_in_a_second_or_so() -> None:
    people = DrawnPeople(30, 256, 8)
    people[0]
    start = time.thread_time()
    for index in range(len(people)):
        people[index]
    assert time.thread_time() - start < 30 * 0.03  # a third of what is promised: machines are shared


@pytest.mark.parametrize("fields", [{"count": 0}, {"size": 16}, {"seed": -1}, {"difficulty": 101}])
def test_a_set_that_cannot_be_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="count from 1, size 32 to 2048, seed from 0 and difficulty 0 to 100"):
        DrawnPeople(**fields)


@pytest.mark.parametrize("index", [-1, 40])
def test_an_index_outside_the_set_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        PEOPLE[index]
    assert math.isfinite(PEOPLE[39][0].person.scale)
