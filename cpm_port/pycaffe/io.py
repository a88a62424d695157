"""caffe.io: images and Caffe's small messages as arrays, and the Transformer between images and a net's input.

Images are (H, W, K) float32 arrays, RGB, in [0, 1], as `load_image` gives them.

*Source*: BVLC/caffe@9b89154 python/caffe/io.py, with scikit-image 0.13 behind it. Differs: files are decoded by Pillow
and resized by SciPy (linear: the same formula; higher orders are SciPy's splines), so scikit-image is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cpm_port.errors import DataError
from cpm_port.imaging.reading import DECODER_ERRORS, image_size
from cpm_port.pycaffe.proto import caffe_pb2

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

FloatImage = NDArray[np.float32]
_LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue: scikit-image's rgb2gray


def blobproto_to_array(blob: Any, return_diff: bool = False) -> NDArray[Any]:
    """Return a BlobProto's values, or its gradients, in its shape (four axes where the file is of the old kind).

    Raises
    ------
    ValueError
        The values do not fill the shape.
    """
    doubles = blob.double_diff if return_diff else blob.double_data
    data = np.array(doubles if len(doubles) else blob.diff if return_diff else blob.data)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return data.reshape(blob.num, blob.channels, blob.height, blob.width)
    return data.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: ArrayLike, diff: ArrayLike | None = None) -> Any:
    """Return an array of any shape, and its gradients, as a BlobProto."""
    array = np.asarray(arr)
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(array.shape)
    blob.data.extend(array.astype(float).flat)
    if diff is not None:
        blob.diff.extend(np.asarray(diff).astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[ArrayLike]) -> bytes:
    """Return arrays as the bytes of a BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend([array_to_blobproto(array) for array in arraylist])
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(text: bytes) -> list[NDArray[Any]]:
    """Return the arrays in the bytes of a BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.ParseFromString(text)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: NDArray[Any], label: int | None = None) -> Any:
    """Return an array, shape (channels, height, width), as a Datum: uint8 as bytes, all else as floats.

    Raises
    ------
    ValueError
        An array without three axes.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = int(label)
    return datum


