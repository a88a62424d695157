"""Classifier: a net that scores images, over ten crops of each.

*Source*: BVLC/caffe@9b89154 python/caffe/classifier.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.pycaffe.io import Transformer, resize_image
from cpm_port.pycaffe.io import oversample as ten_crops
from cpm_port.pycaffe.net import TEST, Net

__all__ = ["Classifier"]


class Classifier(Net):
    """A classification net with the preprocessing of its input.

    Parameters
    ----------
    model_file, pretrained_file : path-like
    image_dims : (int, int), optional
        Height and width to which images are resized before they are cropped; the input's own by default.
    mean, input_scale, raw_scale, channel_swap : optional
        See `caffe.io.Transformer`.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        image_dims: Sequence[int] | None = None,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self._input = self.inputs[0]
        shape = self.blobs[self._input].data.shape
        self.transformer = Transformer.of_input(self._input, shape, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self._input].data.shape[2:])
        self.image_dims = self.crop_dims if image_dims is None or len(image_dims) == 0 else image_dims

    def predict(self, inputs: Sequence[NDArray[Any]], oversample: bool = True) -> NDArray[np.float32]:
        """Return the scores of images.

        Parameters
        ----------
        inputs : sequence of ndarray, shape (H, W, K)
            As `caffe.io.load_image` gives them.
        oversample : bool
            Average over ten crops (corners, centre, mirrored); otherwise take the centre crop.

        Returns
        -------
        ndarray, shape (N, C)

        Raises
        ------
        ValueError
            Something else than a list of images.
        """
        if not len(inputs) or any(np.ndim(image) != 3 for image in inputs):
            raise ValueError(f"predict takes a list of images, (H, W, K) each; got {[np.shape(i) for i in inputs[:3]]}")
        height, width = (int(side) for side in self.image_dims)
        images = np.zeros((len(inputs), height, width, inputs[0].shape[2]), np.float32)
        for index, image in enumerate(inputs):
            images[index] = resize_image(image, (height, width))
        if oversample:
            images = ten_crops(list(images), list(self.crop_dims))
        else:
            top, left = (int(side) for side in np.array([height, width]) / 2.0 - self.crop_dims / 2.0)
            images = images[:, top : top + self.crop_dims[0], left : left + self.crop_dims[1], :]
        batch: dict[str, Any] = {
            self._input: np.stack([self.transformer.preprocess(self._input, image) for image in images])
        }
        scores = self.forward_all(**batch)[self.outputs[0]]
        if oversample:
            scores = scores.reshape(len(scores) // 10, 10, -1).mean(1)
        return scores
