"""Labels and indices: Caffe's blobs are all floats, so whole numbers arrive as floats and are checked here."""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.errors import DataError

__all__ = ["as_indices"]


def as_indices(values: Tensor, limit: int, spec: LayerSpec, ignored: int | None = None) -> Tensor:
    """Return float `values` as int64 indices; positions that hold `ignored` become 0, for the caller to mask.

    Raises
    ------
    DataError
        A value lies outside 0 .. limit - 1 (looked at on the CPU only; a CUDA device fails by itself).
    """
    indices = values.long()
    if ignored is not None:
        indices = torch.where(indices == ignored, 0, indices)
    if indices.device.type == "cpu" and not torch.compiler.is_compiling() and indices.numel():
        low, high = (int(value) for value in torch.aminmax(indices))
        if low < 0 or high >= limit:
            raise DataError(
                f"layer {spec.name!r} ({spec.type}): bottom {spec.bottoms[-1]!r} holds {low if low < 0 else high}, "
                f"expected 0 to {limit - 1}"
            )
    return indices
