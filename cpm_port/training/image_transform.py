"""Caffe's own transformation of an image on its way into a blob: less the mean, cropped, mirrored, scaled.

Used by the streams of Data and ImageData (`caffe_streams.py`, `image_streams.py`). In phase TRAIN crops are drawn, else
they are the centre's; mirroring is drawn in both phases. *Source*: BVLC/caffe@9b89154 `data_transformer.cpp`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec, read_mean
from cpm_port.errors import DataError, LayerError

__all__ = ["ImageTransform", "mean_of"]


def mean_of(layer: LayerSpec, path: Path | None) -> NDArray[np.float32] | None:
    """Return what a layer's transform_param subtracts: the mean file's (C, H, W), values as (C, 1, 1), or nothing.

    Raises
    ------
    LayerError
        Both a file and values, or a file that holds the means of several images.
    """
    values = layer.params.transform_param.mean_value
    if path is not None and values:
        raise LayerError(f"layer {layer.name!r}: mean_file and mean_value; one of them expected")
    if path is not None:
        mean = np.asarray(read_mean(path), np.float32)
        if mean.ndim > 4 or mean.size != int(np.prod(mean.shape[-3:])):
            raise LayerError(f"layer {layer.name!r}: {path}: expected the mean of one image, got shape {mean.shape}")
        return mean.reshape(mean.shape[-3:])
    return np.array(values, np.float32).reshape(-1, 1, 1) if values else None


class ImageTransform:
    """What a data layer's `transform_param` makes of an image.

    Parameters
    ----------
    layer : LayerSpec
    mean : Path or None
        Where its mean file is.
    phase : {"TRAIN", "TEST"}
    """

    def __init__(self, layer: LayerSpec, mean: Path | None, *, phase: str) -> None:
        self._given = layer.params.transform_param
        self._crop = int(self._given.crop_size)
        self._train = phase == "TRAIN"
        self._mean = mean_of(layer, mean)
        self._has_mean_file = mean is not None
        self._where = f"layer {layer.name!r}"

    def shape(self, image: NDArray[Any]) -> tuple[int, int, int]:
        """Return the shape that an image (C, H, W) becomes; LayerError where it has other channels than the mean."""
        channels, height, width = image.shape
        means = None if self._mean is None else len(self._mean)
        if means not in (None, 1, channels) or (means == 1 and self._has_mean_file and channels != 1):
            what = "a mean file" if self._has_mean_file else "1 mean_value, or one"
            raise LayerError(f"{self._where}: expected {what} for each of {channels} channels, got {means}")
        return (channels, self._crop, self._crop) if self._crop else (channels, height, width)

    def write(self, image: NDArray[Any], raw: NDArray[np.uint64], out: NDArray[np.float32], name: str) -> None:
        """Write the transformed image.

        Parameters
        ----------
        image : ndarray, shape (C, H, W)
        raw : ndarray, shape (3,), uint64
            Drawn numbers: for the crop's row, its column, and mirroring.
        out : ndarray, shape as `shape` says
        name : str
            The image's, for messages.

        Raises
        ------
        DataError
            The image is smaller than the crop, or of another shape than the mean or `out`.
        """
        height, width = image.shape[1:]
        top, left = 0, 0
        if self._crop:
            if height < self._crop or width < self._crop:
                raise DataError(f"{name}: image of {width} x {height}, crop_size is {self._crop}")
            spare = height - self._crop, width - self._crop
            top, left = (
                (int(number % np.uint64(room + 1)) if self._train else room // 2)
                for number, room in zip(raw, spare, strict=False)
            )
        values = image.astype(np.float32)
        if self._mean is not None:
            if self._mean.ndim == 3 and self._mean.shape[1:] != (1, 1) and self._mean.shape != image.shape:
                raise DataError(f"{name}: image {image.shape}, mean {self._mean.shape}")
            values -= self._mean
        if self._crop:
            values = values[:, top : top + self._crop, left : left + self._crop]
        if values.shape != out.shape:
            raise DataError(f"{name}: image {image.shape}, the batch's are {out.shape}")
        if self._given.mirror and raw[2] & np.uint64(1):
            values = values[:, :, ::-1]
        np.multiply(values, np.float32(self._given.scale), out=out)
