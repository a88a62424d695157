"""DetectionOutput: box offsets and class scores to detections. SSD fork; oracles: OpenCV 4's importer, literal loops.

Bottoms: offsets (N, boxes x 4), scores (N, boxes x classes), prior boxes (`prior_box.py`). Per item and class but the
background: the boxes with scores above `confidence_threshold`, the `top_k` best of them, less those that overlap a
better one by more than `nms_threshold`; then of all classes of the item the `keep_top_k` best. Top: (1, 1, detections,
7) with item, class, score, xmin, ymin, xmax, ymax in parts of the image, by item, class, and falling score; without any
detection one row per item: the item's number and -1s. No gradient. How many there are is known when the layer runs;
before, its top has room for one. Source: weiliu89/caffe `detection_output_layer.cpp`, `bbox_util.cpp`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["DetectionOutput"]

_Array = NDArray[np.float32]


def _refuse(spec: LayerSpec) -> str | None:
    param = spec.params.detection_output_param
    if param.save_output_param.output_directory:
        return "save_output_param.output_directory: detections are not written to files"
    return "visualize: detections are not shown" if param.visualize else None


@register("DetectionOutput", refuse=_refuse)
class DetectionOutput(LayerModule):
    """Decode, suppress, list."""

    message = "detection_output_param"
    shaped_by_values = True

    @torch.no_grad()
    def forward(self, offsets: Tensor, scores: Tensor, priors: Tensor) -> tuple[Tensor]:
        """Return the detections of the whole batch."""
        p = self.fields
        prior, variance = priors.float().cpu().numpy().reshape(2, -1, 4)
        places = offsets.float().cpu().numpy().reshape(len(offsets), len(prior), -1, 4)
        confidences = scores.float().cpu().numpy().reshape(len(scores), len(prior), p.num_classes)
        rows = []
        for item, (moves, confidence) in enumerate(zip(places, confidences, strict=True)):
            boxes = [self._decode(moves[:, place], prior, variance) for place in range(moves.shape[1])]
            rows += [(item, *row) for row in self._detect(boxes, confidence)]
        if not rows:
            rows = [(item, *[-1.0] * 6) for item in range(len(places))]
        return (torch.tensor(rows, dtype=offsets.dtype, device=offsets.device)[None, None],)

    def _detect(self, boxes: list[_Array], scores: _Array) -> list[tuple[float, ...]]:
        """Return one item's detections: class, score and box."""
        p = self.fields
        found: list[tuple[int, int]] = []
        for label in range(p.num_classes):
            if label != p.background_label_id:
                own = boxes[0 if p.share_location else label]
                found += [(label, index) for index in self._suppress(own, scores[:, label])]
        if -1 < p.keep_top_k < len(found):
            found.sort(key=lambda pair: -scores[pair[1], pair[0]])
            found = sorted(found[: p.keep_top_k], key=lambda pair: pair[0])
        return [
            (label, scores[index, label], *boxes[0 if p.share_location else label][index]) for label, index in found
        ]

    def _suppress(self, boxes: _Array, scores: _Array) -> list[int]:
        """Return the kept boxes' indices, the best first."""
        nms = self.fields.nms_param
        candidates = np.arange(len(scores))
        if "confidence_threshold" in self.given:
            candidates = np.flatnonzero(scores > np.float32(self.fields.confidence_threshold))
        candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
        if nms.has("top_k") and nms.top_k > -1:
            candidates = candidates[: nms.top_k]
        threshold = nms.nms_threshold
        kept: list[int] = []
        for index in candidates:
            if kept and (_overlaps(boxes[index], boxes[kept]) > np.float32(threshold)).any():
                continue
            kept.append(int(index))
            if nms.eta < 1 and threshold > 0.5:
                threshold *= nms.eta
        return kept

    def _decode(self, moves: _Array, prior: _Array, variance: _Array) -> _Array:
        """Return boxes (xmin, ymin, xmax, ymax) from offsets, of `code_type`."""
        p = self.fields
        if not p.variance_encoded_in_target:
            moves = moves * variance
        if p.code_type == "CORNER":
            return prior + moves
        size = prior[:, 2:] - prior[:, :2]
        if p.code_type == "CORNER_SIZE":
            return prior + moves * np.tile(size, 2)
        center = moves[:, :2] * size + (prior[:, :2] + prior[:, 2:]) / 2
        half = np.exp(moves[:, 2:]) * size / 2
        return np.concatenate([center - half, center + half], axis=1)


def _overlaps(box: _Array, others: _Array) -> _Array:
    """Return the intersection over union of a box with each of the others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = common / (_areas(box[None]) + _areas(others) - common)
    result: _Array = np.where(common > 0, shares, 0)
    return result


def _areas(boxes: _Array) -> _Array:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.where((sides >= 0).all(axis=1), sides.prod(axis=1), np.float32(0))
