"""Caffe's HDF5 weights, `.caffemodel.h5`: arrays under layer names, no net.

h5py is imported where a file is read or written, not before: it takes a tenth of a second.
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.caffe import read_weights, write_weights
from cpm_port.formats.values import Format, StoredModel

__all__ = ["FORMAT", "read", "write"]


def read(path: Path) -> StoredModel:
    """Read the arrays; the net must come from elsewhere."""
    weights = read_weights(path)
    return StoredModel(weights, None, weights.notes)


def write(path: Path, model: StoredModel) -> list[str]:
    """Write the arrays; the net's layers without any become empty groups, as Caffe writes them."""
    if model.net is None:
        from cpm_port.caffe.hdf5 import write_weight_groups

        write_weight_groups(path, model.blobs)
    else:
        write_weights(path, model.blobs, model.net)
    return []


FORMAT = Format("HDF5", (".h5", ".hdf5"), read, write)
