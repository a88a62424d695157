"""The JSON of a video, as one typed thing: written frame by frame, read at once.

`results.py` says what the keys mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TextIO

from cpm_port.errors import DataError
from cpm_port.predictions._objects import JsonObject
from cpm_port.predictions.result_parts import (
    FRAME,
    JointRecord,
    ModelRecord,
    PersonRecord,
    SearchRecord,
    dumped,
    read_joints,
    read_people,
    score_words,
)

__all__ = ["FollowedHead", "FrameRecord", "VideoHead", "VideoResult", "VideoResultWriter"]


@dataclass(frozen=True)
class FrameRecord:
    """A video's frame: number from 0, time in seconds, the joints in it; or its people, where all were followed."""

    index: int
    time: float
    joints: tuple[JointRecord, ...]
    people: tuple[PersonRecord, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{index, time, joints}`, or `{index, time, people}`."""
        if self.people is not None:
            return {"index": self.index, "time": self.time, "people": [person.to_json() for person in self.people]}
        return {"index": self.index, "time": self.time, "joints": [joint.to_json() for joint in self.joints]}

    @classmethod
    def from_json(cls, content: Any, where: str) -> FrameRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        of = "people" if isinstance(content, dict) and "people" in content else "joints"
        found = JsonObject(content, where, ("index", "time", of))
        index, time, rows = found.whole("index"), found.number("time"), found.rows(of)
        return (
            cls(index, time, (), read_people(rows, where))
            if of == "people"
            else cls(index, time, read_joints(rows, where))
        )


@dataclass(frozen=True)
class VideoHead:
    """What is known of a video before its frames: path, frames per second, how and with what joints are looked for."""

    video: str
    rate: float | None
    search: SearchRecord
    model: ModelRecord

    def to_json(self) -> dict[str, Any]:
        """Return the first keys of a video's file."""
        return {"video": self.video, "rate": self.rate, **self.search.to_json(), "model": self.model.to_json()}


@dataclass(frozen=True)
class FollowedHead:
    """What is known before its frames of a video whose people are followed; `size` is height and width, px."""

    video: str
    rate: float | None
    size: tuple[int, int]
    mode: str
    box_size: int
    part_order: str
    model: ModelRecord

    KEYS = ("video", "rate", "image_size", "frame", "score", "mode", "box_size", "part_order", "model")

    def to_json(self) -> dict[str, Any]:
        """Return the first keys of a video's file."""
        height, width = self.size
        return {
            "video": self.video,
            "rate": self.rate,
            "image_size": {"width": width, "height": height},
            "frame": FRAME,
            "score": score_words(self.mode),
            "mode": self.mode,
            "box_size": self.box_size,
            "part_order": self.part_order,
            "model": self.model.to_json(),
        }

    @classmethod
    def from_json(cls, found: JsonObject, where: str) -> FollowedHead:
        """Read the keys of `KEYS`; DataError where they are something else."""
        size = JsonObject(found["image_size"], f"{where}: image_size", ("width", "height"))
        return cls(
            found.text("video"),
            None if found["rate"] is None else found.number("rate"),
            (size.whole("height"), size.whole("width")),
            found.text("mode"),
            found.whole("box_size"),
            found.text("part_order"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
        )


@dataclass(frozen=True)
class VideoResult:
    """What was found in a video.

    Attributes
    ----------
    head : VideoHead or FollowedHead
    frames : tuple of FrameRecord
    declared_frames : int or None
        How many frames the video claims to have.
    complete : bool
        Whether it had them.
    """

    head: VideoHead | FollowedHead
    frames: tuple[FrameRecord, ...]
    declared_frames: int | None
    complete: bool

    @classmethod
    def from_json(cls, content: Any, where: str) -> VideoResult:
        """Read what a `VideoResultWriter` wrote; DataError where it is something else."""
        followed = isinstance(content, dict) and "center" not in content
        own = FollowedHead.KEYS if followed else ("video", "rate", *SearchRecord.KEYS, "model")
        found = JsonObject(content, where, (*own, "frames", "frame_count", "declared_frames", "complete"))
        head: VideoHead | FollowedHead
        if followed:
            head = FollowedHead.from_json(found, where)
        else:
            rate = None if found["rate"] is None else found.number("rate")
            model = ModelRecord.from_json(found["model"], f"{where}: model")
            head = VideoHead(found.text("video"), rate, SearchRecord.from_json(content, where), model)
        frames = [FrameRecord.from_json(row, f"{where}: frame {i}") for i, row in enumerate(found.rows("frames"))]
        if found.whole("frame_count") != len(frames):
            raise DataError(f"{where}: {len(frames)} frames, but frame_count is {found['frame_count']}")
        declared = None if found["declared_frames"] is None else found.whole("declared_frames")
        return cls(head, tuple(frames), declared, found["complete"] is True)


class VideoResultWriter:
    """Writes a video's file while the frames go by: the head, a line per frame, the end.

    Parameters
    ----------
    file : text file
    head : VideoHead or FollowedHead
    """

    def __init__(self, file: TextIO, head: VideoHead | FollowedHead) -> None:
        self._file, self._count = file, 0
        file.write(dumped(head.to_json(), indent=2).removesuffix("\n}") + ',\n  "frames": [')

    def add(self, frame: FrameRecord) -> None:
        """Write one frame."""
        self._file.write(("," if self._count else "") + "\n    " + dumped(frame.to_json()))
        self._count += 1

    def end(self, declared_frames: int | None, complete: bool) -> None:
        """Write how many frames there were, and how many there should have been."""
        tail = {"frame_count": self._count, "declared_frames": declared_frames, "complete": complete}
        self._file.write("\n  ],\n" + dumped(tail, indent=2).removeprefix("{\n") + "\n")
