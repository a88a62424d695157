"""What the results of `cpm-port predict` are made of: which model, how joints were looked for, joints, people.

Where in the flow: below the files of images (`image_results.py`) and of videos (`video_results.py`). `results.py` says
what the keys mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cpm_port.errors import DataError
from cpm_port.predictions._objects import JsonObject, is_number

__all__ = [
    "FRAME",
    "PLACES",
    "FileRecord",
    "JointRecord",
    "ModelRecord",
    "PersonRecord",
    "SearchRecord",
    "dumped",
    "read_joints",
    "read_people",
    "score_words",
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
            "score": score_words(self.mode),
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
            read_joints(found.rows("joints"), where),
            found.number("score") if "score" in found else None,
            found.number("base_scale") if "base_scale" in found else None,
            found.whole("id") if "id" in found else None,
        )


def read_joints(rows: Sequence[Any], where: str) -> tuple[JointRecord, ...]:
    """Read a list of joints; DataError says which is something else."""
    return tuple(JointRecord.from_json(row, f"{where}: joint {i}") for i, row in enumerate(rows))


def read_people(rows: Sequence[Any], where: str) -> tuple[PersonRecord, ...]:
    """Read a list of people; DataError says which is something else."""
    return tuple(PersonRecord.from_json(row, f"{where}: person {i}") for i, row in enumerate(rows))


def score_words(mode: str) -> str:
    """Return what a joint's score is, in words."""
    return f"belief map's peak, {'sum' if mode == 'benchmark' else 'mean'} over the scales"


def dumped(content: Any, indent: int | None = None) -> str:
    """Return JSON as all these files have it: names in any script, no NaN."""
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
