"""Claim: people keep their numbers from frame to frame, also where they cross, are lost, and come back.

Oracles: drawn-up walks whose numbers are known; the net whose joints are known (tests/inference/nets.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.imaging.video import VideoWriter
from cpm_port.inference.colours import colour_likeness, limb_colours
from cpm_port.inference.following import Follower
from cpm_port.inference.interface import read_interface
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.tracking import LOST, MOST_TRACKS, SEARCH_LOST, Pose, Tracker
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.parts import CPM14
from cpm_port.predictions.result_parts import FileRecord, ModelRecord, PersonRecord
from cpm_port.predictions.results import read_result
from cpm_port.predictions.video_results import FollowedHead, FrameRecord, VideoResult
from cpm_port.zoo import resolve
from tests.inference.nets import Spy, colour_net, colour_net_text


def body(x: float, y: float = 100.0, height: float = 80.0) -> np.ndarray:
    return np.stack([np.linspace(-0.2, 0.2, 14) * height + x, np.linspace(-0.5, 0.5, 14) * height + y], axis=1)


class Scene:
    """People who walk, and a finder and a net that see whoever is in sight, the front one where two overlap."""

    def __init__(self) -> None:
        self.tracker = Tracker(CPM14)
        self.most = 0

    def step(self, people: list[np.ndarray]) -> dict[int, np.ndarray]:
        expected = self.tracker.expected()
        self.most = max(self.most, len(expected))
        looked = []
        for i, where in enumerate(expected):
            away = [float(np.hypot(*(where - joints).mean(axis=0))) for joints in people]
            best = int(np.argmin(away)) if away else -1
            near = bool(away) and away[best] < 40
            looked.append(Pose(people[best] if near else where, 0.8 if near else 0.05, i))
        found = [Pose(joints, 0.8, -1) for joints in people] if self.tracker.wants_search else []
        return {number: pose.joints for number, pose in self.tracker.update(looked, found)}


def test_people_who_stay_apart_keep_their_numbers() -> None:
    scene = Scene()
    for t in range(60):
        seen = scene.step([body(50 + t), body(400 - t)])
        assert {number: round(float(joints.mean(axis=0)[0])) for number, joints in seen.items()} == {
            1: 50 + t,
            2: 400 - t,
        }


def test_people_who_cross_keep_their_numbers() -> None:
    scene = Scene()
    seen: dict[int, np.ndarray] = {}
    for t in range(90):
        first, second = 60 + 3 * t, 330 - 3 * t
        hidden = abs(first - second) < 25  # the second one is behind the first
        seen = scene.step([body(first)] if hidden else [body(first), body(second)])
    assert sorted(seen) == [1, 2]
    assert float(seen[1].mean(axis=0)[0]) == pytest.approx(first)
    assert float(seen[2].mean(axis=0)[0]) == pytest.approx(second)


BLUE, RED = np.eye(64)[3], np.eye(64)[60]


def test_people_who_exchange_their_places_between_two_frames_are_known_by_their_colours() -> None:
    tracker = Tracker(CPM14)
    here = [Pose(body(100), 0.8, 0, BLUE), Pose(body(145), 0.8, 1, RED)]
    tracker.update([], here)
    tracker.update(here, [])
    swapped = [Pose(body(100), 0.8, 0, RED), Pose(body(145), 0.8, 1, BLUE)]
    assert [(number, pose.index) for number, pose in tracker.update(swapped, [])] == [(1, 1), (2, 0)]


def test_somebody_in_other_colours_is_nobody_known() -> None:
    tracker = Tracker(CPM14)
    tracker.update([], [Pose(body(100), 0.8, 0, BLUE)])
    stranger = Pose(body(100), 0.8, 0, RED)
    assert tracker.update([stranger], []) == []
    assert [number for number, _ in tracker.update([stranger], [stranger])] == [2]


def test_colours_are_not_learned_from_somebody_who_stands_before_others() -> None:
    tracker = Tracker(CPM14)
    tracker.update([], [Pose(body(100), 0.8, 0, BLUE), Pose(body(300), 0.8, 1, RED)])
    mixed = 0.55 * BLUE + 0.45 * RED
    for _ in range(40):
        tracker.update([Pose(body(100), 0.8, 0, mixed), Pose(body(300), 0.8, 1, RED)], [])
    back = [Pose(body(100), 0.8, 0, RED), Pose(body(300), 0.8, 1, BLUE)]
    assert [number for number, _ in tracker.update(back, [])] == []


def test_who_was_gone_for_long_is_known_by_their_colours_and_nobody_looks_for_them() -> None:
    tracker = Tracker(CPM14)
    tracker.update([], [Pose(body(100), 0.8, 0, BLUE)])
    while tracker.expected():
        tracker.update([Pose(body(100), 0.05, 0, BLUE)], [])
    assert tracker.update([], [Pose(body(700), 0.8, 0, RED)])[0][0] == 2
    seen = tracker.update([Pose(body(700), 0.8, 0, RED)], [Pose(body(400), 0.8, 1, BLUE)])
    assert [(number, pose.index) for number, pose in seen] == [(1, 1), (2, 0)]


def test_somebody_found_beside_others_gets_the_number_back_as_soon_as_their_colours_show() -> None:
    tracker = Tracker(CPM14)
    tracker.update([], [Pose(body(100), 0.8, 0, BLUE), Pose(body(500), 0.8, 1, RED)])
    tracker.update([Pose(body(100), 0.05, 0, RED), Pose(body(500), 0.8, 1, RED)], [])
    mixed = 0.4 * BLUE + 0.6 * np.eye(64)[30]
    beside = [Pose(body(100), 0.05, 0, RED), Pose(body(500), 0.8, 1, RED)]
    assert [n for n, _ in tracker.update(beside, [Pose(body(535), 0.8, 2, mixed)])] == [2, 3]
    alone = [Pose(body(100), 0.05, 0, RED), Pose(body(500), 0.8, 1, RED), Pose(body(560), 0.8, 2, BLUE)]
    assert [n for n, _ in tracker.update(alone, [])] == [1, 2]


def test_colours_are_counted_along_the_limbs() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50, :, 0], image[50:, :, 2] = 255, 255
    joints = np.full((14, 2), (50.0, 20.0))
    joints[[9, 10, 12, 13], 1] = 80.0  # knees and ankles
    shares = limb_colours(image, joints, CPM14)
    assert shares.shape == (64,)
    assert shares[[3 * 16, 3]].sum() == shares.sum() == pytest.approx(1.0)
    assert shares[3] == pytest.approx(3 / 13)  # two shanks, and the lower halves of two thighs, of thirteen limbs
    assert colour_likeness(shares, shares) == pytest.approx(1.0)
    assert colour_likeness(np.eye(64)[3], np.eye(64)[60]) == 0.0


def test_while_somebody_is_lost_the_whole_picture_is_searched_now_and_then() -> None:
    tracker = Tracker(CPM14)
    here = Pose(body(100), 0.8, 0)
    tracker.update([], [here, Pose(body(400), 0.8, 1)])
    searched = []
    for frame in range(1, 24):
        if tracker.wants_search:
            searched.append(frame)
        tracker.update([here, Pose(body(400), 0.05, 1)], [])
    assert searched == [1 + frames for frames in SEARCH_LOST if frames < 23]


def test_who_comes_back_in_time_is_known_and_who_comes_too_late_is_new() -> None:
    for gone, number in ((LOST - 25, 1), (LOST + 30, 2)):
        scene = Scene()
        for _ in range(10):
            scene.step([body(100)])
        for _ in range(gone):
            assert scene.step([]) == {}
        for _ in range(26):
            seen = scene.step([body(108)])
        assert list(seen) == [number]


def test_two_numbers_never_tell_of_the_same_pose() -> None:
    tracker = Tracker(CPM14)
    both = [Pose(body(100), 0.9, 0), Pose(body(101), 0.8, 1)]
    assert [number for number, _ in tracker.update([], both)] == [1]


def test_the_number_of_people_kept_is_bounded() -> None:
    tracker = Tracker(CPM14)
    seen = tracker.update([], [Pose(body(200.0 * i), 0.9, i) for i in range(2 * MOST_TRACKS)])
    assert len(seen) == len(tracker.expected()) == MOST_TRACKS


def test_a_followed_videos_file_is_read_back() -> None:
    import io
    import json

    from cpm_port.predictions.video_results import VideoResultWriter

    file = FileRecord("a", "0" * 64)
    head = FollowedHead("a.mp4", 25.0, (120, 160), "benchmark", 184, "cpm14", ModelRecord(file, file))
    frames = (FrameRecord(0, 0.0, (), (PersonRecord((1.0, 2.0), (), None, 0.5, 3),)), FrameRecord(1, 0.04, (), ()))
    text = io.StringIO()
    writer = VideoResultWriter(text, head)
    for frame in frames:
        writer.add(frame)
    writer.end(2, True)
    assert VideoResult.from_json(json.loads(text.getvalue()), "a.json") == VideoResult(head, frames, 2, True)


@pytest.mark.parametrize(("where", "scales"), [(Whereabouts(), 1), (Whereabouts(multipliers=(0.9, 1.1)), 2)])
def test_people_are_followed_at_one_scale_and_the_whole_picture_is_searched_at_first(
    where: Whereabouts, scales: int
) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    for channel, (x, y) in enumerate(((30, 40), (80, 30), (55, 70))):
        image[y - 10 : y + 11, x - 10 : x + 11, channel] = 250
    net = Spy(colour_net())
    file = FileRecord("a", "0" * 64)
    follower = Follower(ReadyNet(net, read_interface(net), None, ModelRecord(file, file), False), where)
    first = follower.follow(image)
    searched = len(net.calls)
    net.calls.clear()
    again = follower.follow(image)
    assert searched > 3
    assert [shape[0] for shape, _ in net.calls] == [scales * len(first)]
    assert again[0].id == first[0].id


def test_the_command_follows_everybody_in_a_video(tmp_path: Path) -> None:
    (tmp_path / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(tmp_path / "colours.caffemodel")
    resolve(None, tmp_path / "colours.prototxt", tmp_path / "colours.caffemodel")
    with VideoWriter(tmp_path / "film.avi", 10.0, (96, 128)) as video:
        for t in range(3):
            image = np.zeros((96, 128, 3), np.uint8)
            for channel, (x, y) in enumerate(((30, 40), (80, 30), (55, 70))):
                image[y - 10 : y + 11, x + 2 * t - 10 : x + 2 * t + 11, channel] = 250
            video.write(image)
    net = ["--net", str(tmp_path / "colours.prototxt"), "--weights", str(tmp_path / "colours.caffemodel")]
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "film.avi"), *net, "--people", "all", "--out", str(out)]) == 0
    found = read_result(out / "film.json")
    assert isinstance(found, VideoResult)
    assert isinstance(found.head, FollowedHead)
    numbers = [[person.track for person in frame.people or ()] for frame in found.frames]
    assert numbers[0]
    assert all(frame[:1] == [1] for frame in numbers)
