"""The several-people notebook of the release runs on pycaffe's face: its steps, its nets, its numbers.

Oracle: the same steps with real Caffe in the middle (`golden/people`). What is not Caffe's (resizing, finding maxima)
is `cpm_port.inference.notebook`'s, held to the same recordings by tests of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from cpm_port.imaging.reading import read_image
from cpm_port.inference.notebook import peaks_about, person_centers, resize_for_people

TOLERANCE = 1e-5  # of a map's largest value: float32 sums in another order
BOX, SIGMA = 368, 21


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def box_about(image: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the box whose pixel (184, 184) is the centre, 128 outside the image."""
    ground = np.pad(image, ((BOX, BOX), (BOX, BOX), (0, 0)), constant_values=128)
    return ground[y + BOX // 2 : y + BOX // 2 + BOX, x + BOX // 2 : x + BOX // 2 + BOX]


@pytest.mark.parametrize("file", ["nadal.png", "im1658.jpg"])
def test_the_notebook_finds_the_people_that_it_finds_with_caffe(file: str, shared: Path) -> None:
    folder = shared / "golden" / "people"
    with np.load(folder / f"{Path(file).stem}.npz") as arrays:
        golden = dict(arrays)
    image, _ = resize_for_people(read_image(shared / "release" / "images" / file))
    padded = np.pad(image, ((0, 0), (0, -image.shape[1] % 8), (0, 0)), constant_values=128)
    assert padded.shape == tuple(golden["padded_shape"])

    caffe.set_mode_cpu()
    caffe.set_device(0)
    person_net = caffe.Net(str(folder / "small_person.prototxt"), str(folder / "small_person.caffemodel"), caffe.TEST)
    person_net.blobs["image"].reshape(*(1, 3, padded.shape[0], padded.shape[1]))
    person_net.reshape()
    person_net.forward()  # dry run
    person_net.blobs["image"].data[...] = (
        np.transpose(np.float32(padded[:, :, :, np.newaxis]), (3, 2, 0, 1)) / 256 - 0.5
    )
    output_blobs = person_net.forward()
    person_map = np.squeeze(person_net.blobs[next(iter(output_blobs.keys()))].data)
    assert close(person_map, golden["person_map"])
    centers = person_centers(person_map)
    assert np.array_equal(centers, golden["peaks_xy"])

    rows, columns = np.mgrid[:BOX, :BOX] - BOX // 2
    center_map = np.exp(-(rows**2 + columns**2) / 2.0 / SIGMA / SIGMA)
    pose_net = caffe.Net(str(folder / "small_vgg.prototxt"), str(folder / "small_vgg.caffemodel"), caffe.TEST)
    pose_net.forward()  # dry run
    for person, (x, y) in enumerate(centers[:2]):
        input_4ch = np.ones((BOX, BOX, 4))
        input_4ch[:, :, 0:3] = box_about(image, x, y) / 256.0 - 0.5
        input_4ch[:, :, 3] = center_map
        pose_net.blobs["data"].data[...] = np.transpose(np.float32(input_4ch[:, :, :, np.newaxis]), (3, 2, 0, 1))
        maps = pose_net.forward()["Mconv7_stage6"]
        assert close(maps[0], golden["beliefs"][person])
        joints = peaks_about(centers[person], maps[0]).joints_resized
        assert np.array_equal(joints, golden["joints_resized_xy"][person])
