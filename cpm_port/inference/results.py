"""A prediction as files: its joints as JSON, the limbs over the image, the belief maps of every part at every stage.

Where in the flow: the last step. What the JSON holds is `cpm_port.predictions.results`'s to say.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cpm_port.files.atomic import atomic_path
from cpm_port.inference.notebook import Notebook
from cpm_port.inference.predict import Prediction
from cpm_port.inference.targets import Target
from cpm_port.parts import PartOrder
from cpm_port.predictions.results import (
    ImageResult,
    JointRecord,
    ModelRecord,
    NotebookResult,
    PersonRecord,
    SearchRecord,
)
from cpm_port.release import BOX_SIZE
from cpm_port.report.drawing import draw_joints, draw_poses, map_grid, pictured_window

__all__ = [
    "joint_records",
    "named_joints",
    "search_record",
    "write_image_results",
    "write_notebook_results",
]


def write_image_results(
    target: Target, image: NDArray[np.uint8], prediction: Prediction, place: str, model: ModelRecord
) -> None:
    """Write the results of one image; the JSON comes last, so that where it is, all are.

    Parameters
    ----------
    target : Target
    image : ndarray, shape (H, W, 3), uint8, BGR
    prediction : Prediction
        With every stage's maps at `pictured_window`.
    place : str
        How it came about where the person was looked for.
    model : ModelRecord
    """
    order = prediction.part_order
    window = pictured_window(prediction.image_size, prediction.search, prediction.box_size)
    maps = map_grid(image, window, prediction.stage_maps, order, prediction.peak_limit)
    _write_png(target.joints, draw_joints(image, prediction.joints_image, order))
    _write_png(target.maps, maps)
    result = ImageResult(str(target.path), search_record(prediction), joint_records(prediction), place, model)
    _write(target.json, result.text().encode())


def search_record(prediction: Prediction) -> SearchRecord:
    """Return how the joints were looked for."""
    search = prediction.search
    return SearchRecord(
        prediction.image_size,
        prediction.mode,
        search.center_xy,
        search.base_scale,
        search.multipliers,
        prediction.box_size,
        prediction.part_order.name,
    )


def joint_records(prediction: Prediction) -> tuple[JointRecord, ...]:
    """Return the joints with names and scores."""
    return named_joints(prediction.part_order, prediction.joints_image, prediction.scores)


def named_joints(order: PartOrder, joints: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[JointRecord, ...]:
    """Return joints, (P, 2) image px, with the parts' names and scores, (P,)."""
    rows = zip(order.parts, joints.tolist(), scores.tolist(), strict=True)
    return tuple(JointRecord(name, x, y, score) for name, (x, y), score in rows)


def write_notebook_results(target: Target, image: NDArray[np.uint8], notebook: Notebook) -> int:
    """Write the results of one image's people, as the notebook finds them; return how many there are.

    Parameters
    ----------
    target : Target
    image : ndarray, shape (H, W, 3), uint8, BGR
    notebook : Notebook
    """
    order = notebook.pose.interface.part_order
    scale = BOX_SIZE / image.shape[0]
    people = [(person, peaks.joints_resized / scale, peaks.scores) for person, peaks in notebook.predict(image)]
    records = tuple(
        PersonRecord(person.center_xy, named_joints(order, joints, scores), person.score)
        for person, joints, scores in people
    )
    _write_png(target.joints, draw_poses(image, [joints for _, joints, _ in people], order))
    size = image.shape[0], image.shape[1]
    pose = notebook.pose
    result = NotebookResult(
        str(target.path), size, scale, pose.interface.box_size, order.name, records, notebook.person.record, pose.record
    )
    _write(target.json, result.text().encode())
    return len(people)


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", picture)
    assert done
    _write(path, data.tobytes())


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
