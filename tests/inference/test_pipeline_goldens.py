"""Claim: the pipeline is the release's. Oracle: its own MATLAB code around real Caffe, on six images (golden/pipeline).

Crops are held byte for byte, with one reservation. Where a scale is a simple fraction, interpolated values fall exactly
between two bytes, and the last bit of the scale decides how they round. For two images the recorded `scale0` cannot be
the number, to the last bit, that the release had computed:

- mpi_nadal (scales 41/72, 41/56, ...): one unit in the last place lower, all of its many hundreds of halves fall as
  recorded; at any other value within four units dozens to hundreds do not. Also, 360 px times the recorded first scale
  is 205.00000000000003, and the crop shows 205 rows.
- lspet_00003: two units higher, all of its eight halves fall as recorded; with the recorded value four bytes of 2.8
  million differ. Eight halves are weak evidence, four bytes a small matter.

So crops are compared at these neighbours (`UNITS_OFF`), and at the recorded value up to the halves; pads and joints are
held with both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port import CaffeNet, load_net
from cpm_port.engine import AcceleratedNet, accelerate
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import arithmetic
from cpm_port.imaging.boxing import box_geometry
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid, demo_search, lsp_search
from cpm_port.imaging.reading import read_image
from cpm_port.inference.beliefs import image_maps
from cpm_port.inference.interface import NetInterface, read_interface
from cpm_port.inference.predict import Beliefs, gather, predict_person
from cpm_port.parts import CPM14
from cpm_port.release import BENCHMARK_MULTIPLIERS

CASES = ("demo_singer", "lsp_im1630", "lsp_im1640", "lspet_00003", "lspet_00042", "mpi_nadal")
UNITS_OFF = {"mpi_nadal": -1, "lspet_00003": 2}
ON_A_PRETENDED_GPU = ("lsp_im1630", "lspet_00042")  # which adds up as a CPU does
SUM_TOLERANCE = 1e-5  # of the sums' own scale

NET_OF_THE_GOLDENS = NetInterface(
    input="data",
    channels=4,
    box_size=368,
    output="Mconv5_stage6",
    stages={1: "conv7_stage1"} | {stage: f"Mconv5_stage{stage}" for stage in range(2, 7)},
    part_order=CPM14,
    center_sigma=21.0,
)


@dataclass(frozen=True)
class Case:
    name: str
    image: np.ndarray
    center_xy: tuple[float, float]
    multipliers: tuple[float, ...]
    arrays: dict[str, np.ndarray]

    @property
    def recorded_scale(self) -> float:
        return float(self.arrays["scale0"])

    @property
    def release_scale(self) -> float:
        scale, units = self.recorded_scale, UNITS_OFF.get(self.name, 0)
        for _ in range(abs(units)):
            scale = float(np.nextafter(scale, np.inf * units))
        return scale

    def search(self, scale: float) -> ScaleSearch:
        return ScaleSearch(self.center_xy, scale, self.multipliers)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, shared: Path) -> Case:
    name = request.param
    record = json.loads((shared / "golden" / "pipeline" / f"{name}.json").read_text())
    with np.load(shared / "golden" / "pipeline" / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if name.startswith("lspet"):
        path = shared / "datasets" / "lspet_dataset" / "images" / record["image"].replace("lspet_", "im")
    else:
        path = shared / "release" / "images" / record["image"]
    x, y = arrays["center_xy"] - 1.0
    return Case(name, read_image(path), (float(x), float(y)), tuple(arrays["multipliers"].tolist()), arrays)


@pytest.fixture(scope="module")
def net(shared: Path) -> CaffeNet:
    folder = shared / "golden" / "pipeline"
    return load_net(folder / "small_mpi.prototxt", folder / "small_mpi.caffemodel")


@pytest.fixture(scope="module")
def fast(net: CaffeNet) -> AcceleratedNet:
    return accelerate(net)


def assert_sums_equal(maps: np.ndarray, case: Case) -> None:
    step = int(case.arrays["final_score_step"])
    expected = case.arrays["final_score_sum"]
    found = maps[::step, ::step]
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=SUM_TOLERANCE * np.abs(expected).max())


def test_images_decode_to_the_recorded_pixels(case: Case) -> None:
    recorded = case.arrays["image_rgb"]
    if recorded.size:
        assert (case.image == recorded[:, :, ::-1]).all()
    else:
        record_size = case.arrays["final_score_sum"].shape[:2]
        step = int(case.arrays["final_score_step"])
        assert tuple(-(-length // step) for length in case.image.shape[:2]) == record_size


def test_the_scale_searches_give_the_recorded_numbers(case: Case) -> None:
    height, width = case.image.shape[:2]
    if case.name.startswith("lsp"):
        search = lsp_search((height, width))
        assert (search.center_xy, search.base_scale) == (case.center_xy, case.recorded_scale)
        assert search.multipliers == case.multipliers
    elif case.name.startswith("demo"):
        # The rectangle is not recorded; its middle and, by the first multiplier, its height are.
        tall = 368.0 / (3.6 * case.multipliers[0])
        search = demo_search((height, width), (case.center_xy[0] - 300, case.center_xy[1] - tall / 2, 600.0, tall))
        assert search.center_xy == pytest.approx(case.center_xy)
        np.testing.assert_allclose(search.multipliers, case.multipliers, rtol=1e-14)
    else:
        assert case.multipliers == BENCHMARK_MULTIPLIERS


def test_crops_equal_byte_for_byte(case: Case) -> None:
    pyramid = build_pyramid(case.image, case.center_xy, case.search(case.release_scale).scales, 368)
    assert [geometry.pad for geometry in pyramid.geometries] == [
        tuple(pad) for pad in case.arrays["pads_up_left_down_right"].tolist()
    ]
    expected = case.arrays["crops_rgb"][..., ::-1]
    assert pyramid.crops.shape == expected.shape
    assert pyramid.crops.dtype == expected.dtype
    assert int((pyramid.crops != expected).sum()) == 0


def test_the_recorded_scale_moves_exact_halves_only(case: Case) -> None:
    pyramid = build_pyramid(case.image, case.center_xy, case.search(case.recorded_scale).scales, 368)
    assert [geometry.pad for geometry in pyramid.geometries] == [
        tuple(pad) for pad in case.arrays["pads_up_left_down_right"].tolist()
    ]
    difference = np.abs(pyramid.crops.astype(int) - case.arrays["crops_rgb"][..., ::-1])
    assert difference.max() <= (1 if case.name in UNITS_OFF else 0)
    assert max((level != 0).mean() for level in difference) <= 0.001


def test_sums_and_joints_follow_from_caffes_beliefs(case: Case) -> None:
    size = (case.image.shape[0], case.image.shape[1])
    search = case.search(case.recorded_scale)
    geometries = [box_geometry(size, search.center_xy, scale, 368) for scale in search.scales]
    beliefs = torch.from_numpy(case.arrays["net_beliefs"])
    assert_sums_equal(image_maps(beliefs, geometries).numpy(), case)
    prediction = gather(Beliefs(beliefs), geometries, NET_OF_THE_GOLDENS, search)
    assert (prediction.joints_image + 1 == case.arrays["prediction_xy_1based"]).all()
    np.testing.assert_allclose(prediction.scores, case.arrays["peak_sum"], rtol=SUM_TOLERANCE, atol=SUM_TOLERANCE)


@pytest.mark.parametrize("way", ["net", "fast"])
def test_the_whole_pipeline_gives_the_releases_joints(case: Case, way: str, request: pytest.FixtureRequest) -> None:
    """By the plain layers, and by the engine as `predict` and `evaluate` run it."""
    net: CaffeNet = request.getfixturevalue(way)
    search = case.search(case.release_scale)
    prediction = predict_person(
        net, case.image, search.center_xy, search.base_scale, search.multipliers, keep_maps=True
    )
    assert prediction.score_maps is not None
    assert_sums_equal(prediction.score_maps, case)
    assert prediction.part_order is CPM14
    assert (prediction.joints_image + 1 == case.arrays["prediction_xy_1based"]).all()
    np.testing.assert_allclose(prediction.scores, case.arrays["peak_sum"], rtol=SUM_TOLERANCE, atol=SUM_TOLERANCE * 10)
    if isinstance(net, AcceleratedNet):
        assert any(net.ways.values())


@pytest.mark.parametrize("case", list(UNITS_OFF), indirect=True)
def test_joints_hold_at_the_recorded_scale_too(case: Case, net: CaffeNet) -> None:
    search = case.search(case.recorded_scale)
    prediction = predict_person(net, case.image, search.center_xy, search.base_scale, search.multipliers)
    assert (prediction.joints_image + 1 == case.arrays["prediction_xy_1based"]).all()


@pytest.mark.gpu
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("case", CASES if torch.backends.cuda.is_built() else ON_A_PRETENDED_GPU, indirect=True)
def test_a_gpu_gives_the_same_joints_and_sums(case: Case, captured: bool, shared: Path) -> None:
    folder = shared / "golden" / "pipeline"
    net = load_net(folder / "small_mpi.prototxt", folder / "small_mpi.caffemodel", device="cuda")
    search = case.search(case.release_scale)
    with arithmetic("float32", torch.device("cuda")):
        prediction = predict_person(
            fast_net(net) if captured else net,
            case.image,
            search.center_xy,
            search.base_scale,
            search.multipliers,
            keep_maps=True,
        )
    assert prediction.score_maps is not None
    assert_sums_equal(prediction.score_maps, case)
    assert (prediction.joints_image + 1 == case.arrays["prediction_xy_1based"]).all()


def test_the_goldens_net_is_read_as_the_release_uses_it(net: CaffeNet) -> None:
    assert read_interface(net) == NET_OF_THE_GOLDENS
