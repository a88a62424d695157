"""An optimizer's history blobs as Caffe stores them: out to arrays for a `.solverstate`, and back.

Conventions: in the order of the net's learnable parameters; a solver with two blobs per parameter (AdaDelta, Adam) has
every parameter's first, then every parameter's second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cpm_port.errors import TrainingError
from cpm_port.training.solver import CaffeOptimizer

__all__ = ["collect_history", "restore_history", "to_numpy"]


def collect_history(optimizer: CaffeOptimizer, params: Sequence[Tensor]) -> list[np.ndarray]:
    """Return all history blobs, C-ordered float32, each of its parameter's shape."""
    columns = zip(*(optimizer.history(p) for p in params), strict=True)
    return [to_numpy(blob) for column in columns for blob in column]


def restore_history(
    optimizer: CaffeOptimizer, params: Sequence[Tensor], history: Sequence[np.ndarray], source: str
) -> None:
    """Fill the optimizer's history blobs from arrays.

    Raises
    ------
    TrainingError
        The arrays belong to another net or another kind of solver; `source` names their file.
    """
    wanted = optimizer.blobs_per_param * len(params)
    if len(history) != wanted:
        raise TrainingError(
            f"{source}: {len(history)} history blobs, {type(optimizer).__name__} needs {wanted}: "
            f"{optimizer.blobs_per_param} for each of {len(params)} parameters"
        )
    for index, array in enumerate(history):
        param = params[index % len(params)]
        if array.size != param.numel():
            raise TrainingError(f"{source}: history blob {index} is {array.shape}, its parameter {tuple(param.shape)}")
    for index, array in enumerate(history):
        blob = optimizer.history(params[index % len(params)])[index // len(params)]
        with torch.no_grad():
            blob.copy_(torch.from_numpy(np.array(array, np.float32)).view(blob.shape))


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a C-ordered float32 array on the CPU."""
    array: np.ndarray = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return array
