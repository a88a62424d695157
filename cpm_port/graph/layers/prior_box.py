"""PriorBox: the default boxes of every cell of a map, and their variances. SSD fork; oracles: OpenCV 4, literal loops.

The top is (1, 2, cells x boxes x 4): first xmin, ymin, xmax, ymax in parts of the image's width and height, cell by
cell in rows and box by box within a cell (`prior_shapes`), then a variance for each of these numbers. A cell's centre
is (index + offset) x step, where step is image size / map size unless given. The bottoms' values do not count.
Source: weiliu89/caffe `prior_box_layer.cpp`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cpm_port.caffe.layer_types.ssd import prior_shapes
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["PriorBox"]

_VARIANCE = 0.1  # where the layer gives none


@register("PriorBox")
class PriorBox(LayerModule):
    """Boxes as numbers."""

    message = "prior_box_param"
    replayable = False  # boxes are made on the host

    def forward(self, x: Tensor, image: Tensor | None = None) -> tuple[Tensor]:
        """Return the boxes for maps of `x`'s height and width, and an image of `image`'s."""
        p = self.fields
        rows, columns = x.shape[2:]
        height, width = (p.img_h, p.img_w) if p.img_h and p.img_w else (p.img_size, p.img_size)
        if not height:
            assert image is not None
            height, width = image.shape[2:]
        step_y, step_x = (p.step_h, p.step_w) if p.step_h and p.step_w else (p.step, p.step)
        if not step_y:
            step_y, step_x = height / rows, width / columns
        boxes = np.array(prior_shapes(self.spec), np.float32)
        centers = np.stack(
            np.meshgrid((np.arange(columns) + p.offset) * step_x, (np.arange(rows) + p.offset) * step_y), axis=-1
        ).astype(np.float32)[:, :, None]
        corners = np.concatenate([centers - boxes / 2, centers + boxes / 2], axis=-1)
        corners /= np.array([width, height, width, height], np.float32)
        if p.clip:
            corners = corners.clip(0, 1)
        variances = np.broadcast_to(np.array(p.variance or [_VARIANCE], np.float32), (*corners.shape[:-1], 4))
        both = np.stack([corners.reshape(-1), variances.reshape(-1)])[None]
        return (torch.from_numpy(both).to(x),)
