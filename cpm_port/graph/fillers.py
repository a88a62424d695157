"""Caffe's fillers: how a parameter starts where no file gives its value.

The distributions are Caffe's; the numbers come from torch's generator, so `torch.manual_seed` makes them
repeatable, but no seed gives the values that Caffe's own generator would draw. Source: caffe
`include/caffe/filler.hpp`. The number of inputs of a parameter is its size over its first axis, the number of
outputs its size over its second (over 1 for a vector).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.errors import LayerError

__all__ = ["fill"]


@torch.no_grad()
def fill(tensor: Tensor, filler: MessageView | float, layer: str) -> None:
    """Fill `tensor` in place as `filler` says.

    Parameters
    ----------
    tensor : Tensor
        The parameter, of any shape.
    filler : MessageView or float
        A FillerParameter (`type`, `value`, `min`, `max`, `mean`, `std`, `sparse`, `variance_norm`), or a constant.
    layer : str
        The layer's name, for the error.

    Raises
    ------
    LayerError
        The filler's type is unknown, or the tensor's shape does not suit it.
    """
    if isinstance(filler, float):
        tensor.fill_(filler)
        return
    kind = filler.type
    if kind == "constant":
        tensor.fill_(filler.value)
    elif kind == "uniform":
        tensor.uniform_(filler.min, filler.max)
    elif kind == "gaussian":
        _gaussian(tensor, filler)
    elif kind == "xavier":
        bound = math.sqrt(3.0 / _fan(tensor, filler.variance_norm))
        tensor.uniform_(-bound, bound)
    elif kind == "msra":
        tensor.normal_(0.0, math.sqrt(2.0 / _fan(tensor, filler.variance_norm)))
    elif kind == "positive_unitball":
        rows = tensor.uniform_(0.0, 1.0).view(tensor.shape[0] if tensor.dim() else 1, -1)
        rows /= rows.sum(dim=1, keepdim=True)
    elif kind == "bilinear":
        _bilinear(tensor, layer)
    else:
        raise LayerError(
            f"layer {layer!r}: filler type is {kind!r}, expected bilinear, constant, gaussian, msra, "
            "positive_unitball, uniform or xavier"
        )


def _gaussian(tensor: Tensor, filler: MessageView) -> None:
    """Draw a normal deviate; with `sparse` set, keep each value with probability sparse / (first axis)."""
    tensor.normal_(filler.mean, filler.std)
    if filler.sparse >= 0:
        keep = filler.sparse / (tensor.shape[0] if tensor.dim() else 1)
        tensor.mul_(torch.empty_like(tensor).bernoulli_(min(keep, 1.0)))


def _fan(tensor: Tensor, norm: str) -> float:
    fan_in = tensor.numel() / (tensor.shape[0] if tensor.dim() else 1)
    fan_out = tensor.numel() / (tensor.shape[1] if tensor.dim() > 1 else 1)
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[norm]


def _bilinear(tensor: Tensor, layer: str) -> None:
    """Write the kernel with which a deconvolution interpolates linearly."""
    if tensor.dim() != 4 or tensor.shape[2] != tensor.shape[3]:
        raise LayerError(f"layer {layer!r}: the bilinear filler needs a 4-D square kernel, found {tuple(tensor.shape)}")
    width = tensor.shape[3]
    factor = math.ceil(width / 2)
    center = (2 * factor - 1 - factor % 2) / (2.0 * factor)
    ramp = 1 - (torch.arange(width, dtype=tensor.dtype, device=tensor.device) / factor - center).abs()
    tensor.copy_(ramp[:, None] * ramp[None, :])
