"""Claim: several people are found as the release's notebook finds them, to the pixel.

Oracles: the notebook's steps with real Caffe in the middle (`golden/people`); a literal loop for the enlarged maps;
nets whose answers are known (tests/inference/nets.py) where a quirk must show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import parse_net
from cpm_port.cli import main
from cpm_port.errors import UsageError
from cpm_port.graph import load_net
from cpm_port.imaging.enlarging import enlarge
from cpm_port.imaging.reading import read_image
from cpm_port.inference.model import ready_net
from cpm_port.inference.notebook import (
    Notebook,
    box_peaks,
    load_person_net,
    peaks_about,
    person_centers,
    person_map,
    resize_for_people,
)
from cpm_port.predictions.image_results import NotebookResult
from cpm_port.predictions.results import read_result
from cpm_port.zoo import resolve
from tests.inference.nets import colour_net, colour_net_text

MAP_TOLERANCE = 1e-5
"""Of a map's largest value: float32 sums in another order."""

FILES = {"frame0181": "frame0181.png", "im1658": "im1658.jpg", "nadal": "nadal.png"}
Golden = dict[str, np.ndarray]


def assert_maps_agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= MAP_TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module")
def notebook(shared: Path) -> Notebook:
    """The notebook's nets at 16 channels."""
    folder = shared / "golden" / "people"
    person, pose = (
        (folder / f"{name}.prototxt", folder / f"{name}.caffemodel") for name in ("small_person", "small_vgg")
    )
    return Notebook(load_person_net(resolve(None, *person)), ready_net(resolve(None, *pose)))


@pytest.mark.parametrize("name", FILES)
def test_the_notebook_steps_give_what_they_give_with_caffe(name: str, notebook: Notebook, shared: Path) -> None:
    with np.load(shared / "golden" / "people" / f"{name}.npz") as arrays:
        golden = dict(arrays)
    resized, scale = resize_for_people(read_image(shared / "release" / "images" / FILES[name]))
    assert scale == golden["scale"]
    assert resized.shape == tuple(golden["resized_shape"])
    np.testing.assert_array_equal(resized[::8, ::8], golden["resized_every8"])
    belief = person_map(notebook.person, resized)
    assert_maps_agree(belief, golden["person_map"])
    centers = person_centers(belief)
    np.testing.assert_array_equal(centers, golden["peaks_xy"])
    people = list(box_peaks(notebook.pose, resized, centers[: len(golden["beliefs"])]))
    assert_maps_agree(np.stack([person.beliefs for person in people]), golden["beliefs"])
    np.testing.assert_array_equal(np.stack([person.joints_resized for person in people]), golden["joints_resized_xy"])
    np.testing.assert_allclose(np.stack([person.scores for person in people]), golden["joint_scores"], atol=1e-5)


def test_the_command_tells_the_people_in_image_px(notebook: Notebook, shared: Path, tmp_path: Path) -> None:
    folder, image = shared / "golden" / "people", shared / "release" / "images" / "im1658.jpg"
    options = [
        f"--{option}={folder / name}"
        for option, name in (
            ("person-net", "small_person.prototxt"), ("person-weights", "small_person.caffemodel"),
            ("net", "small_vgg.prototxt"), ("weights", "small_vgg.caffemodel"),
        )
    ]  # fmt: skip
    assert main(["predict", str(image), "--people", "notebook", *options, "--out", str(tmp_path)]) == 0
    with np.load(folder / "im1658.npz") as arrays:
        golden = dict(arrays)
    content = json.loads((tmp_path / "im1658.json").read_text(encoding="utf-8"))
    assert content["resize_scale"] == golden["scale"]
    assert len(content["people"]) == len(golden["peaks_xy"])
    centers = np.array([person["center"] for person in content["people"]])
    np.testing.assert_array_equal(centers, golden["peaks_xy"] / golden["scale"])
    count = len(golden["joints_resized_xy"])
    joints = np.array([[(j["x"], j["y"]) for j in person["joints"]] for person in content["people"][:count]])
    np.testing.assert_array_equal(joints, golden["joints_resized_xy"] / golden["scale"])
    read = read_result(tmp_path / "im1658.json")
    assert isinstance(read, NotebookResult)
    assert read.to_json() == content


def test_centers_of_the_recorded_map(golden: Callable[[str], Golden]) -> None:
    arrays = golden("people/im1658.npz")
    np.testing.assert_array_equal(person_centers(arrays["person_map"]), arrays["peaks_xy"])


