"""Caffe's Euclidean loss in a variant that ignores joints without a label.

Flow: a stage's belief maps + target maps -> **scalar** -> gradients. The nets of a train prototxt carry their own
`EuclideanLoss` layers; this module is the same formula for masked training.

Conventions: maps are (N, C, h, w); the loss is sum((prediction - target)^2) / (2 N), N being the batch only. It is
a sum over parts and cells, not a mean: rates from other frameworks do not carry over.

It reads "no opinion" from the target itself: cells that are NaN add neither loss nor gradient. That survives every
Slice between the data layer and the loss. (Caffe trains a joint without a label towards an empty map.)

Source: BVLC/caffe@9b891540 src/caffe/layers/euclidean_loss_layer.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.errors import ShapeError

__all__ = ["masked_euclidean_loss"]


def masked_euclidean_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the Euclidean loss over the cells whose target is not NaN, as a float32 scalar.

    The divisor stays 2 N, so that a labelled joint weighs the same whatever else is labelled in its batch.

    Parameters
    ----------
    prediction, target : Tensor, shape (N, ...), the same

    Raises
    ------
    ShapeError
        The shapes differ: nothing is broadcast; or N is 0.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[1.0, float("nan")]])  # the second cell has no label
    >>> float(masked_euclidean_loss(torch.tensor([[3.0, 5.0]]), target))
    2.0
    """
    if prediction.shape != target.shape:
        raise ShapeError(f"Euclidean loss: prediction is {tuple(prediction.shape)}, target {tuple(target.shape)}")
    if not prediction.shape[0]:
        raise ShapeError(f"Euclidean loss: prediction is {tuple(prediction.shape)}; expected 1 example or more")
    labelled = ~torch.isnan(target)
    difference = torch.where(labelled, prediction.float() - target.float(), 0.0)
    return difference.square().sum() / (2 * prediction.shape[0])