def datum_to_array(datum: Any) -> NDArray[Any]:
    """Return a Datum's array, shape (channels, height, width); uint8 where it holds bytes. The label is not in it."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        return np.frombuffer(datum.data, np.uint8).reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)


class Transformer:
    """From images to a net's inputs and back: resize, transpose, swap channels, scale, subtract the mean, scale again.

    Parameters
    ----------
    inputs : mapping of str to shape
        The inputs' names and shapes, (N, K, H, W).
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Any] = {}
        self.channel_swap: dict[str, Any] = {}
        self.raw_scale: dict[str, Any] = {}
        self.mean: dict[str, Any] = {}
        self.input_scale: dict[str, Any] = {}

    @classmethod
    def of_input(
        cls,
        in_: str,
        shape: Sequence[int],
        mean: NDArray[Any] | None,
        input_scale: float | None,
        raw_scale: float | None,
        channel_swap: Sequence[int] | None,
    ) -> Transformer:
        """Return the transformer of one input, channels first, with what is given set; not pycaffe's."""
        transformer = cls({in_: shape})
        transformer.set_transpose(in_, (2, 0, 1))
        if mean is not None:
            transformer.set_mean(in_, mean)
        if input_scale is not None:
            transformer.set_input_scale(in_, input_scale)
        if raw_scale is not None:
            transformer.set_raw_scale(in_, raw_scale)
        if channel_swap is not None:
            transformer.set_channel_swap(in_, channel_swap)
        return transformer

    def preprocess(self, in_: str, data: NDArray[Any]) -> FloatImage:
        """Return an image, (H, W, K), as the input `in_` wants it, (K, H, W)."""
        self._check_input(in_)
        image: Any = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if image.shape[:2] != size:
            image = resize_image(image, size)
        if self.transpose.get(in_) is not None:
            image = image.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            image = image[list(self.channel_swap[in_]), :, :]
        if self.raw_scale.get(in_) is not None:
            image = image * np.float32(self.raw_scale[in_])
        if self.mean.get(in_) is not None:
            image = (image - self.mean[in_]).astype(np.float32)
        if self.input_scale.get(in_) is not None:
            image = image * np.float32(self.input_scale[in_])
        result: FloatImage = image
        return result

    def deprocess(self, in_: str, data: NDArray[Any]) -> NDArray[Any]:
        """Return an input as the image that it was made from, at the input's size."""
        self._check_input(in_)
        image: Any = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            image = image / self.input_scale[in_]
        if self.mean.get(in_) is not None:
            image = image + self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            image = image / self.raw_scale[in_]
        if self.channel_swap.get(in_) is not None:
            image = image[np.argsort(self.channel_swap[in_]), :, :]
        if self.transpose.get(in_) is not None:
            image = image.transpose(np.argsort(self.transpose[in_]))
        result: NDArray[Any] = image
        return result

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of axes: (2, 0, 1) for images in the usual layout."""
        self._check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of channels: (2, 1, 0) from RGB to BGR."""
        self._check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set what is multiplied before the mean is subtracted: 255 for models that want values up to 255."""
        self._check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: NDArray[Any]) -> None:
        """Set what is subtracted: one number per channel, or a picture, which is resized where it does not fit.

        Raises
        ------
        ValueError
            Another number of channels than the input's, or no picture.
        """
        self._check_input(in_)
        channels, mean = self.inputs[in_][1], np.asarray(mean)
        if mean.ndim == 1:
            if len(mean) != channels:
                raise ValueError("Mean channels incompatible with input.")
            self.mean[in_] = mean[:, np.newaxis, np.newaxis]
            return
        picture = mean[np.newaxis] if mean.ndim == 2 else mean
        if picture.ndim != 3:
            raise ValueError("Mean shape invalid")
        if picture.shape[0] != channels:
            raise ValueError("Mean channels incompatible with input.")
        size = tuple(self.inputs[in_][2:])
        if picture.shape[1:] != size:
            picture = resize_image(picture.transpose(1, 2, 0), size).transpose(2, 0, 1)
        self.mean[in_] = picture

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set what is multiplied after the mean was subtracted."""
        self._check_input(in_)
        self.input_scale[in_] = scale

    def _check_input(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {self.inputs}")


def load_image(filename: str | os.PathLike[str], color: bool = True) -> FloatImage:
    """Return an image file, (H, W, 3), RGB, or (H, W, 1) where `color` is False; float32 in [0, 1].

    Raises
    ------
    MissingFileError, DataError
        There is no such file; it is no image, too large or cut short.
    """
    image_size(filename)
    try:
        with Image.open(filename) as opened:
            if opened.mode in ("P", "CMYK", "YCbCr", "PA", "1"):
                opened = opened.convert("RGB" if opened.mode != "1" else "L")  # type: ignore[assignment]
            raw = np.asarray(opened)
    except DECODER_ERRORS as error:
        raise DataError(f"{os.fspath(filename)}: corrupt or cut short: {error}") from error
    image = (raw / np.iinfo(raw.dtype).max if raw.dtype.kind in "iu" else raw.astype(float)).astype(np.float32)
    if image.ndim == 3:
        image = image[:, :, :1] if image.shape[2] == 2 else image[:, :, :3]
    if not color and image.ndim == 3 and image.shape[2] == 3:
        image = image @ np.array(_LUMINANCE, np.float32)
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    return np.repeat(image, 3, axis=2) if color and image.shape[2] == 1 else image


def resize_image(im: NDArray[Any], new_dims: Sequence[int], interp_order: int = 1) -> FloatImage:
    """Return an image, (H, W, K), at another size (height, width).

    With one or three channels pixels are areas, their centres half a pixel from the border; beyond the border the
    image has its lowest value. With other numbers of channels the corner pixels' centres stay in the corners. No
    smoothing is done before shrinking. So does pycaffe with the libraries of its time.

    Parameters
    ----------
    interp_order : int
        0 nearest, 1 linear, up to 5: splines.
    """
    from scipy import ndimage

    height, width = (int(size) for size in new_dims[:2])
    factors = (height / im.shape[0], width / im.shape[1], 1)
    if im.shape[-1] not in (1, 3):
        return np.asarray(ndimage.zoom(im, factors, order=interp_order), np.float32)
    lowest, highest = im.min(), im.max()
    if not highest > lowest:
        return np.full((height, width, im.shape[-1]), lowest, np.float32)
    unit = (im - lowest) / (highest - lowest)
    resized = ndimage.zoom(unit, factors, order=interp_order, mode="grid-constant", grid_mode=True)
    return np.asarray(resized * (highest - lowest) + lowest, np.float32)


def oversample(images: Sequence[NDArray[Any]], crop_dims: Sequence[int]) -> FloatImage:
    """Return ten crops of each image: four corners and the centre, then their mirror images.

    Parameters
    ----------
    images : sequence of ndarray, shape (H, W, K)
        All of one size.
    crop_dims : (int, int)
        Height and width of a crop.

    Returns
    -------
    ndarray, shape (10 * len(images), height, width, K), float32
    """
    size, (height, width) = images[0].shape, (int(side) for side in crop_dims)
    tops, lefts = (0, size[0] - height), (0, size[1] - width)
    places = [(top, left) for top in tops for left in lefts]
    places.append((int(size[0] / 2.0 - height / 2.0), int(size[1] / 2.0 - width / 2.0)))
    crops = np.empty((10 * len(images), height, width, size[-1]), np.float32)
    for number, image in enumerate(images):
        five = np.stack([image[top : top + height, left : left + width] for top, left in places])
        crops[10 * number : 10 * number + 5] = five
        crops[10 * number + 5 : 10 * number + 10] = five[:, :, ::-1]
    return crops
