"""caffe.io: conversions, resizing, crops and the Transformer (the claims of upstream's test_io.py; cases by hand)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cpm_port.pycaffe as caffe
from cpm_port.errors import DataError
from cpm_port.pycaffe import io
from cpm_port.pycaffe.proto import caffe_pb2


def blob(array: np.ndarray, **fields: int) -> object:
    return caffe_pb2.BlobProto(data=array.flatten().tolist(), **fields)


def test_blobprotos_of_both_kinds_become_arrays() -> None:
    data = np.arange(100.0).reshape(10, 10)
    old = io.blobproto_to_array(blob(data, num=1, channels=1, height=10, width=10))
    assert np.array_equal(old, data[None, None])
    new = blob(data)
    new.shape.dim.extend(data.shape)
    assert np.array_equal(io.blobproto_to_array(new), data)
    with pytest.raises(ValueError, match="reshape"):
        io.blobproto_to_array(blob(data))
    assert io.blobproto_to_array(blob(np.array([123.0]))) == 123
    assert np.array_equal(io.blobproto_to_array(io.array_to_blobproto(data, 2 * data), return_diff=True), 2 * data)


def test_lists_of_arrays_go_through_bytes() -> None:
    arrays = [np.arange(3.0), np.ones((2, 1, 2))]
    found = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str(arrays))
    assert all(np.array_equal(a, b) for a, b in zip(found, arrays, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_datums_hold_arrays_and_labels(dtype: type) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    datum = io.array_to_datum(array, 7)
    assert np.array_equal(io.datum_to_array(datum), array)
    assert datum.label == 7
    assert len(datum.SerializeToString()) > len(io.array_to_datum(array).SerializeToString())
    with pytest.raises(ValueError, match="Incorrect array shape"):
        io.array_to_datum(array[0])


def test_images_are_rgb_floats(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0], [0, 51, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = io.load_image(tmp_path / "a.png")
    assert found.dtype == np.float32
    assert np.allclose(found, pixels / 255)
    grey = io.load_image(tmp_path / "a.png", color=False)
    assert np.allclose(grey, [[[0.2125], [0.7154 / 5]]])
    Image.fromarray(np.array([[0, 102]], np.uint8)).save(tmp_path / "grey.png")
    assert np.allclose(io.load_image(tmp_path / "grey.png"), [[[0] * 3, [0.4] * 3]])
    Image.fromarray(np.dstack([pixels, [[9, 9]]]).astype(np.uint8)).save(tmp_path / "alpha.png")
    assert np.allclose(io.load_image(tmp_path / "alpha.png"), pixels / 255)
    with pytest.raises(FileNotFoundError):
        io.load_image(tmp_path / "nowhere.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "a.png").read_bytes()[:-30])
    (tmp_path / "text.png").write_text("no image")
    for name in ("short.png", "text.png"):
        with pytest.raises(DataError, match=name):
            io.load_image(tmp_path / name)


def literal_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate linearly between pixels' centres; beyond the border lies the image's lowest value."""
    result = np.empty((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * image.shape[0] / height - 0.5, (x + 0.5) * image.shape[1] / width - 0.5
            total = np.zeros(image.shape[2])
            for row in (int(np.floor(v)), int(np.floor(v)) + 1):
                for column in (int(np.floor(u)), int(np.floor(u)) + 1):
                    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
                    value = image[row, column] if inside else image.min()
                    total += (1 - abs(v - row)) * (1 - abs(u - column)) * value
            result[y, x] = total
    return result


@pytest.mark.parametrize("size", [(7, 5), (3, 9), (5, 6), (13, 11)])
def test_resizing_is_linear_between_pixel_centres(size: tuple[int, int]) -> None:
    image = np.random.RandomState(0).uniform(2, 3, (5, 6, 3))
    found = io.resize_image(image, size)
    assert found.dtype == np.float32
    assert np.allclose(found, literal_resize(image, *size), atol=1e-6)


def test_resizing_with_other_channels_keeps_the_corners() -> None:
    image = np.random.RandomState(0).uniform(size=(4, 4, 5))
    found = io.resize_image(image, (7, 10))
    assert found.shape == (7, 10, 5)
    assert np.allclose(found[[0, 0, -1, -1], [0, -1, 0, -1]], image[[0, 0, -1, -1], [0, -1, 0, -1]])
    assert (io.resize_image(np.full((2, 2, 3), 5.0), (3, 3)) == 5).all()


def test_ten_crops_are_the_corners_the_centre_and_their_mirrors() -> None:
    image = np.arange(6 * 8 * 2.0).reshape(6, 8, 2)
    crops = io.oversample([image, -image], (2, 4))
    assert crops.shape == (20, 2, 4, 2)
    expected = [image[0:2, 0:4], image[0:2, 4:8], image[4:6, 0:4], image[4:6, 4:8], image[2:4, 2:6]]
    assert np.array_equal(crops[:5], expected)
    assert np.array_equal(crops[5:10], np.array(expected)[:, :, ::-1])
    assert np.array_equal(crops[10:], -crops[:10])


def test_the_transformer_prepares_an_input_and_undoes_it() -> None:
    t = io.Transformer({"data": (1, 3, 4, 6)})
    mean = np.array([1.0, 2.0, 3.0])
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (2, 1, 0))
    t.set_raw_scale("data", 255)
    t.set_mean("data", mean)
    t.set_input_scale("data", 0.5)
    image = np.random.RandomState(0).uniform(size=(4, 6, 3)).astype(np.float32)
    found = t.preprocess("data", image)
    assert found.dtype == np.float32
    assert np.allclose(found, (image.transpose(2, 0, 1)[::-1] * 255 - mean[:, None, None]) * 0.5, atol=1e-4)
    assert np.allclose(t.deprocess("data", found[None]), image, atol=1e-5)
    assert t.preprocess("data", np.zeros((8, 8, 3))).shape == (3, 4, 6)


def test_the_transformer_refuses_what_does_not_fit() -> None:
    t = io.Transformer({"data": (1, 3, 4, 6)})
    for call, message in [
        (lambda: t.set_mean("other", np.zeros(3)), "other is not one of the net inputs"),
        (lambda: t.set_mean("data", np.zeros(2)), "Mean channels incompatible with input"),
        (lambda: t.set_mean("data", [1.0, 2.0]), "Mean channels incompatible with input"),
        (lambda: t.set_mean("data", np.zeros((1, 3, 4, 6))), "Mean shape invalid"),
        (lambda: t.set_transpose("data", (1, 0)), "Transpose order"),
        (lambda: t.set_channel_swap("data", (1, 0)), "Channel swap"),
    ]:
        with pytest.raises(Exception, match=message):
            call()
    t.set_mean("data", np.arange(12.0).reshape(3, 2, 2))
    assert t.mean["data"].shape == (3, 4, 6)


def test_the_messages_are_those_of_caffe_pb2() -> None:
    assert caffe_pb2.TEST == caffe.TEST == caffe_pb2.Phase.Value("TEST") == 1
    assert caffe_pb2.LayerParameter(name="a").name == "a"
    assert caffe_pb2.CPMDataParameter.LMDB == 1
    with pytest.raises(AttributeError, match="no message 'Nothing'"):
        caffe_pb2.Nothing  # noqa: B018
