"""Coordinates are mapped between a net's tops as by pycaffe (the claims of upstream's test_coord_map.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from cpm_port.pycaffe import layers as L
from cpm_port.pycaffe import params as P
from cpm_port.pycaffe.coord_map import AxisMismatchException, UndefinedMapException, coord_map, coord_map_from_to, crop


def pyramid(ks: Any = 3, stride: Any = 1, pad: Any = 0, pool: int = 2, dstride: int = 2, dpad: int = 0) -> Any:
    """Return a net of convolution, pooling and deconvolution."""
    n: Any = caffe.NetSpec()
    n.data, n.other = (L.Input(shape={"dim": [2, 1, side, side]}) for side in (100, 20))
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=ks, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=pool, stride=pool, pad=0)
    n.up = L.Deconvolution(n.pool, num_output=10, kernel_size=2 * dstride, stride=dstride, pad=dpad)
    return n


@pytest.mark.parametrize(("pool", "shift"), [(2, 0), (4, -1)])
def test_pooling_and_deconvolution_undo_each_others_scale(pool: int, shift: int) -> None:
    n = pyramid(pool=pool, dstride=pool)
    assert coord_map_from_to(n.up, n.data) == (1, 1, shift)


def test_pointwise_layers_and_a_1x1_convolution_map_nothing() -> None:
    n = pyramid()
    n.relu = L.ReLU(n.up)
    n.conv1 = L.Convolution(n.relu, num_output=10, kernel_size=1)
    for top in (n.relu, n.conv1):
        assert coord_map_from_to(top, n.data) == coord_map_from_to(n.up, n.data)


@pytest.mark.parametrize("pad", [0, 3, 10])
def test_padding_shifts_down_and_padding_of_a_deconvolution_up(pad: int) -> None:
    plain, padded, up, both = pyramid(), pyramid(pad=pad), pyramid(dpad=pad), pyramid(pad=pad, dpad=pad)
    shift = [coord_map_from_to(n.up, n.data)[2] for n in (plain, padded, up, both)]
    assert shift == [0, -pad, pad, 0]


def test_every_bottom_of_a_layer_is_mapped_alike() -> None:
    n = pyramid()
    n.a, n.b = L.Convolution(n.data, n.other, ntop=2, num_output=10, kernel_size=5, stride=2)
    assert coord_map_from_to(n.a, n.data) == coord_map_from_to(n.b, n.other)


def test_axes_are_mapped_each_by_itself() -> None:
    square, wide = pyramid(), pyramid(ks=5, stride=2, pad=10)
    both = pyramid(ks=[3, 5], stride=[1, 2], pad=[0, 10])
    axis, scale, shift = coord_map_from_to(both.up, both.data)
    for place, n in enumerate((square, wide)):
        assert coord_map_from_to(n.up, n.data) == (axis, scale[place], shift[place])


def test_three_spatial_axes_are_mapped_too() -> None:
    n: Any = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 3, 100, 100, 100]})
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=[3, 3, 3], stride=[1, 1, 1], pad=[0, 1, 2])
    n.pool = L.Pooling(n.conv, kernel_size=2, stride=2)
    n.up = L.Deconvolution(n.pool, num_output=10, kernel_size=4, stride=2)
    axis, scale, shift = coord_map_from_to(n.up, n.data)
    assert axis == 1
    assert np.array_equal(scale, [1, 1, 1])
    assert np.array_equal(np.diff(shift), [-1, -1])


def test_a_crop_shifts_by_its_offset() -> None:
    n = pyramid()
    n.cut = L.Crop(n.up, n.data, axis=2, offset=4)
    assert coord_map_from_to(n.cut, n.data) == (1, 1, 4)


def test_crop_writes_the_layer_that_lines_maps_up() -> None:
    n = pyramid(pad=7)
    cut = crop(n.up, n.data)
    assert cut.fn.params == {"crop_param": {"axis": 2, "offset": [7]}}
    assert cut.to_proto().layer[-1].crop_param.offset == [7]


def test_tops_that_no_spatial_layers_connect_are_refused() -> None:
    n = pyramid()
    n.ip = L.InnerProduct(n.up, num_output=10)
    with pytest.raises(RuntimeError, match="connected by spatial layers"):
        coord_map_from_to(n.ip, n.data)
    with pytest.raises(UndefinedMapException):
        coord_map(n.ip.fn)


@pytest.mark.parametrize(("changes", "reason"), [({"pool": 3}, "scale mismatch"), ({"dpad": 10}, "negative offset")])
def test_an_impossible_crop_is_refused(changes: dict[str, int], reason: str) -> None:
    n = pyramid(**changes)
    with pytest.raises(AssertionError, match=reason):
        crop(n.up, n.data)


def test_maps_along_different_axes_do_not_compose() -> None:
    n = pyramid()
    n.odd = L.Convolution(n.up, num_output=1, kernel_size=3, axis=2)
    with pytest.raises(AxisMismatchException):
        coord_map_from_to(n.odd, n.data)


def test_separate_fields_for_height_and_width_are_refused() -> None:
    n = pyramid()
    with pytest.raises(AssertionError, match="kernel_h, kernel_w"):
        coord_map(L.Convolution(n.data, num_output=1, kernel_h=3, kernel_w=3).fn)
