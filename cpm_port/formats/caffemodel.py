"""Caffe's binary model, `.caffemodel`: weights and net in one file.

Any generation is read; V2 is written, as real Caffe and OpenCV 4 read it.
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.caffe import read_weights, snapshot_net, write_weights
from cpm_port.errors import UsageError
from cpm_port.formats.values import Format, StoredModel

__all__ = ["FORMAT", "read", "write"]


def read(path: Path) -> StoredModel:
    """Read weights and the net among which they lie."""
    weights = read_weights(path)
    net = None if weights.message is None else snapshot_net(weights.message, str(path))
    return StoredModel(weights, net, weights.notes)


def write(path: Path, model: StoredModel) -> list[str]:
    """Write a V2 model.

    Raises
    ------
    UsageError
        The source holds no net, and none was given.
    """
    if model.net is None:
        raise UsageError(f"{path}: a .caffemodel holds its net, and the source has none; give it by --net PROTOTXT")
    write_weights(path, model.blobs, model.net)
    return []


FORMAT = Format("caffemodel", (".caffemodel",), read, write)
