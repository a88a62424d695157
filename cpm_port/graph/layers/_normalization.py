"""What a loss is divided by: LossParameter's `normalization`, and the older `normalize`.

Source: caffe `softmax_loss_layer.cpp`, `sigmoid_cross_entropy_loss_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.whole_batch import mean_over_processes, processes

__all__ = ["normalizer"]


def normalizer(layer: LayerModule, counted: Tensor, batch: int, default: str) -> Tensor | float:
    """Return the divisor, at least 1. Where several processes share a batch, VALID counts the terms of all of them.

    Parameters
    ----------
    layer : LayerModule
        Its `fields` are those of LossParameter.
    counted : Tensor, bool
        Which terms of the loss count (the ignored label's do not).
    batch : int
        The number of items for BATCH_SIZE.
    default : str
        The mode where neither field is given.
    """
    mode = default
    if "normalization" in layer.given:
        mode = layer.fields.normalization
    elif "normalize" in layer.given:
        mode = "VALID" if layer.fields.normalize else "BATCH_SIZE"
    if mode == "VALID":
        return torch.clamp(mean_over_processes(counted.sum().float()), min=1 / processes())
    return max(1.0, float({"FULL": counted.numel(), "BATCH_SIZE": batch, "NONE": 1}[mode]))
