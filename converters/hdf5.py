"""Caffe's HDF5 weights, `.caffemodel.h5`: arrays under layer names, no net.

Usage: cpm-port convert SRC DST.caffemodel.h5
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.caffe import read_weights, write_weights
from cpm_port.errors import UsageError

from .registry import Format, Model

__all__ = ["FORMAT"]


def read(path: Path) -> Model:
    """Read the arrays; the net must come from elsewhere."""
    weights = read_weights(path)
    return Model(weights, None, weights.notes)


def write(path: Path, model: Model) -> list[str]:
    """Write the arrays; layers without any become empty groups, as Caffe writes them.

    Raises
    ------
    UsageError
        The source holds no net, and none was given: which layers exist is not known.
    """
    if model.net is None:
        raise UsageError(f"{path}: the source holds no net; give it by --net PROTOTXT")
    write_weights(path, model.blobs, model.net)
    return []


FORMAT = Format("HDF5", (".h5", ".hdf5"), read, write)
