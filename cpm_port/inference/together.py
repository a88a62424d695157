"""Several people of one image: their boxes through the net together, each person's peaks for themselves.

Where in the flow: between the finders of people and the results; `predict.py` for more than one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.imaging.pyramid import Pyramid, ScaleSearch, build_pyramid
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.predict import Beliefs, Mode, Prediction, queue_gather, require_finite_maps, run_people
from cpm_port.inference.results import PersonResult
from cpm_port.report.drawing import pictured_window

__all__ = ["person_result", "predict_together", "see_together"]


def predict_together(
    model: ReadyNet,
    image: NDArray[np.uint8],
    searches: Sequence[ScaleSearch],
    mode: Mode = "benchmark",
    *,
    keep_maps: bool = False,
) -> list[Prediction]:
    """Predict several people of one image; their boxes go through the net together.

    Parameters
    ----------
    model : ReadyNet
    image : ndarray, shape (H, W, 3), uint8, BGR
    searches : sequence of ScaleSearch
    mode : {"benchmark", "demo"}
    keep_maps : bool
        Keep every stage's maps at `pictured_window`.
    """
    interface, queued = model.interface, []
    for search, (pyramid, beliefs) in zip(
        searches, see_together(model, image, searches, stages=keep_maps), strict=True
    ):
        window = pictured_window(image.shape[:2], search, interface.box_size) if keep_maps else None
        queued.append(queue_gather(beliefs, pyramid.geometries, interface, search, mode, stage_window=window))
    return [prediction() for prediction in queued]


def see_together(
    model: ReadyNet, image: NDArray[np.uint8], searches: Sequence[ScaleSearch], *, stages: bool = False
) -> list[tuple[Pyramid, Beliefs]]:
    """Return what the net sees of several people of one image, with every stage's maps where they are asked for.

    Raises
    ------
    ModelFileError
        A belief is NaN or infinite.
    """
    if not searches:
        return []
    net, interface = model.net, model.interface
    pyramids = [build_pyramid(image, search.center_xy, search.scales, interface.box_size) for search in searches]
    seen = run_people(net, interface, pyramids, stages=stages)
    require_finite_maps(torch.cat([beliefs.final for beliefs in seen]), net, interface)
    return list(zip(pyramids, seen, strict=True))


def person_result(found: Prediction, finder_score: float | None = None, track: int | None = None) -> PersonResult:
    """Return a prediction as a person of a result."""
    scores = np.clip(found.scores / found.peak_limit, 0.0, 1.0)
    search = found.search
    return PersonResult(
        found.joints_image, scores, found.part_order, search.center_xy, search.base_scale, finder_score, track, found,
        found.scores,
    )  # fmt: skip
