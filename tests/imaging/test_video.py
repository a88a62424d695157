"""Videos are opened for what they hold themselves, whatever they are called. Oracle: frames that the test wrote."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cpm_port.errors import DataError
from cpm_port.imaging.video import VideoReader, VideoWriter
from tests.support import GOLDEN

PLAYLISTS = GOLDEN / "faults" / "video_playlist"
TEXTS = {
    "a list of segments": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
    "a list with a mark before it": b"\xef\xbb\xbfffconcat version 1.0\nfile other.mp4\n",
    "a list behind spaces": b"  \nffconcat version 1.0\nfile other.mp4\n",
    "a session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    "a manifest": b'<?xml version="1.0"?><MPD></MPD>',
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    "another AVI's list": b"RIFF\0\0\0\0WAVE",
}


@pytest.mark.parametrize("name", ["concat", "dash", "http", "sdp", "self"])
def test_a_playlist_is_refused_before_ffmpeg_opens_it(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=rf"{name}\.mp4: not a video that can be decoded here.*found b'"):
        VideoReader(PLAYLISTS / f"{name}.mp4")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_no_text_is_opened(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(TEXTS[kind])
    (tmp_path / "other.mp4").write_bytes((PLAYLISTS / "other.mp4").read_bytes())
    with pytest.raises(DataError, match="expected a video file of a known kind"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["plain", "concat:a|b", "file:a", "a%03d", "%d", os.fsdecode(b"bad\xff"), "ŝ"])
def test_a_name_is_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"{name}.mp4")
    with VideoWriter(path, 25.0, (32, 48)) as writer:
        for _ in range(3):
            writer.write(np.full((32, 48, 3), 200, np.uint8))
    with VideoReader(path) as reader:
        assert reader.size == (32, 48)
        assert len(list(reader)) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_frames_that_an_encoder_loses_are_told(tmp_path: Path) -> None:
    def write() -> None:
        with VideoWriter(tmp_path / "a.avi", 25.0, (32, 48)) as writer:
            for width in (48, 48, 50):  # of another size than was said
                writer.write(np.zeros((32, width, 3), np.uint8))

    with pytest.raises(OSError, match="2 of its 3 frames are there"):
        write()
