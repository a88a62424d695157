"""What `cpm-port predict` writes of an image: joints as JSON, the limbs over it, the belief maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.files.atomic import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cpm_port.imaging.pyramid import ScaleSearch
    from cpm_port.inference.predict import MapWindow, Prediction

__all__ = ["RESULT_SUFFIXES", "dumped", "joints_json", "looked_at", "search_json", "write_image_results"]

FRAME = "image pixels, 0-based, x to the right, y down; (0, 0) is the centre of the top left pixel"
RESULT_SUFFIXES = {"json": ".json", "joints": "_joints.png", "maps": "_maps.png"}


def write_image_results(
    path: Path, stem: Path, image: NDArray[np.uint8], prediction: Prediction, said: dict[str, Any]
) -> None:
    """Write the results of one image; the JSON comes last, so that where it is, all are.

    Parameters
    ----------
    path, stem : Path
        Of the image; and of its results, without suffixes.
    image : ndarray, shape (H, W, 3), uint8, BGR
    prediction : Prediction
        With every stage's maps at `looked_at`.
    said : dict
        What else the JSON says: the `model`, and how the `place` came about.
    """
    from cpm_port.report.drawing import draw_joints, map_grid

    order = prediction.part_order
    window = looked_at(prediction.image_size, prediction.search, prediction.box_size)
    grid = map_grid(image, window, prediction.stage_maps, order, prediction.peak_limit)
    _write_png(stem, "joints", draw_joints(image, prediction.joints_image, order))
    _write_png(stem, "maps", grid)
    content = {"image": str(path), **search_json(prediction), "joints": joints_json(prediction), **said}
    _write(stem, "json", (dumped(content, indent=2) + "\n").encode())


def looked_at(image_size: tuple[int, int], search: ScaleSearch, box_size: int) -> MapWindow:
    """Return the image rows and columns of the pictured maps: as much as the middle scale's box shows."""
    from cpm_port.report.drawing import map_window

    middle_scale = float((min(search.scales) * max(search.scales)) ** 0.5)
    return map_window(image_size, search.center_xy, box_size / middle_scale)


def search_json(prediction: Prediction) -> dict[str, Any]:
    """Return how the joints were looked for, and what their numbers mean."""
    search = prediction.search
    height, width = prediction.image_size
    return {
        "image_size": {"width": width, "height": height},
        "frame": FRAME,
        "score": f"belief map's peak, {'sum' if prediction.mode == 'benchmark' else 'mean'} over the scales",
        "mode": prediction.mode,
        "center": {"x": search.center_xy[0], "y": search.center_xy[1]},
        "base_scale": search.base_scale,
        "multipliers": list(search.multipliers),
        "scales": list(search.scales),
        "box_size": prediction.box_size,
        "part_order": prediction.part_order.name,
    }


def joints_json(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the joints with names and scores."""
    joints = zip(prediction.part_order.parts, prediction.joints_image, prediction.scores, strict=True)
    return [{"name": name, "x": float(xy[0]), "y": float(xy[1]), "score": float(score)} for name, xy, score in joints]


def dumped(content: Any, indent: int | None = None) -> str:
    """Return JSON text, strict about numbers, readable for names in any script."""
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def _write_png(stem: Path, kind: str, picture: NDArray[np.uint8]) -> None:
    import cv2

    done, data = cv2.imencode(".png", picture)
    assert done
    _write(stem, kind, data.tobytes())


def _write(stem: Path, kind: str, data: bytes) -> None:
    with atomic_path(stem.with_name(stem.name + RESULT_SUFFIXES[kind])) as temporary:
        temporary.write_bytes(data)
