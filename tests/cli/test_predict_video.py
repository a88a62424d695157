"""Claim: `cpm-port predict VIDEO` finds the joints in every frame, and says so where a video is not whole.

Oracle: a drawn video of squares that move as told, and a net whose joints are the squares (tests/inference/nets.py).
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.errors import DataError, MissingFileError
from cpm_port.imaging import video as video_module
from cpm_port.imaging.video import UNKNOWN_RATE, VideoReader, VideoWriter, written_encoder
from tests.inference.nets import colour_net, colour_net_text

FRAMES, RATE, HEIGHT, WIDTH = 12, 10.0, 160, 200
OPTIONS = ["--multipliers", "0.8", "1.0"]


def spots(index: int) -> list[tuple[int, int]]:
    """Return x, y of a blue, a green and a red square."""
    return [(40 + 4 * index, 60), (140, 50 + 2 * index), (90 - 2 * index, 120)]


def drawn(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    frame = np.zeros((height, width, 3), np.uint8)
    for channel, (x, y) in enumerate(spots(index)):
        frame[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    return frame


def film(path: Path, frames: int = FRAMES) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v")), RATE, (WIDTH, HEIGHT)
    )
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {path.suffix}")
    for index in range(frames):
        writer.write(drawn(index))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "colours.caffemodel")
    return ["--net", str(folder / "colours.prototxt"), "--weights", str(folder / "colours.caffemodel"), *OPTIONS]


def decoded(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame for _, frame in reader]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv"])
def test_every_frame_gets_its_joints(
    suffix: str, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = film(tmp_path / f"walk{suffix}"), tmp_path / "out"
    assert main(["predict", str(source), *model, "--out", str(out)]) == 0
    pictured = out / f"walk_joints{written_encoder().suffix}"
    assert sorted(path.name for path in out.iterdir()) == sorted(["walk.json", pictured.name])
    found = json.loads((out / "walk.json").read_text())
    assert (found["video"], found["rate"], found["frame_count"], found["complete"]) == (
        str(source),
        RATE,
        FRAMES,
        True,
    )
    assert found["image_size"] == {"width": WIDTH, "height": HEIGHT}
    assert found["frame"].startswith("image pixels, 0-based")
    assert found["multipliers"] == [0.8, 1.0]
    assert [line["index"] for line in found["frames"]] == list(range(FRAMES))
    assert [line["time"] for line in found["frames"]] == pytest.approx([i / RATE for i in range(FRAMES)], abs=1e-3)
    for line in found["frames"]:
        assert [joint["name"] for joint in line["joints"]] == ["part_0", "part_1", "part_2"]
        for joint, (x, y) in zip(line["joints"], spots(line["index"]), strict=True):
            assert (joint["x"], joint["y"]) == (pytest.approx(x, abs=10), pytest.approx(y, abs=10))
            assert joint["score"] > 0
    pictures = decoded(pictured)
    assert [picture.shape for picture in pictures] == [(HEIGHT, WIDTH, 3)] * FRAMES
    away = np.abs(pictures[-1].astype(int) - drawn(FRAMES - 1)).max(axis=2) > 60
    assert away.mean() < 0.25  # the frame; what differs is the drawing, and coding
    assert "1 of 1 files predicted" in capsys.readouterr().out


def test_a_frame_gets_what_the_same_image_gets(model: list[str], tmp_path: Path) -> None:
    source, out = film(tmp_path / "walk.avi", 3), tmp_path / "out"
    for index, frame in enumerate(decoded(source)):
        cv2.imwrite(str(tmp_path / f"still{index}.png"), frame)
    stills = [str(tmp_path / f"still{index}.png") for index in range(3)]
    assert main(["predict", str(source), *stills, *model, "--box", "30", "20", "140", "120", "--out", str(out)]) == 0
    lines = json.loads((out / "walk.json").read_text())["frames"]
    assert [line["joints"] for line in lines] == [
        json.loads((out / f"still{index}.json").read_text())["joints"] for index in range(3)
    ]


def test_a_folder_gives_its_images_and_videos(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    film(folder / "b.mp4", 2)
    film(folder / "a.avi", 2)
    cv2.imwrite(str(folder / "a.png"), drawn(0))
    (folder / "broken.mkv").write_bytes(b"no video" * 50)
    assert main(["predict", str(folder), *model, "--out", str(out)]) == 2
    assert sorted(path.name for path in out.glob("*.json")) == ["a-2.json", "a.json", "b.json"]
    said = capsys.readouterr()
    assert "broken.mkv: not a video that can be decoded" in said.err
    assert "3 of 4 files predicted" in said.out


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_cut_short_gives_its_frames_and_an_error(
    suffix: str, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = cut(film(tmp_path / f"walk{suffix}", 20), 0.6), tmp_path / "out"
    assert main(["predict", str(source), *model, "--out", str(out)]) == 2
    assert "cut short: it holds " in capsys.readouterr().err
    found = json.loads((out / "walk.json").read_text())
    assert found["complete"] is False
    assert found["declared_frames"] == 20
    assert 2 < found["frame_count"] == len(found["frames"]) < 18


@pytest.mark.parametrize("content", [b"", b"hello world" * 100, None], ids=["empty", "text", "index cut off"])
def test_what_is_no_video_is_an_error(
    content: bytes | None, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "walk.mp4"
    if content is None:
        cut(film(path), 0.6)
    else:
        path.write_bytes(content)
    assert main(["predict", str(path), *model, "--out", str(tmp_path / "out")]) == 2
    assert "walk.mp4: not a video that can be decoded here, or cut short before its index" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*")) == []


def test_senseless_places_fail_the_video_and_write_nothing(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = film(tmp_path / "walk.avi", 3), tmp_path / "out"
    options = ["--center", "9000", "9000", "--base-scale", "0.5", "--out", str(out)]
    assert main(["predict", str(source), *model, *options]) == 2
    assert "walk.avi: frame 0: center (9000, 9000)" in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupt_keeps_the_frames_that_are_done(
    model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    from cpm_port.inference import videos

    calls = 0

    def interrupted(*arguments: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return drawn(0)

    monkeypatch.setattr(videos, "draw_joints", interrupted)
    source, out = film(tmp_path / "walk.avi"), tmp_path / "out"
    assert main(["predict", str(source), *model, "--out", str(out)]) == 130
    if at == 1:
        assert list(out.iterdir()) == []
    else:
        found = json.loads((out / "walk.json").read_text())
        assert (found["frame_count"], found["complete"]) == (at - 1, False)
        assert len(decoded(next(out.glob("walk_joints.*")))) == at - 1
    assert not any(thread.name.startswith("cpm_port.stream") for thread in threading.enumerate())


def test_results_never_overwrite_a_video(model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = film(tmp_path / "walk.avi", 1), film(tmp_path / f"walk_joints{written_encoder().suffix}", 1)
    before = second.read_bytes()
    assert main(["predict", str(first), str(second), *model, "--out", str(tmp_path)]) == 2
    assert "would overwrite an input" in capsys.readouterr().err
    assert second.read_bytes() == before


def test_frames_are_decoded_when_asked_for(tmp_path: Path) -> None:
    with VideoReader(film(tmp_path / "walk.mp4")) as reader:
        assert (reader.size, reader.rate, reader.declared, reader.count) == ((HEIGHT, WIDTH), RATE, FRAMES, 0)
        frames = iter(reader)
        for expected in range(3):
            assert next(frames)[0] == pytest.approx(expected / RATE)
        assert reader.count == 3
        assert len(list(frames)) == FRAMES - 3
        assert not reader.cut_short


def test_an_absent_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.mp4: no such video"):
        VideoReader(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("absent", "suffix", "name"),
    [((), ".mp4", "H.264"), (("avc1",), ".mp4", "MPEG-4"), (("avc1", "mp4v"), ".avi", "Motion JPEG")],
)
def test_the_best_encoder_is_taken_and_one_that_browsers_do_not_play_is_said(
    absent: tuple[str, ...], suffix: str, name: str, model: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With encoders that are taken away, and MPEG-4 in the place of an H.264 that is not here."""
    encoder = cv2.VideoWriter

    def other(path: str, code: int, rate: float, size: tuple[int, int]) -> object:
        if code in {encoder.fourcc(*letters) for letters in absent}:
            return encoder()  # not opened
        return encoder(path, encoder.fourcc(*"mp4v") if code == encoder.fourcc(*"avc1") else code, rate, size)

    source, out = film(tmp_path / "walk.avi", 2), tmp_path / "out"
    other.fourcc = encoder.fourcc  # type: ignore[attr-defined]
    monkeypatch.setattr(video_module.cv2, "VideoWriter", other)
    written_encoder.cache_clear()
    try:
        assert main(["predict", str(source), *model, "--out", str(out)]) == 0
        assert len(decoded(out / f"walk_joints{suffix}")) == 2
        said = f"videos are written as {name}, which browsers do not play: this OpenCV has no H.264 encoder"
        assert (said in capsys.readouterr().err) == bool(absent)
        if suffix == ".avi":
            with pytest.raises(DataError, match="no encoder for 64 x 48 px"):
                VideoWriter(tmp_path / "a.mp4", None, (48, 64))
    finally:
        written_encoder.cache_clear()


def test_a_video_of_unknown_rate_is_written_at_a_usual_one(tmp_path: Path) -> None:
    path = tmp_path / f"a{written_encoder().suffix}"
    with VideoWriter(path, None, (48, 64)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    with VideoReader(path) as reader:
        assert reader.rate == UNKNOWN_RATE
