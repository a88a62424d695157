"""Several people in an image: who finds them, and how a finder is plugged in.

Where in the flow: before the pyramid. A finder says where people may be and how large they are; each of them is then
predicted as one person is (`predict.py`). A finder is any object with a `find` of this shape: the release's person net
(`notebook.py`), or one of your own.

    class Detector:
        def find(self, image):
            return [FoundPerson((x, y), base_scale, score) for x, y, base_scale, score in my_detections(image)]

Conventions: points are `(x, y)`, 0-based image px; a base scale is in scaled px per image px, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.boxes import BoxFile
from cpm_port.imaging.pyramid import box_search

__all__ = ["BoxesByName", "FoundPerson", "GivenBoxes", "PersonFinder"]


class FoundPerson(NamedTuple):
    """Where a person may be.

    Attributes
    ----------
    center_xy : (float, float)
        About the middle of the person, image px.
    base_scale : float
        Scaled px per image px at which the person is as tall as the net was trained for.
    score : float
        The finder's own belief; larger is more certain.

    Examples
    --------
    >>> from cpm_port.inference.people import FoundPerson
    >>> FoundPerson((120.0, 80.0), 0.5, score=0.9).center_xy
    (120.0, 80.0)
    """

    center_xy: tuple[float, float]
    base_scale: float
    score: float


class PersonFinder(Protocol):
    """Anything that finds where the people of an image are.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.inference.people import FoundPerson, PersonFinder
    >>> class Middle:
    ...     def find(self, image):
    ...         return [FoundPerson((image.shape[1] / 2, image.shape[0] / 2), 1.0, 1.0)]
    >>> finder: PersonFinder = Middle()
    >>> finder.find(np.zeros((60, 80, 3), np.uint8))[0].center_xy
    (40.0, 30.0)
    """

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        """Return the people of an image, in the order in which to list them; the list may be empty.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), uint8, BGR
        """
        ...


class GivenBoxes:
    """A finder that has been told: boxes around people, the same in every image.

    Parameters
    ----------
    boxes : sequence of (x, y, width, height)
        Image px, 0-based.
    box_size : int
        Side of the net's input, px.

    Raises
    ------
    UsageError
        A box without a width or a height.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.inference.people import GivenBoxes
    >>> finder = GivenBoxes([(40, 60, 120, 300), (200, 50, 90, 280)], box_size=184)
    >>> [person.center_xy for person in finder.find(np.zeros((400, 400, 3), np.uint8))]
    [(100.0, 210.0), (245.0, 190.0)]
    """

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]], box_size: int) -> None:
        searches = [box_search((box[0], box[1], box[2], box[3]), box_size) for box in boxes]
        self._people = [FoundPerson(search.center_xy, search.base_scale, 1.0) for search in searches]

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        """Return the people of the boxes, in the boxes' order."""
        return self._people


class BoxesByName:
    """Finders that have been told by a file: each image's boxes, by its name.

    Parameters
    ----------
    boxes : BoxFile
    box_size : int
        Side of the net's input, px.

    Examples
    --------
    >>> from cpm_port.annotations.boxes import BoxFile, NamedBox
    >>> from cpm_port.inference.people import BoxesByName
    >>> boxes = BoxFile("made here", [NamedBox("one.jpg", (40, 60, 120, 300))])
    >>> finders = BoxesByName(boxes, box_size=184)
    >>> [len(finders.of(name, (400, 400)).find(None)) for name in ("one.jpg", "other.jpg")]
    [1, 0]
    """

    def __init__(self, boxes: BoxFile, box_size: int) -> None:
        self._boxes, self._box_size = boxes, box_size

    def of(self, image: str, size: tuple[int, int]) -> GivenBoxes:
        """Return the finder of one image, of this height and width."""
        return GivenBoxes([named.box for named in self._boxes.of(image, size)], self._box_size)
