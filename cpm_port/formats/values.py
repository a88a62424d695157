"""What travels between formats, `StoredModel`, and what a format is, `Format`.

Arrays are float32 (float64 where the file holds doubles), in Caffe's shapes, under Caffe's layer names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpm_port.caffe import NetSpec

__all__ = ["Array", "Format", "StoredModel"]

Array = Any  # numpy.ndarray of float32 or float64


@dataclass(frozen=True)
class StoredModel:
    """Weights and, where the file or the user gave one, the net they belong to.

    Attributes
    ----------
    blobs : mapping of str to tuple of ndarray
        Layer name -> its arrays.
    net : NetSpec or None
        None for a format that holds no net.
    notes : tuple of str
        What the reader wants the user to know.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.formats import StoredModel
    >>> StoredModel({"conv1": (np.zeros((8, 3, 9, 9)), np.zeros(8))}, net=None).notes
    ()
    """

    blobs: Mapping[str, tuple[Array, ...]]
    net: NetSpec | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name : str
        For messages.
    suffixes : tuple of str
        Lower case, with their dots.
    read : callable or None
        Path -> StoredModel; None for a format that is only written.
    write : callable
        (Path, StoredModel) -> lines to report. The file appears whole or not at all.

    Examples
    --------
    >>> from cpm_port.formats import FORMATS
    >>> [form.name for form in FORMATS if form.read is not None]
    ['caffemodel', 'HDF5', 'safetensors']
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], StoredModel] | None
    write: Callable[[Path, StoredModel], list[str]]
