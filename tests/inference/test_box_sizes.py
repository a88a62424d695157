"""Claim: a net with another box than the release's 368 px sees every person as that one would, at its own size.

Oracles: the release's rules times `b / 368`, worked by hand; and nets of several boxes that must find the same joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from cpm_port.annotations.samples import Person, Sample
from cpm_port.compute.devices import World
from cpm_port.graph import CaffeNet
from cpm_port.imaging.gaussians import centered_map
from cpm_port.imaging.pyramid import ScaleSearch, demo_search, lsp_search
from cpm_port.inference.dataset import predict_samples
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whereabouts import search_of
from cpm_port.parts import FLIC9, LSP14, PartOrder
from cpm_port.release import TARGET_DIST
from tests.inference.nets import colour_net

BOXES = (64, 128, 368)
SPOTS = ((40, 60), (140, 50), (90, 120))  # of blue, green and red


class Eyes:
    """A net that keeps what it was shown."""

    def __init__(self, net: CaffeNet) -> None:
        self.net, self.spec, self.seen = net, net.spec, []

    @property
    def blob_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.net.blob_shapes

    def __call__(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        self.seen.append(inputs["data"].numpy())
        return self.net(inputs, blobs)


def picture() -> np.ndarray:
    image = np.zeros((160, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(SPOTS):
        image[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    return image


def sample(dataset: str, order: PartOrder = LSP14, **person: object) -> Sample:
    joints = np.zeros((len(order), 2))
    known = Person(joints, np.ones(len(order), bool), **person)  # type: ignore[arg-type]
    return Sample(dataset, "one", None, "test", order, "person", known)


@pytest.mark.parametrize("box_size", BOXES)
@pytest.mark.parametrize(
    ("who", "center", "scale_at_368"),
    [
        (sample("LSP"), (99, 79), 0.8 * 368 / 160),
        (sample("LSPET"), (99, 79), 0.8 * 368 / 160),
        (sample("LSPET", center=(50.0, 60.0), scale=0.7), (50, 60), TARGET_DIST / 0.7),
        (sample("MPI", center=(50.0, 60.0), scale=0.7), (50, 60), TARGET_DIST / 0.7),
        (sample("FLIC", FLIC9, torso_box=(10.0, 20.0, 50.0, 120.0)), (30, 50), TARGET_DIST / 1.1),
    ],
)
def test_every_data_sets_base_scale_follows_the_box(
    who: Sample, center: tuple[float, float], scale_at_368: float, box_size: int
) -> None:
    search = search_of(who, (160, 200), box_size)
    assert search.center_xy == pytest.approx(center)
    assert search.base_scale == pytest.approx(scale_at_368 * box_size / 368)


@pytest.mark.parametrize("box_size", BOXES)
def test_the_net_is_shown_a_center_map_in_proportion_to_its_box(box_size: int) -> None:
    eyes = Eyes(colour_net(box=box_size))
    predict_person(eyes, picture(), (99.0, 79.0), 0.3, (1.0,))
    assert np.array_equal(eyes.seen[0][0, 3], centered_map(box_size, 21.0 * box_size / 368))
    assert read_interface(eyes).center_sigma == pytest.approx(21.0 * box_size / 368)


def test_the_net_is_shown_the_center_map_that_it_was_trained_with() -> None:
    eyes = Eyes(colour_net(box=128))
    predict_person(eyes, picture(), (99.0, 79.0), 0.3, (1.0,), sigma=9.0)
    assert np.array_equal(eyes.seen[0][0, 3], centered_map(128, 9.0))


@pytest.mark.parametrize(
    "search_for", [lsp_search, lambda size, box: demo_search(size, (40.0, 10.0, 110.0, 140.0), box)]
)
def test_nets_of_two_boxes_find_the_same_joints(search_for: object) -> None:
    for box_size in (64, 128):
        search: ScaleSearch = search_for((160, 200), box_size)  # type: ignore[operator]
        found = predict_person(
            colour_net(box=box_size), picture(), search.center_xy, search.base_scale, search.multipliers
        )
        cell = 8 / min(search.scales)
        np.testing.assert_allclose(found.joints_image, SPOTS, atol=cell)


def test_a_data_set_is_predicted_at_the_nets_own_scale(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), picture())
    people = [Sample("LSP", "one", path, "test", LSP14, "person", sample("LSP").person)]
    world = World(0, 1, torch.device("cpu"))
    for box_size in (64, 128):
        net = colour_net(box=box_size)
        found = predict_samples(net, people, tmp_path / str(box_size), {"box": str(box_size)}, world)
        search = lsp_search((160, 200), box_size)
        alone = predict_person(net, picture(), search.center_xy, search.base_scale, search.multipliers)
        assert found is not None
        np.testing.assert_array_equal(found.joints.xy[0], alone.joints_image)
        np.testing.assert_allclose(found.joints.xy[0], SPOTS, atol=8 / min(search.scales))


def test_a_data_sets_net_is_shown_the_center_map_that_it_was_trained_with(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), picture())
    people = [Sample("LSP", "one", path, "test", LSP14, "person", sample("LSP").person)]
    eyes = Eyes(colour_net())
    predict_samples(eyes, people, tmp_path / "run", {}, World(0, 1, torch.device("cpu")), sigma=5.0)
    assert np.array_equal(eyes.seen[0][0, 3], centered_map(64, 5.0))
