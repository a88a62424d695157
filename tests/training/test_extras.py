"""Augmentation beyond the release's. Oracles: colours worked by hand; the release's where none is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cpm_port.caffe import parse_net
from cpm_port.errors import UsageError
from cpm_port.release import PAD_VALUE
from cpm_port.training.augment import Augmentation
from cpm_port.training.batches import open_data_layers
from cpm_port.training.extras import ExtraDraws, Extras

PIXEL = np.array([10, 100, 200], np.uint8).reshape(3, 1, 1)  # blue, green, red
NET = """
layer { name: "data" type: "CPMData" top: "data" top: "label"
  transform_param { stride: 8 crop_size_x: 64 crop_size_y: 64 target_dist: 0.2 max_rotate_degree: 10
                    center_perterb_max: 0 sigma_center: 4 }
  cpmdata_param { source: "drawn:count=6,size=96,seed=3" batch_size: 3 } }
"""


def batches(count: int = 2, **options: Any) -> list[dict[str, np.ndarray]]:
    with open_data_layers(parse_net(NET, phase="TRAIN"), phase="TRAIN", seed=5, **options) as source:
        return [source.next_batch() for _ in range(count)]


def many(extras: Extras) -> list[ExtraDraws]:
    return [extras.draw(1, epoch, index) for epoch in range(10) for index in range(100)]


def test_by_default_nothing_is_drawn() -> None:
    assert all((d.color_map, d.degree, d.patch) == (None, None, None) for d in many(Extras()))
    for plain, extra in zip(batches(), batches(extras=Extras()), strict=True):
        assert all(np.array_equal(plain[top], extra[top]) for top in plain)


def test_grey_is_the_luma_of_every_channel() -> None:
    found = Extras(grey=1).draw(1, 0, 0).recolored(PIXEL)
    assert found.ravel().tolist() == [round(0.114 * 10 + 0.587 * 100 + 0.299 * 200)] * 3


def test_colors_stay_within_their_bounds_and_vary() -> None:
    contrasts = []
    for draws in many(Extras(color=0.2)):
        assert draws.color_map is not None
        middle = draws.color_map @ np.array([PAD_VALUE, PAD_VALUE, PAD_VALUE, 1])
        # grey at the middle of the range moves by gains (a quarter of 0.2, at a contrast up to 1.2) and brightness
        assert np.abs(middle - PAD_VALUE).max() <= 0.2 / 4 * 1.2 * PAD_VALUE + 0.2 * 64 + 1e-9
        contrasts.append(draws.color_map[:, :3].sum(axis=1).mean())
    assert 0.75 < min(contrasts) < 0.85 < 1.15 < max(contrasts) < 1.26


@pytest.mark.parametrize("field", ["grey", "full_turns", "cutout"])
def test_a_probability_is_how_often_it_happens(field: str) -> None:
    shown = {"grey": "color_map", "full_turns": "degree", "cutout": "patch"}[field]
    share = np.mean([getattr(d, shown) is not None for d in many(Extras(**{field: 0.3}))])
    assert abs(share - 0.3) < 0.05  # 1000 draws: a standard deviation is 0.0145


def test_full_turns_cover_the_circle_and_replace_the_turn_alone() -> None:
    degrees = [draws.degree for draws in many(Extras(full_turns=1)) if draws.degree is not None]
    assert np.histogram(degrees, bins=4, range=(-180, 180))[0].min() > 200
    given = Augmentation(1.1, 5.0, (2, 3), True)
    turned = Extras(full_turns=1).draw(1, 0, 0).turned(given)
    assert (turned.multiplier, turned.offset, turned.flip) == (1.1, (2, 3), True)
    assert turned.degree != 5.0


def test_a_patch_hides_pixels_and_leaves_labels() -> None:
    planes = np.full((3, 100, 100), 7, np.uint8)
    ExtraDraws(None, None, (0.5, 0.25, 0.0)).hide(planes)  # the smallest, a tenth of the side, about (50, 25)
    hidden = (planes == PAD_VALUE).all(axis=0)
    assert np.argwhere(hidden).min(axis=0).tolist() == [20, 45]
    assert np.argwhere(hidden).max(axis=0).tolist() == [29, 54]
    for plain, patched in zip(batches(), batches(extras=Extras(cutout=1)), strict=True):
        np.testing.assert_array_equal(plain["label"], patched["label"])
        assert not np.array_equal(plain["data"], patched["data"])


def test_colors_change_pixels_and_neither_places_nor_labels() -> None:
    for plain, colored in zip(batches(), batches(extras=Extras(color=0.5, grey=0.5)), strict=True):
        np.testing.assert_array_equal(plain["label"], colored["label"])
        np.testing.assert_array_equal(plain["data"][:, 3], colored["data"][:, 3])
        assert not np.array_equal(plain["data"][:, :3], colored["data"][:, :3])


def test_draws_depend_on_seed_epoch_and_index_alone() -> None:
    extras = Extras(color=0.3, full_turns=0.5, cutout=0.5)
    first, again = extras.draw(1, 2, 3), extras.draw(1, 2, 3)
    np.testing.assert_array_equal(first.color_map, again.color_map)
    assert (first.degree, first.patch) == (again.degree, again.patch)
    assert not np.array_equal(first.color_map, extras.draw(1, 3, 3).color_map)


def test_a_number_outside_0_to_1_is_refused() -> None:
    with pytest.raises(UsageError, match=r"grey: expected a number from 0 to 1, got 1\.5"):
        Extras(grey=1.5)


# smaller boxes first


def test_the_first_batches_have_the_smaller_boxes_in_turn() -> None:
    sizes = [batch["data"].shape[2:] for batch in batches(5, boxes=[(32, 2), (48, 1)])]
    assert sizes == [(32, 32), (32, 32), (48, 48), (64, 64), (64, 64)]


def test_a_smaller_box_shows_the_person_smaller_in_proportion() -> None:
    """The center map of half the box is the large one's at every second pixel, where no shift or turn is drawn."""
    (small,), (large,) = batches(1, boxes=[(32, 1)]), batches(1)
    for half, whole in zip(small["data"][:, 3], large["data"][:, 3], strict=True):
        y, x = np.unravel_index(half.argmax(), half.shape)
        Y, X = np.unravel_index(whole.argmax(), whole.shape)
        assert abs(Y - 2 * y) <= 2
        assert abs(X - 2 * x) <= 2
        assert half.sum() * 4 == pytest.approx(whole.sum(), rel=0.05)


def test_boxes_go_on_where_a_run_is_taken_up() -> None:
    options: dict[str, Any] = {"seed": 5, "boxes": [(32, 2), (48, 2)]}
    expected = batches(5, boxes=options["boxes"])[3:]
    with open_data_layers(parse_net(NET, phase="TRAIN"), phase="TRAIN", **options) as source:
        source.restore({"batches": 3, "seed": 5, "srand": None})
        for batch in expected:
            found = source.next_batch()
            assert all(np.array_equal(found[top], batch[top]) for top in batch)
