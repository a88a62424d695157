"""One type for every data set: an annotated person in an image.

FILES -> SAMPLES: the readers (`lsp`, `mpii`, `flic`, `genjson`) give lists of `Sample`; scoring stacks them into arrays
(`stack_joints`), training augments them.

Conventions: coordinates are `(x, y)` in 0-based image pixels, float64; a joint that the source does not annotate is
NaN; boxes are `(x1, y1, x2, y2)`; `scale` is MPII's: the person's height divided by 200 px. Images are named, not
opened.

Differs from the sources: they write a missing joint as `(0, 0)` (before any shift of the index base), as an absent list
entry, or with a flag beside a coordinate; here it is always NaN. A joint that is annotated but hidden keeps its
coordinate and has `visible` False.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, MissingFileError, ShapeError
from cpm_port.parts import Centricity, Convention, Joints, PartOrder

__all__ = ["Box", "Person", "Sample", "Split", "stack_joints"]

Box = tuple[float, float, float, float]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Person:
    """One annotated person.

    Attributes
    ----------
    joints : ndarray, shape (P, 2), float64
        `(x, y)`, 0-based image px; NaN where not annotated. Coordinates may lie outside the image.
    visible : ndarray, shape (P,), bool
        Annotated and not marked as hidden.
    center : (float, float) or None
        MPII's `objpos` or what stands for it, 0-based image px.
    scale : float or None
        Height of the person / 200 px.
    head_size : float or None
        0.6 times the diagonal of MPII's head box, image px: what PCKh divides by.
    torso_box : (x1, y1, x2, y2) or None
        0-based image px.
    torso_diagonal : float or None
        Diagonal of the torso box, image px; where a source gives it without the box's place.
    facing : float or None
        Which way the torso faces, about the vertical, degrees: 0 the camera, 90 the image's right, 180 away, -90 the
        image's left; where a source says (MPII, of some).
    """

    joints: NDArray[np.float64]
    visible: NDArray[np.bool_]
    center: tuple[float, float] | None = None
    scale: float | None = None
    head_size: float | None = None
    torso_box: Box | None = None
    torso_diagonal: float | None = None
    facing: float | None = None

    def __post_init__(self) -> None:
        if self.joints.ndim != 2 or self.joints.shape[1] != 2 or self.visible.shape != self.joints.shape[:1]:
            raise ShapeError(
                f"a person's joints have shape {self.joints.shape} and visible {self.visible.shape}; "
                "expected (P, 2) and (P,)"
            )
        if np.isinf(self.joints).any():
            raise DataError("a person's joint has an infinite coordinate")
        if (self.visible & ~self.annotated).any():
            raise DataError("a person's joint is marked visible and has no coordinate")

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """Which joints have a coordinate, shape (P,)."""
        return np.isfinite(self.joints[:, 0] + self.joints[:, 1])


@dataclass(frozen=True, eq=False)
class Sample:
    """One person to find in one image, and the others who stand there too.

    Attributes
    ----------
    dataset : str
        "LSP", "LSPET", "MPI" or "FLIC", as the release's training code spells it.
    name : str
        Unique within the data set, for example "im1001".
    image : Path or None
        The image file (it need not exist: `require_image` checks); None where the source names none.
    split : {"train", "validation", "test"}
        As the source says.
    order : PartOrder
        Order of the joints of `person` and `others`.
    centric : {"person", "observer"}
        Whose left and right the labels mean.
    person : Person
        The person to find.
    others : tuple of Person
        Everybody else annotated in the image.
    image_size : (int, int) or None
        Width and height in px, where the source gives them.
    annolist_index, people_index : int or None
        The source's own 1-based numbers of image and person (MPII), identifiers that stay as they are.
    named : bool
        Whether the name says who it is; False where the source has no names and this one counts its rows.
    """

    dataset: str
    name: str
    image: Path | None
    split: Split
    order: PartOrder
    centric: Centricity
    person: Person
    others: tuple[Person, ...] = field(default=())
    image_size: tuple[int, int] | None = None
    annolist_index: int | None = None
    people_index: int | None = None
    named: bool = True

    def __post_init__(self) -> None:
        for person in (self.person, *self.others):
            if len(person.joints) != len(self.order):
                raise ShapeError(
                    f"{self.dataset} {self.name}: {len(person.joints)} joints, order {self.order.name!r} has "
                    f"{len(self.order)}"
                )

    def require_image(self) -> Path:
        """Return the image's path.

        Raises
        ------
        MissingFileError
            The source names no image, or the file is not there.
        """
        if self.image is None:
            raise MissingFileError(f"{self.dataset} {self.name}: the annotations name no image")
        if not self.image.is_file():
            raise MissingFileError(f"{self.dataset} {self.name}: image {self.image} is not there")
        return self.image

    def check_size(self, found: tuple[int, int]) -> None:
        """Raise a DataError where the image has another size (width, height) than the source gives, if it gives one.

        Labels would lie off their targets: the image was resized, or its EXIF orientation was not applied when the
        labels were made.
        """
        if self.image_size is not None and self.image_size != found:
            raise DataError(
                f"{self.dataset} {self.name}: {self.image} is {found[0]} x {found[1]}, annotated as "
                f"{self.image_size[0]} x {self.image_size[1]}; was it resized, or turned by its EXIF orientation?"
            )


def stack_joints(samples: Sequence[Sample]) -> Joints:
    """Stack the persons' joints into one array.

    Parameters
    ----------
    samples : sequence of Sample
        All of one order and one centricity.

    Returns
    -------
    Joints
        `xy` of shape (N, P, 2), 0-based, NaN where not annotated.

    Raises
    ------
    DataError
        There is no sample, or the samples are of several orders or centricities.
    """
    kinds = {(sample.order.name, sample.centric) for sample in samples}
    if len(kinds) != 1:
        raise DataError(f"expected samples of one part order and centricity, found {sorted(kinds) or 'no sample'}")
    first = samples[0]
    return Joints(np.stack([s.person.joints for s in samples]), Convention(first.order, 0, first.centric))
