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
- `joints`: a list of `name`, `x`, `y`, `score` and `confidence` (the score as a share of a sure net's, 0 to 1), in the
  order of the net's parts;
- `place`: how it came about where the person was looked for (`PLACES`);
- `model`: `name` (of the zoo's models only), `net` and `weights`, each with `file` and `sha256`;
- `people`, where several were looked for: a list (`PersonRecord`) of everybody, the person above first.

The file of an image whose people the release's notebook found: `image`, `image_size`, `frame`, `score`, `mode`
("notebook"), `resize_scale` (px of the resized image per image px), `box_size`, `part_order`, `people`, `person_model`,
`model`.

The file of a video: `video`, `rate` (frames per second, null where the file does not say), how the joints were looked
for, `model`, `frames` (one line each: `index`, `time` in seconds, `joints`), and at the end `frame_count`,
`declared_frames` (what the file claims, null where it does not) and `complete`. It is written frame by frame. Where
everybody was followed, frames hold `people` (`PersonRecord`, whose `id` stays), and there is no one place looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cpm_port.errors import DataError
from cpm_port.files.json_text import read_json
from cpm_port.predictions._objects import JsonObject, is_number

__all__ = [
    "FRAME",
    "PLACES",
    "FileRecord",
    "FollowedHead",
    "FrameRecord",
    "ImageResult",
    "JointRecord",
    "ModelRecord",
    "NotebookResult",
    "PersonRecord",
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
            "score": _score_words(self.mode),
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
    """One joint: the part's name, image px, its score (the maps' peak), and how sure that is, from 0 to 1."""

    name: str
    x: float
    y: float
    score: float
    confidence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{name, x, y, score, confidence}`, the last one where it is known."""
        known = {} if self.confidence is None else {"confidence": self.confidence}
        return {"name": self.name, "x": self.x, "y": self.y, "score": self.score, **known}

    @classmethod
    def from_json(cls, content: Any, where: str) -> JointRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("name", "x", "y", "score"), ("confidence",))
        confidence = found.number("confidence") if "confidence" in found else None
        return cls(found.text("name"), found.number("x"), found.number("y"), found.number("score"), confidence)


@dataclass(frozen=True)
class PersonRecord:
    """One of several people.

    Attributes
    ----------
    center_xy : (float, float)
        Where they were looked for, image px.
    joints : tuple of JointRecord
    score : float or None
        How sure the finder was of them, in its own terms.
    base_scale : float or None
        Scaled px per image px at multiplier 1, where each person has their own.
    track : int or None
        Who they are, from frame to frame of a video.
    """

    center_xy: tuple[float, float]
    joints: tuple[JointRecord, ...]
    score: float | None = None
    base_scale: float | None = None
    track: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{id, center: [x, y], base_scale, score, joints}`, without what is not known."""
        known = {"id": self.track, "center": list(self.center_xy), "base_scale": self.base_scale, "score": self.score}
        return {
            **{key: value for key, value in known.items() if value is not None},
            "joints": [joint.to_json() for joint in self.joints],
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> PersonRecord:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("center", "joints"), ("id", "base_scale", "score"))
        center = found.rows("center")
        if len(center) != 2 or not all(is_number(value) for value in center):
            raise DataError(f"{where}: center is {center}, expected [x, y]")
        return cls(
            (float(center[0]), float(center[1])),
            _joints(found.rows("joints"), where),
            found.number("score") if "score" in found else None,
            found.number("base_scale") if "base_scale" in found else None,
            found.whole("id") if "id" in found else None,
        )


@dataclass(frozen=True)
class ImageResult:
    """What was found in an image: `place` is one of `PLACES`' values; `people` is None where one was asked for."""

    image: str
    search: SearchRecord
    joints: tuple[JointRecord, ...]
    place: str
    model: ModelRecord
    people: tuple[PersonRecord, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of an image's file."""
        several = {} if self.people is None else {"people": [person.to_json() for person in self.people]}
        return {
            "image": self.image,
            **self.search.to_json(),
            "joints": [joint.to_json() for joint in self.joints],
            "place": self.place,
            "model": self.model.to_json(),
            **several,
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> ImageResult:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, ("image", *SearchRecord.KEYS, "joints", "place", "model"), ("people",))
        return cls(
            found.text("image"),
            SearchRecord.from_json(content, where),
            _joints(found.rows("joints"), where),
            found.text("place"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
            _people(found.rows("people"), where) if "people" in found else None,
        )

    def text(self) -> str:
        """Return the file's text."""
        return _dumped(self.to_json(), indent=2) + "\n"


@dataclass(frozen=True)
class NotebookResult:
    """The people whom the release's notebook finds in an image.

    Attributes
    ----------
    image : str
    image_size : (int, int)
        Height and width, px.
    resize_scale : float
        Px of the resized image per image px.
    box_size : int
    part_order : str
    people : tuple of PersonRecord
        In the notebook's order.
    person_model, model : ModelRecord
        The net that finds people, and the one that finds their joints.
    """

    image: str
    image_size: tuple[int, int]
    resize_scale: float
    box_size: int
    part_order: str
    people: tuple[PersonRecord, ...]
    person_model: ModelRecord
    model: ModelRecord

    def to_json(self) -> dict[str, Any]:
        """Return the content of an image's file."""
        height, width = self.image_size
        return {
            "image": self.image,
            "image_size": {"width": width, "height": height},
            "frame": FRAME,
            "score": "belief map's peak, at the notebook's one scale",
            "mode": "notebook",
            "resize_scale": self.resize_scale,
            "box_size": self.box_size,
            "part_order": self.part_order,
            "people": [person.to_json() for person in self.people],
            "person_model": self.person_model.to_json(),
            "model": self.model.to_json(),
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> NotebookResult:
        """Read what `to_json` gives; DataError where it is something else."""
        found = JsonObject(content, where, (
            "image", "image_size", "frame", "score", "mode", "resize_scale", "box_size", "part_order", "people",
            "person_model", "model",
        ))  # fmt: skip
        size = JsonObject(found["image_size"], f"{where}: image_size", ("width", "height"))
        return cls(
            found.text("image"),
            (size.whole("height"), size.whole("width")),
            found.number("resize_scale"),
            found.whole("box_size"),
            found.text("part_order"),
            _people(found.rows("people"), where),
            ModelRecord.from_json(found["person_model"], f"{where}: person_model"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
        )

    def text(self) -> str:
        """Return the file's text."""
        return _dumped(self.to_json(), indent=2) + "\n"


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
        return cls(index, time, (), _people(rows, where)) if of == "people" else cls(index, time, _joints(rows, where))


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
            "score": _score_words(self.mode),
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
        file.write(_dumped(head.to_json(), indent=2).removesuffix("\n}") + ',\n  "frames": [')

    def add(self, frame: FrameRecord) -> None:
        """Write one frame."""
        self._file.write(("," if self._count else "") + "\n    " + _dumped(frame.to_json()))
        self._count += 1

    def end(self, declared_frames: int | None, complete: bool) -> None:
        """Write how many frames there were, and how many there should have been."""
        tail = {"frame_count": self._count, "declared_frames": declared_frames, "complete": complete}
        self._file.write("\n  ],\n" + _dumped(tail, indent=2).removeprefix("{\n") + "\n")


def read_result(path: Path) -> ImageResult | NotebookResult | VideoResult:
    """Read a file that `cpm-port predict` wrote.

    Raises
    ------
    DataError
        Not readable JSON, or not such a result; the message says where.
    """
    content = read_json(path)
    if isinstance(content, dict) and "video" in content:
        return VideoResult.from_json(content, str(path))
    if isinstance(content, dict) and content.get("mode") == "notebook":
        return NotebookResult.from_json(content, str(path))
    return ImageResult.from_json(content, str(path))


def _joints(rows: Sequence[Any], where: str) -> tuple[JointRecord, ...]:
    return tuple(JointRecord.from_json(row, f"{where}: joint {i}") for i, row in enumerate(rows))


def _score_words(mode: str) -> str:
    return f"belief map's peak, {'sum' if mode == 'benchmark' else 'mean'} over the scales"


def _people(rows: Sequence[Any], where: str) -> tuple[PersonRecord, ...]:
    return tuple(PersonRecord.from_json(row, f"{where}: person {i}") for i, row in enumerate(rows))


def _dumped(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
