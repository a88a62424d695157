"""HDF5Output: writes two bottoms, `data` and `label`, to the HDF5 file `hdf5_output_param.file_name`; it has no tops.

The arrays are float32 with Caffe's four legacy axes. The file appears with the first pass, in place of an older HDF5
file. It knowingly differs: later passes are added behind (Caffe stops at the second one), and a file that is not HDF5
stays as it is, which is an error. Source: caffe `hdf5_output_layer.cpp`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpm_port.errors import DataError
from cpm_port.files.atomic import writing
from cpm_port.files.hdf5 import create_hdf5
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["HDF5Output"]

_NAMES = ("data", "label")


@register("HDF5Output")
class HDF5Output(LayerModule):
    """Two blobs to a file."""

    message = "hdf5_output_param"
    replayable = False  # every pass writes

    written = False

    @torch.no_grad()
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """Write the batch; return nothing."""
        if bottoms[0].device.type == "meta":
            return ()
        arrays = {name: _four_axes(blob) for name, blob in zip(_NAMES, bottoms, strict=True)}
        path = Path(self.fields.file_name)
        if self.written:
            _append(path, arrays)
        else:
            _create(path, arrays)
            self.written = True
        return ()


def _four_axes(blob: Tensor) -> np.ndarray:
    array = blob.float().cpu().numpy()
    return array.reshape(array.shape + (1,) * (4 - array.ndim))


def _create(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import h5py  # a tenth of a second, which most nets can save

    if path.exists() and os.path.getsize(path) and not h5py.is_hdf5(path):
        raise DataError(f"{path}: exists and is no HDF5 file; an HDF5Output layer would replace it")
    with create_hdf5(path) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]))


def _append(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import h5py

    with writing(path, RuntimeError), h5py.File(path, "r+") as file:
        for name, array in arrays.items():
            before = file[name].shape[0]
            file[name].resize(before + array.shape[0], axis=0)
            file[name][before:] = array
