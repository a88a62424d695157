"""What `cpm-port predict` wrote, as `Predictions`: one result file of an image, or a folder of them.

FILE -> JOINTS. A result says all of itself: order of the parts, frame, names. People are named by their image's file,
without folders and suffix; an image in which nobody was found has none of the joints. Scoring takes one person per
image: results of several are refused, and so are videos', for no labels name their frames.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import numpy as np

from cpm_port.errors import DataError
from cpm_port.parts import ORDERS, Centricity, Convention, Joints, PartOrder
from cpm_port.predictions.image_results import ImageResult
from cpm_port.predictions.json_files import centricity_of, natural_key
from cpm_port.predictions.results import read_result
from cpm_port.predictions.values import Predictions

__all__ = ["is_result", "read_predicted"]

_BEGINNING = re.compile(rb'\s*{\s*"(image|video)"\s*:')


def read_predicted(path: Path, order: PartOrder | None = None, centric: Centricity | None = None) -> Predictions:
    """Read a result file of an image, or all `.json` of a folder.

    Parameters
    ----------
    path : path
    order : PartOrder, optional
        Must be the results' own; a net with parts of its own has none.
    centric : {"person", "observer"}, optional
        Otherwise observer for FLIC, person for the rest.

    Raises
    ------
    DataError
        No result, one of a video or of several people, results of several orders of parts, or of another one than is
        stated, or nobody in any of them.
    """
    files = sorted(path.glob("*.json"), key=natural_key) if path.is_dir() else [path]
    results = [_image_result(file) for file in files]
    if not results:
        raise DataError(f"{path}: no result of `cpm-port predict` in it (*.json)")
    names = {tuple(joint.name for joint in result.joints) for result in results if result.joints}
    if not names:
        raise DataError(f"{path}: nobody in {len(results)} results")
    if len(names) != 1:
        raise DataError(f"{path}: results of {len(names)} orders of parts, expected one")
    parts, called = names.pop(), results[0].search.part_order
    own = ORDERS.get(called)
    if own is None or own.parts != parts:
        own = PartOrder(called, parts, ())
    if order is not None and order.parts != parts:
        raise DataError(f"{path}: its results are in order {own.name!r}, {order.name!r} is stated")
    nobody = [(np.nan, np.nan, np.nan)] * len(parts)
    rows = np.array([[(joint.x, joint.y, joint.score) for joint in result.joints] or nobody for result in results])
    return Predictions(
        Joints(rows[..., :2].copy(), Convention(own, 0, centricity_of(own, centric))),
        rows[..., 2].copy(),
        tuple(PurePath(result.image.replace("\\", "/")).stem for result in results),
        str(path),
    )


def is_result(path: Path) -> bool:
    """Whether a JSON file begins as the results of an image or a video do."""
    with path.open("rb") as file:
        return _BEGINNING.match(file.read(64)) is not None


def _image_result(file: Path) -> ImageResult:
    result = read_result(file)
    if not isinstance(result, ImageResult):
        raise DataError(f"{file}: the results of a video; only images' are scored")
    if len(result.people or ()) > 1:
        raise DataError(
            f"{file}: {len(result.people or ())} people; one per image is scored: `cpm-port predict --people one`"
        )
    return result
