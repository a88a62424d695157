"""Claim: what `cpm-port predict` writes is read back as it was, and what is no such file is refused by name.

Oracles: records made here; the files' keys, in their order, typed here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpm_port.errors import DataError
from cpm_port.predictions.image_results import ImageResult
from cpm_port.predictions.result_parts import FRAME, PLACES, FileRecord, JointRecord, ModelRecord, SearchRecord
from cpm_port.predictions.results import read_result
from cpm_port.predictions.video_results import FrameRecord, VideoHead, VideoResult, VideoResultWriter

MODEL = ModelRecord(FileRecord("net.prototxt", "ab"), FileRecord("net.caffemodel", "cd"), "default")
SEARCH = SearchRecord((160, 200), "benchmark", (99.0, 79.5), 1 / 3, (0.7, 0.1 + 0.2), 368, "cpm14")
JOINTS = (JointRecord("head_top", 1.0, 2.5, 0.1 + 0.2), JointRecord("neck", -3.0, 1e-17, 5.0))
IMAGE = ImageResult("é/person.png", SEARCH, JOINTS, PLACES["found"], MODEL)
SEARCH_KEYS = [
    "image_size", "frame", "score", "mode", "center", "base_scale", "multipliers", "scales", "box_size", "part_order",
]  # fmt: skip


def video(frames: int) -> VideoResult:
    head = VideoHead("walk.mp4", 25.0, SEARCH, MODEL)
    return VideoResult(head, tuple(FrameRecord(i, i / 25, JOINTS) for i in range(frames)), 9, False)


def write_video(path: Path, result: VideoResult) -> None:
    with path.open("w", encoding="utf-8") as file:
        writer = VideoResultWriter(file, result.head)
        for frame in result.frames:
            writer.add(frame)
        writer.end(result.declared_frames, result.complete)


@pytest.mark.parametrize("model", [MODEL, ModelRecord(MODEL.net, MODEL.weights)], ids=["named", "nameless"])
def test_an_images_result_is_read_back_as_it_was(tmp_path: Path, model: ModelRecord) -> None:
    written = ImageResult("é/person.png", SEARCH, JOINTS, PLACES["found"], model)
    (tmp_path / "a.json").write_text(written.text(), encoding="utf-8")
    assert read_result(tmp_path / "a.json") == written


@pytest.mark.parametrize("frames", [1, 3])
def test_a_videos_result_is_read_back_as_it_was_and_has_a_line_per_frame(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.json"
    write_video(path, video(frames))
    assert read_result(path) == video(frames)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith('    {"index": ') for line in lines) == frames


def test_the_keys_stand_in_their_order(tmp_path: Path) -> None:
    assert list(IMAGE.to_json()) == ["image", *SEARCH_KEYS, "joints", "place", "model"]
    assert IMAGE.to_json()["frame"] == FRAME
    assert IMAGE.to_json()["scales"] == [1 / 3 * 0.7, 1 / 3 * (0.1 + 0.2)]
    write_video(tmp_path / "a.json", video(2))
    ends = ["frames", "frame_count", "declared_frames", "complete"]
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["video", "rate", *SEARCH_KEYS, "model", *ends]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": "inches"}, "frame is 'inches', expected 'image pixels"),
        ({"box_size": 1.5}, "box_size is 1.5, expected a whole number"),
        ({"base_scale": "1"}, "base_scale is '1', expected a number"),
        ({"joints": {}}, r"joints is \{\}, expected a list"),
        ({"joints": [{"name": "neck"}]}, "joint 0: not what .* missing x, y, score, unknown nothing"),
        ({"more": 1}, "missing nothing, unknown more"),
        ({"multipliers": [True]}, "multipliers are .*, expected numbers"),
        ({"model": 3}, "model: expected an object, got int"),
    ],
)
def test_what_is_no_result_is_refused_with_the_place(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(IMAGE.to_json() | change))
    with pytest.raises(DataError, match=rf"a\.json.*{message}"):
        read_result(path)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(IMAGE.text()[:-20])
    with pytest.raises(DataError, match="not readable JSON"):
        read_result(path)
    write_video(path, video(3))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"frames": content["frames"][:2]}))
    with pytest.raises(DataError, match="2 frames, but frame_count is 3"):
        read_result(path)
