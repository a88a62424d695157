"""The JSON of an image, as one typed thing: what was found in it, and what the release's notebook found in it.

`results.py` says what the keys mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
)

__all__ = ["ImageResult", "NotebookResult"]


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
            read_joints(found.rows("joints"), where),
            found.text("place"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
            read_people(found.rows("people"), where) if "people" in found else None,
        )

    def text(self) -> str:
        """Return the file's text."""
        return dumped(self.to_json(), indent=2) + "\n"


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
            read_people(found.rows("people"), where),
            ModelRecord.from_json(found["person_model"], f"{where}: person_model"),
            ModelRecord.from_json(found["model"], f"{where}: model"),
        )

    def text(self) -> str:
        """Return the file's text."""
        return dumped(self.to_json(), indent=2) + "\n"
