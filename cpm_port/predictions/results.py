"""The JSON that `cpm-port predict` writes of an image or a video, as one typed thing: written and read here.

Where in the flow: JOINTS -> FILE -> JOINTS. No torch.

Conventions: joints are image px, 0-based, x to the right, y down; (0, 0) is the centre of the top left pixel. Numbers
are written so that they are read back exactly; names may be in any script.

The file of an image, in this order:

- `image`: its path, as it was given;
- how the joints were looked for (`SearchRecord`): `image_size` (`width`, `height`, px), `frame` (the words of
  `FRAME`), `score` (what a joint's score is, in words), `mode` ("benchmark" or "demo"), `center` (`x`, `y`),
  `base_scale` (scaled px per image px), `multipliers` (of the base scale), `scales` (their products), `box_size` (px),
  `part_order` (a name);
- `joints`: a list of `name`, `x`, `y`, `score`, in the order of the net's parts;
- `place`: how it came about where the person was looked for (`PLACES`);
- `model`: `name` (of the zoo's models only), `net` and `weights`, each with `file` and `sha256`.

The file of a video: `video`, `rate` (frames per second, null where the file does not say), how the joints were looked
for, `model`, `frames` (one line each: `index`, `time` in seconds, `joints`), and at the end `frame_count`,
`declared_frames` (what the file claims, null where it does not) and `complete`. It is written frame by frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cpm_port.errors import DataError
from cpm_port.predictions._objects import JsonObject, is_number

__all__ = [
    "FRAME",
    "PLACES",
    "FileRecord",
    "FrameRecord",
    "ImageResult",
    "JointRecord",
    "ModelRecord",
    "SearchRecord",
    "VideoHead",
    "VideoResult",
    "VideoResultWriter",
    "read_result",
]

FRAME = "image pixels, 0-based, x to the right, y down; (0, 0) is the centre of the top left pixel"
PLACES = {
    "given": "given by the user",
    "found": "looked for in the whole picture",
    "rule": "taken for the image's centre, as tall as the image",
}
"""Where the person was looked for, in the results' words."""


