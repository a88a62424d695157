"""Claim: image in, joints out, on image pixels.

Oracle: a net whose belief in part p is how much more there is of colour p than of the others.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cpm_port.errors import ModelFileError, ShapeError, UsageError
from cpm_port.imaging.boxing import box_geometry
from cpm_port.imaging.gaussians import centered_map
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid
from cpm_port.inference.beliefs import image_maps
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import gather, net_input, predict_person, run_net
from tests.inference.nets import Spy, colour_net

SPOTS = ((20, 30), (70, 25), (45, 60))  # x, y of a blue, a green and a red square


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return colour_net()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    picture = np.zeros((80, 100, 3), np.uint8)
    for channel, (x, y) in enumerate(SPOTS):
        picture[y - 6 : y + 7, x - 6 : x + 7, channel] = 250
    return picture


@pytest.mark.parametrize("mode", ["benchmark", "demo"])
@pytest.mark.parametrize("center", [(50.0, 40.0), (20.0, 60.0)])
def test_parts_are_found_where_they_are(net: torch.nn.Module, image: np.ndarray, mode: str, center: tuple) -> None:
    prediction = predict_person(net, image, center, 0.6, (0.7, 1.0, 1.4), mode)  # type: ignore[arg-type]
    np.testing.assert_allclose(prediction.joints_image, SPOTS, atol=5)
    assert prediction.part_order.parts == ("part_0", "part_1", "part_2")
    assert prediction.image_size == (80, 100)
    assert prediction.box_size == 64
    assert prediction.search == ScaleSearch(center, 0.6, (0.7, 1.0, 1.4))


def test_one_forward_for_all_scales(net: torch.nn.Module, image: np.ndarray) -> None:
    spy = Spy(net)  # type: ignore[arg-type]
    predict_person(spy, image, (50.0, 40.0), 0.6, (0.7, 0.9, 1.0, 1.3))
    assert spy.calls == [((4, 4, 64, 64), [])]


def test_the_benchmark_sums_and_the_demo_averages(net: torch.nn.Module, image: np.ndarray) -> None:
    summed = predict_person(net, image, (50.0, 40.0), 0.6, (0.8, 1.2), "benchmark", keep_maps=True)
    mean = predict_person(net, image, (50.0, 40.0), 0.6, (0.8, 1.2), "demo", keep_maps=True)
    assert summed.score_maps is not None
    assert mean.score_maps is not None
    assert summed.score_maps.shape == (80, 100, 4)
    assert summed.score_maps.dtype == np.float32
    np.testing.assert_allclose(mean.score_maps, summed.score_maps / 2, rtol=1e-6)
    np.testing.assert_allclose(mean.scores, summed.scores / 2, rtol=1e-6)
    assert (summed.peak_limit, mean.peak_limit) == (2, 1)
    for part, (x, y) in enumerate(summed.joints_image.astype(int)):
        assert summed.scores[part] == summed.score_maps[y, x, part] == summed.score_maps[..., part].max()


def test_modes_break_ties_their_own_way(net: torch.nn.Module) -> None:
    grey = np.full((80, 100, 3), 128, np.uint8)  # what the box is padded with: every map is one constant
    by_column = predict_person(net, grey, (50.0, 40.0), 0.5, (1.0,), "benchmark", keep_maps=True)
    by_row = predict_person(net, grey, (50.0, 40.0), 0.5, (1.0,), "demo", keep_maps=True)
    for prediction, order in ((by_column, "F"), (by_row, "C")):
        assert prediction.score_maps is not None
        for part in range(3):
            first = int(prediction.score_maps[..., part].ravel(order).argmax())
            y, x = np.unravel_index(first, (80, 100), order=order)  # type: ignore[call-overload]
            assert prediction.joints_image[part].tolist() == [x, y]


def test_stage_maps_come_at_the_asked_pixels(net: torch.nn.Module, image: np.ndarray) -> None:
    rows, columns = np.arange(0, 80, 4), np.arange(10, 90, 7)
    prediction = predict_person(
        net, image, (50.0, 40.0), 0.6, (0.8, 1.2), "demo", keep_maps=True, stage_window=(rows, columns)
    )
    assert list(prediction.stage_maps) == [1, 2]
    assert prediction.score_maps is not None
    whole = prediction.score_maps[rows][:, columns]
    np.testing.assert_allclose(prediction.stage_maps[2], whole, atol=1e-5)
    np.testing.assert_allclose(prediction.stage_maps[1][..., :3] * 2, whole[..., :3], atol=1e-5)  # stage 2 doubles


def test_the_steps_in_a_row_are_the_whole(net: torch.nn.Module, image: np.ndarray) -> None:
    interface = read_interface(net)  # type: ignore[arg-type]
    search = ScaleSearch((50.0, 40.0), 0.6, (0.8, 1.2))
    pyramid = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
    beliefs = run_net(net, interface, pyramid, stages=True)  # type: ignore[arg-type]
    assert list(beliefs.stages) == [1, 2]
    stepwise = gather(beliefs, pyramid.geometries, interface, search)
    at_once = predict_person(net, image, search.center_xy, search.base_scale, search.multipliers)  # type: ignore[arg-type]
    assert (stepwise.joints_image == at_once.joints_image).all()
    assert (stepwise.scores == at_once.scores).all()


def test_nets_without_center_map_and_with_other_part_counts_work(image: np.ndarray) -> None:
    prediction = predict_person(colour_net(channels=3, parts=5, box=32), image, (50.0, 40.0), 0.3)
    assert prediction.joints_image.shape == (5, 2)
    np.testing.assert_allclose(prediction.joints_image[:3], SPOTS, atol=8)


def test_the_input_is_scaled_and_carries_the_center_map() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    blob = net_input(crops, 4)
    assert blob.dtype == torch.float32
    assert tuple(blob.shape) == (2, 4, 16, 16)
    assert (blob[:, :3].numpy() == crops.transpose(0, 3, 1, 2) / 256.0 - 0.5).all()
    assert (blob[:, 3].numpy() == centered_map(16)).all()
    assert tuple(net_input(crops, 3).shape) == (2, 3, 16, 16)
    with pytest.raises(ShapeError, match="expected"):
        net_input(crops.astype(np.float32), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_beliefs_that_are_not_finite_are_an_error(net: torch.nn.Module, image: np.ndarray, value: float) -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        predict_person(Spy(net, spoil=value), image, (50.0, 40.0), 0.6)  # type: ignore[arg-type]


def test_unknown_modes_are_refused(net: torch.nn.Module, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="mode 'test'"):
        predict_person(net, image, (50.0, 40.0), 0.6, (1.0,), "test")  # type: ignore[arg-type]


def test_predictions_do_not_build_a_graph(net: torch.nn.Module, image: np.ndarray) -> None:
    interface = read_interface(net)  # type: ignore[arg-type]
    beliefs = run_net(net, interface, build_pyramid(image, (50.0, 40.0), (0.6,), 64))  # type: ignore[arg-type]
    assert not beliefs.final.requires_grad


def test_a_full_hd_image_is_searched_in_little_memory() -> None:
    """What the maps would take in float32 is 15 x 1920 x 1080 x 4 = 124 MB; the bands are a few MB each."""
    from cpm_port.inference.beliefs import bands

    geometries = [box_geometry((1080, 1920), (960.0, 540.0), scale, 368) for scale in (0.2, 0.3)]
    beliefs = torch.rand(2, 14, 46, 46)
    sizes = [band.numel() * 4 for _, band in bands(beliefs, geometries)]
    assert sum(sizes) == 14 * 1920 * 1080 * 4
    assert max(sizes) <= 4 * 2**20
    assert image_maps(beliefs, geometries, rows=np.array([0]), columns=np.array([0])).shape == (1, 1, 14)