def test_joints_of_the_recorded_maps(golden: Callable[[str], Golden]) -> None:
    arrays = golden("people/im1658.npz")
    for center, beliefs, joints in zip(
        arrays["peaks_xy"], arrays["beliefs"], arrays["joints_resized_xy"], strict=False
    ):
        np.testing.assert_array_equal(peaks_about(center, beliefs).joints_resized, joints)


def test_a_plateau_gives_a_center_at_each_of_its_pixels() -> None:
    belief = np.zeros((6, 5), np.float32)
    assert len(person_centers(belief + np.float32(0.75))) == 6 * 8 * 5 * 8
    assert len(person_centers(belief + np.float32(0.5))) == 0


@pytest.mark.parametrize(("size", "factor"), [((1, 1), 8), ((2, 3), 8), ((5, 4), 3)])
def test_enlarged_maps_are_the_kernel_summed_in_a_loop(size: tuple[int, int], factor: int) -> None:
    values = np.random.default_rng(5).normal(size=size).astype(np.float32)

    def kernel(distance: float) -> float:
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    expected = np.zeros((size[0] * factor, size[1] * factor))
    for i in range(expected.shape[0]):
        for j in range(expected.shape[1]):
            y, x = (i + 0.5) / factor - 0.5, (j + 0.5) / factor - 0.5
            for r in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                for c in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    value = values[min(max(r, 0), size[0] - 1), min(max(c, 0), size[1] - 1)]
                    expected[i, j] += kernel(y - r) * kernel(x - c) * value
    np.testing.assert_allclose(enlarge(values, factor), expected, atol=1e-5)


def test_a_box_has_the_center_at_its_pixel_184_and_padding_beyond(tmp_path: Path) -> None:
    (tmp_path / "colours.prototxt").write_text(colour_net_text(box=368))
    colour_net(box=368).save(tmp_path / "colours.caffemodel")
    model = ready_net(resolve(None, tmp_path / "colours.prototxt", tmp_path / "colours.caffemodel"))
    resized = np.zeros((368, 100, 3), np.uint8)
    resized[200:208, 40:48, 1] = 255  # green: the second part; a whole cell where the box begins 8 k px before it
    (person,) = box_peaks(model, resized, np.array([[40, 200]]))
    cell = np.unravel_index(person.beliefs[1].argmax(), person.beliefs[1].shape)
    assert cell == (23, 23)
    grey = person.beliefs[:3, 0, 0]
    np.testing.assert_allclose(grey, 0.0, atol=1e-6)
    assert np.abs(person.joints_resized[1] - (43.5, 203.5)).max() <= 0.5


def test_an_image_that_would_be_too_wide_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 8192"):
        resize_for_people(np.zeros((10, 400, 3), np.uint8))


def test_a_pose_net_of_another_box_is_refused(tmp_path: Path) -> None:
    (tmp_path / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(tmp_path / "colours.caffemodel")
    files = (tmp_path / "colours.prototxt", tmp_path / "colours.caffemodel")
    with pytest.raises(UsageError, match=r"one map|one of 3 channels"):
        load_person_net(resolve(None, *files))
    net = load_net(parse_net(PERSON_NET))
    net.save(tmp_path / "person.caffemodel")
    (tmp_path / "person.prototxt").write_text(PERSON_NET)
    person = load_person_net(resolve(None, tmp_path / "person.prototxt", tmp_path / "person.caffemodel"))
    with pytest.raises(UsageError, match="a box of 64 px"):
        Notebook(person, ready_net(resolve(None, *files)))


PERSON_NET = """
name: "person"
input: "image" input_dim: 1 input_dim: 3 input_dim: 64 input_dim: 64
layer { name: "pool" type: "Pooling" bottom: "image" top: "pool"
        pooling_param { pool: AVE kernel_size: 8 stride: 8 } }
layer { name: "map" type: "Convolution" bottom: "pool" top: "map" convolution_param { num_output: 1 kernel_size: 1 } }
"""


@pytest.mark.parametrize(
    "options",
    [["--person-net", "a", "--person-weights", "b"], ["--people", "notebook", "--person-net", "a"],
     ["--people", "notebook", "--box", "1", "2", "3", "4"]],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: list[str], tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    assert main(["predict", str(image), *options, "--out", str(tmp_path)]) == 2