@dataclass(frozen=True)
class FileRecord:
    """Which file: its name without folders, and its SHA-256."""

    file: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return `{file, sha256}`."""
        return {"file": self.file, "sha256": self.sha256}

    @classmethod
    def from_json(cls, content: Any, where: str) -> FileRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("file", "sha256"))
        return cls(found.text("file"), found.text("sha256"))


@dataclass(frozen=True)
class ModelRecord:
    """Which model: its two files, and its name where it is one of the zoo's."""

    net: FileRecord
    weights: FileRecord
    name: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{name, net, weights}`, without a name where there is none."""
        named = {} if self.name is None else {"name": self.name}
        return {**named, "net": self.net.to_json(), "weights": self.weights.to_json()}

    @classmethod
    def from_json(cls, content: Any, where: str) -> ModelRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("net", "weights"), ("name",))
        net = FileRecord.from_json(found["net"], f"{where}: net")
        weights = FileRecord.from_json(found["weights"], f"{where}: weights")
        return cls(net, weights, found.text("name") if "name" in found else None)


@dataclass(frozen=True)
class SearchRecord:
    """How joints were looked for.

    Attributes
    ----------
    image_size : (int, int)
        Height and width, px.
    mode : {"benchmark", "demo"}
        Whether the scales' maps were summed or averaged.
    center_xy : (float, float)
        Image px.
    base_scale : float
        Scaled px per image px at multiplier 1.
    multipliers : tuple of float
    box_size : int
        Side of the net's input, px.
    part_order : str
        Its name (`cpm_port.parts.ORDERS` for the known ones).
    """

    image_size: tuple[int, int]
    mode: str
    center_xy: tuple[float, float]
    base_scale: float
    multipliers: tuple[float, ...]
    box_size: int
    part_order: str

    KEYS = (
        "image_size", "frame", "score", "mode", "center", "base_scale", "multipliers", "scales", "box_size",
        "part_order",
    )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `KEYS`: these fields, and what follows from them."""
        height, width = self.image_size
        return {
            "image_size": {"width": width, "height": height},
            "frame": FRAME,
            "score": f"belief map's peak, {'sum' if self.mode == 'benchmark' else 'mean'} over the scales",
            "mode": self.mode,
            "center": {"x": self.center_xy[0], "y": self.center_xy[1]},
            "base_scale": self.base_scale,
            "multipliers": list(self.multipliers),
            "scales": [self.base_scale * multiplier for multiplier in self.multipliers],
            "box_size": self.box_size,
            "part_order": self.part_order,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> SearchRecord:
        """Read the keys of `KEYS`; DataError where they are something else, or the frame is another one."""
        found = JsonObject({key: content[key] for key in cls.KEYS if key in content}, where, cls.KEYS)
        if found["frame"] != FRAME:
            raise DataError(f"{where}: frame is {found['frame']!r}, expected {FRAME!r}")
        size = JsonObject(found["image_size"], f"{where}: image_size", ("width", "height"))
        center = JsonObject(found["center"], f"{where}: center", ("x", "y"))
        multipliers = found.rows("multipliers")
        if not all(is_number(value) for value in multipliers):
            raise DataError(f"{where}: multipliers are {multipliers}, expected numbers")
        return cls(
            (size.whole("height"), size.whole("width")),
            found.text("mode"),
            (center.number("x"), center.number("y")),
            found.number("base_scale"),
            tuple(map(float, multipliers)),
            found.whole("box_size"),
            found.text("part_order"),
        )


@dataclass(frozen=True)
class JointRecord:
    """One joint: the part's name, image px, and its score."""

    name: str
    x: float
    y: float
    score: float

    def to_json(self) -> dict[str, Any]:
        """Return `{name, x, y, score}`."""
        return {"name": self.name, "x": self.x, "y": self.y, "score": self.score}

    @classmethod
    def from_json(cls, content: Any, where: str) -> JointRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("name", "x", "y", "score"))
        return cls(found.text("name"), found.number("x"), found.number("y"), found.number("score"))


@dataclass(frozen=True)
class ImageResult:
    """What was found in an image. `place` is one of the values of `PLACES`."""

    image: str
    search: SearchRecord
    joints: tuple[JointRecord, ...]
    place: str
    model: ModelRecord

    def to_json(self) -> dict[str, Any]:
        """Return the content of an image's file."""
        return {
            "image": self.image,
            **self.search.to_json(),
            "joints": [joint.to_json() for joint in self.joints],
            "place": self.place,
            "model": self.model.to_json(),
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> ImageResult:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("image", *SearchRecord.KEYS, "joints", "place", "model"))
        return cls(
            found.text("image"),
            SearchRecord.from_json(content, where),
            _joints(found.rows("joints"), where),
            found.text("place"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
        )

    def text(self) -> str:
        """Return the file's text."""
        return _dumped(self.to_json(), indent=2) + "\n"


@dataclass(frozen=True)
class FrameRecord:
    """A video's frame: its number from 0, its time in seconds, the joints in it."""

    index: int
    time: float
    joints: tuple[JointRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """Return `{index, time, joints}`."""
        return {"index": self.index, "time": self.time, "joints": [joint.to_json() for joint in self.joints]}

    @classmethod
    def from_json(cls, content: Any, where: str) -> FrameRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("index", "time", "joints"))
        return cls(found.whole("index"), found.number("time"), _joints(found.rows("joints"), where))


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
class VideoResult:
    """What was found in a video.

    Attributes
    ----------
    head : VideoHead
    frames : tuple of FrameRecord
    declared_frames : int or None
        How many frames the video claims to have.
    complete : bool
        Whether it had them.
    """

    head: VideoHead
    frames: tuple[FrameRecord, ...]
    declared_frames: int | None
    complete: bool

    @classmethod
    def from_json(cls, content: Any, where: str) -> VideoResult:
        """Read what a `VideoResultWriter` wrote; DataError where it is something else."""
        keys = ("video", "rate", *SearchRecord.KEYS, "model", "frames", "frame_count", "declared_frames", "complete")
        found = JsonObject(content, where, keys)
        search = SearchRecord.from_json(content, where)
        model = ModelRecord.from_json(found["model"], f"{where}: model")
        rate = None if found["rate"] is None else found.number("rate")
        frames = [FrameRecord.from_json(row, f"{where}: frame {i}") for i, row in enumerate(found.rows("frames"))]
        if found.whole("frame_count") != len(frames):
            raise DataError(f"{where}: {len(frames)} frames, but frame_count is {found['frame_count']}")
        declared = None if found["declared_frames"] is None else found.whole("declared_frames")
        head = VideoHead(found.text("video"), rate, search, model)
        return cls(head, tuple(frames), declared, found["complete"] is True)


class VideoResultWriter:
    """Writes a video's file while the frames go by: the head, a line per frame, the end.

    Parameters
    ----------
    file : text file
    head : VideoHead
    """

    def __init__(self, file: TextIO, head: VideoHead) -> None:
        self._file, self._count = file, 0
        file.write(_dumped(head.to_json(), indent=2).removesuffix("\n}") + ',\n  "frames": [')

    def add(self, frame: FrameRecord) -> None:
        """Write one frame."""
        self._file.write(("," if self._count else "") + "\n    " + _dumped(frame.to_json()))
        self._count += 1

    def end(self, declared_frames: int | None, complete: bool) -> None:
        """Write how many frames there were, and how many there should have been."""
        tail = {"frame_count": self._count, "declared_frames": declared_frames, "complete": complete}
        self._file.write("\n  ],\n" + _dumped(tail, indent=2).removeprefix("{\n") + "\n")


def read_result(path: Path) -> ImageResult | VideoResult:
    """Read a file that `cpm-port predict` wrote.

    Raises
    ------
    DataError
        Not readable JSON, or not such a result; the message says where.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not readable JSON ({error})") from error
    if isinstance(content, dict) and "video" in content:
        return VideoResult.from_json(content, str(path))
    return ImageResult.from_json(content, str(path))


def _joints(rows: Sequence[Any], where: str) -> tuple[JointRecord, ...]:
    return tuple(JointRecord.from_json(row, f"{where}: joint {i}") for i, row in enumerate(rows))


def _dumped(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
