"""The axis rule that Bias and Scale share: a small blob is laid over consecutive axes of the bottom, from `axis` on.

Source: caffe `scale_layer.cpp`, `bias_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["lay_over"]


def lay_over(blob: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return `blob` viewed so that its first axis meets `axis` of `x` and the rest broadcast.

    A blob without axes (a scalar) meets all of `x`.
    """
    start = axis % x.dim() if blob.dim() else 0
    trailing = x.dim() - start - blob.dim() if blob.dim() else 0
    return blob.reshape(tuple(blob.shape) + (1,) * trailing)
