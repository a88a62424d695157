"""Detector: a net that scores windows of images, with some of their surroundings (R-CNN).

A window is (ymin, xmin, ymax, xmax), in pixels, its last row and column not included.

*Source*: BVLC/caffe@9b89154 python/caffe/detector.py. Differs: windows have to be given; Caffe's selective search is a
MATLAB program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from cpm_port.pycaffe.io import Transformer, load_image, resize_image
from cpm_port.pycaffe.net import TEST, Net

__all__ = ["Detector"]


class Detector(Net):
    """A net for windows.

    Parameters
    ----------
    model_file, pretrained_file : path-like
    mean, input_scale, raw_scale, channel_swap : optional
        See `caffe.io.Transformer`.
    context_pad : int
        Pixels of surroundings on every side of a window, counted in the net's input.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self._input = self.inputs[0]
        shape = self.blobs[self._input].data.shape
        self.transformer = Transformer.of_input(self._input, shape, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[str | os.PathLike[str], Iterable[Sequence[float]]]]
    ) -> list[dict[str, Any]]:
        """Score windows.

        Parameters
        ----------
        images_windows : iterable of (file, windows)

        Returns
        -------
        list of dict
            Per window `window`, `prediction` (the first output's row) and `filename`.
        """
        listed = [(name, list(windows)) for name, windows in images_windows]
        crops = []
        for name, windows in listed:
            image = load_image(name).astype(np.float32)
            crops += [self.transformer.preprocess(self._input, self.crop(image, window)) for window in windows]
        batch: dict[str, Any] = {self._input: np.stack(crops)}
        scores = self.forward_all(**batch)[self.outputs[0]]
        flat = [(name, window) for name, windows in listed for window in windows]
        return [
            {"window": window, "prediction": score, "filename": name}
            for (name, window), score in zip(flat, scores, strict=True)
        ]

    def detect_selective_search(self, image_fnames: Sequence[str]) -> NoReturn:
        """Raise: the windows come from a MATLAB program that is not part of Caffe either."""
        raise NotImplementedError(
            "Detector.detect_selective_search: its windows come from a MATLAB program; give windows of your own to "
            "detect_windows"
        )

    def crop(self, im: NDArray[Any], window: Sequence[float]) -> NDArray[Any]:
        """Return a window of an image, with its surroundings; what lies outside the image is the mean.

        Parameters
        ----------
        im : ndarray, shape (H, W, K)
        window : (ymin, xmin, ymax, xmax)
        """
        ymin, xmin, ymax, xmax = (int(side) for side in window)
        if not self.context_pad:
            return im[ymin:ymax, xmin:xmax]
        size = self.blobs[self._input].width
        scale = size / (size - 2.0 * self.context_pad)
        half = np.array([ymax - ymin + 1, xmax - xmin + 1]) / 2.0
        center = np.array([ymin, xmin]) + half
        box = np.round([*(center - scale * half), *(center + scale * half)])
        box_height, box_width = box[2] - box[0] + 1, box[3] - box[1] + 1
        scale_height, scale_width = size / box_height, size / box_width
        pad_top = int(np.round(max(0, -box[0]) * scale_height))
        pad_left = int(np.round(max(0, -box[1]) * scale_width))
        height, width = im.shape[:2]
        top, left, bottom, right = (int(side) for side in np.clip(box, 0, [height, width, height, width]))
        part = im[top:bottom, left:right]
        crop_height = min(int(np.round((bottom - top + 1) * scale_height)), size - pad_top)
        crop_width = min(int(np.round((right - left + 1) * scale_width)), size - pad_left)
        result: NDArray[Any] = np.ones((size, size, im.shape[2]), np.float32) * self.crop_mean
        result[pad_top : pad_top + crop_height, pad_left : pad_left + crop_width] = resize_image(
            part, (crop_height, crop_width)
        )
        return result

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the surroundings, and the mean that stands for what lies outside an image."""
        self.context_pad = context_pad
        if not context_pad:
            return
        transformer, name = self.transformer, self._input
        mean = transformer.mean.get(name)
        if mean is None:
            self.crop_mean: Any = 0
            return
        undone = mean.copy()
        if transformer.raw_scale.get(name) is not None:
            undone = undone / transformer.raw_scale[name]
        if transformer.channel_swap.get(name) is not None:
            undone = undone[np.argsort(transformer.channel_swap[name])]
        self.crop_mean = undone.transpose(np.argsort(transformer.transpose[name]))
